"""From what logins gave to the values of placeholders."""

from fluidmcp.authentication.person import HeldLogin, Person
from fluidmcp.config.auth_block import AuthBlock
from fluidmcp.config.logins.keys import KeysBlock, PersonKey
from fluidmcp.config.logins.read import NamedLogins
from fluidmcp.processes.launch.credentials import read_credentials

ONE = AuthBlock(authorization_url="", token_url="", env_var_name="", client_id_env="ONE_CLIENT_ID")
TWO = AuthBlock(authorization_url="", token_url="", env_var_name="", client_id="two")
ADA = Person("https://id.example", "ada", None, ("b", "a"))


def test_one_login_has_its_values_by_their_short_names() -> None:
    held = HeldLogin("", ADA, "token", 17, {"id_token": "i", "extra.place": "p", "email": "ada@x.example"})
    credentials = read_credentials(ONE, (held,), {"ONE_CLIENT_ID": "one"})
    assert credentials.values == {
        "auth.access_token": "token",
        "auth.scope": "a b",
        "auth.expires_at": "17",
        "auth.expires_at_ms": "17000",
        "auth.client_id": "one",
        "auth.id_token": "i",
        "auth.extra.place": "p",
        "person.sub": "ada",
        "person.email": "ada@x.example",
    }
    assert credentials.secret == {"auth.access_token", "auth.id_token", "auth.extra.place"}


def test_a_login_that_names_nobody_has_no_person() -> None:
    for subject in ("login:0123", "token:4567"):
        held = HeldLogin("", Person("i", subject), "token")
        assert read_credentials(ONE, (held,), {}).values == {"auth.access_token": "token"}


def test_several_logins_have_their_names_and_the_first_provider_its_person() -> None:
    keys = KeysBlock(keys=(PersonKey(name="user", secret=False), PersonKey(name="key")))
    auth = NamedLogins(logins=(("typed", keys), ("one", ONE), ("two", TWO)))
    held = (
        HeldLogin("typed", Person("keys", "login:1"), "", None, {"user": "u", "key": "k"}),
        HeldLogin("one", Person("i", "ada"), "t1"),
        HeldLogin("two", Person("j", "bo"), "t2"),
    )
    credentials = read_credentials(auth, held, {})
    assert credentials.values == {
        "keys.user": "u",
        "keys.key": "k",
        "auth.one.access_token": "t1",
        "auth.two.access_token": "t2",
        "auth.two.client_id": "two",
        "person.sub": "ada",
    }
    assert credentials.secret == {"keys.key", "auth.one.access_token", "auth.two.access_token"}
    assert "t1" not in repr(credentials)


def test_where_the_first_provider_names_nobody_no_other_one_says_who_it_is() -> None:
    auth = NamedLogins(logins=(("one", ONE), ("two", TWO)))
    held = (HeldLogin("one", Person("i", "login:2"), "t1"), HeldLogin("two", Person("j", "the sub of somebody"), "t2"))
    assert "person.sub" not in read_credentials(auth, held, {}).values
