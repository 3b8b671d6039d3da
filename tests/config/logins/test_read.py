"""The `auth` of an entry in its forms: one login, keys, or several by name; and which values of a person they give."""

from typing import Any

import pytest

from fluidmcp.config.auth_block import AuthBlock
from fluidmcp.config.logins.keys import KeysBlock
from fluidmcp.config.logins.read import NamedLogins, has_login_page, list_logins, token_variables
from fluidmcp.errors import ConfigurationError
from tests.entries import read_entry

ONE: dict[str, Any] = {
    "type": "oauth2",
    "flow": "pkce",
    "authorization_url": "https://one.example/authorize",
    "token_url": "https://one.example/token",
    "client_id_env": "ONE_CLIENT_ID",
}
TWO = {**ONE, "token_url": "https://two.example/token", "client_id_env": "TWO_CLIENT_ID"}
TYPED: dict[str, Any] = {"type": "keys", "keys": {"site": {}}}
ENV = {"A": "${auth.one.access_token}", "B": "${auth.two.extra.instance_url}", "C": "${keys.site}"}
ALL = {"one": ONE, "two": TWO, "typed": TYPED}


def read(auth: dict[str, Any], **env: str) -> Any:
    return read_entry("work", {"command": "x", "env": env, "auth": auth})


def refuse(auth: dict[str, Any], **env: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read(auth, **env)
    return caught.value.why


def test_logins_are_read_in_the_order_of_the_file() -> None:
    entry = read(ALL, **ENV)
    assert isinstance(entry.auth, NamedLogins)
    kinds = [(name, type(login)) for name, login in list_logins(entry.auth)]
    assert kinds == [("one", AuthBlock), ("two", AuthBlock), ("typed", KeysBlock)]
    assert entry.personal_variables == {"A", "B", "C"}
    assert entry.list_wanted("one") == ()
    assert entry.list_wanted("two") == ("extra.instance_url",)


def test_the_short_form_names_a_variable_for_each() -> None:
    entry = read({"one": {**ONE, "env_var_name": "X"}, "two": {**TWO, "env_var_name": "Y"}})
    assert token_variables(entry.auth) == {"X": "one", "Y": "two"}
    assert entry.personal_variables == {"X", "Y"}


def test_the_address_is_asked_of_the_first_provider() -> None:
    env = {**ENV, "D": "${person.email}", "E": "${auth.one.id_token}"}
    entry = read({"typed": TYPED, "one": ONE, "two": TWO}, **env)
    assert entry.list_wanted("one") == ("email", "id_token")
    assert entry.list_wanted("two") == ("extra.instance_url",)


@pytest.mark.parametrize(
    ("auth", "env", "why"),
    [
        ({**ALL, "four": ONE}, ENV, "mcpServers.work.auth names more than 3 logins"),
        ({"One": ONE}, {"A": "x"}, "mcpServers.work.auth.One is not a usable name for a login"),
        ({"scope": ONE}, {"A": "x"}, "mcpServers.work.auth.scope is not a usable name for a login"),
        ({"extra": ONE}, {"A": "x"}, "mcpServers.work.auth.extra is not a usable name for a login"),
        ({"one": TYPED, "two": TYPED}, {"A": "${keys.site}"}, "mcpServers.work.auth has several logins of keys"),
        (
            {"one": ONE, "typed": {**TYPED, "keys_from": ["header"]}},
            ENV,
            "mcpServers.work.auth has other logins beside the keys",
        ),
        (
            {"one": {**ONE, "env_var_name": "X"}, "two": {**TWO, "env_var_name": "X"}},
            {},
            "mcpServers.work.auth names one variable as env_var_name of two logins",
        ),
        ({"one": {**ONE, "env_var_name": "A"}}, {"A": "${auth.one.scope}"}, "auth.one.env_var_name stands in env too"),
        ({"one": ONE, "two": TWO}, {"A": ENV["A"]}, "auth gives ${auth.two.access_token}, which nothing uses"),
        ({"one": ONE}, {"A": "${auth.access_token}"}, "auth has several logins: write ${auth.one.access_token}"),
        ({"one": ONE}, {"A": "${auth.two.access_token}"}, "but auth has no login of that name"),
        ({"one": {**ONE, "typo": 1}}, {"A": ENV["A"]}, "mcpServers.work.auth.one.typo is not a known key"),
        ({}, {"A": "x"}, "mcpServers.work.auth.type is missing"),
        (
            {"keys": {"site": {}}, "verify": {"url": "https://a.example/"}},
            {"A": "${keys.site}"},
            'mcpServers.work.auth.type must be "keys", where people type keys.',
        ),
        (
            {"one": ONE, "typed": {"type": "key", "keys": {"site": {}}}},
            {"A": "x"},
            'mcpServers.work.auth.typed.type must be "keys", where people type keys.',
        ),
        (ONE, {"A": "${auth.one.access_token}"}, "holds ${auth.one.access_token}, but auth has no login of that name"),
    ],
)
def test_what_is_wrong_is_told_by_its_field(auth: dict[str, Any], env: dict[str, str], why: str) -> None:
    assert why in refuse(auth, **env)


def test_a_login_may_be_called_keys() -> None:
    entry = read({"keys": TYPED, "one": ONE}, A="${keys.site}", B="${auth.one.access_token}")
    assert [name for name, _ in list_logins(entry.auth)] == ["keys", "one"]


def test_who_has_a_page() -> None:
    assert has_login_page(read(ALL, **ENV).auth)
    assert has_login_page(read(TYPED, A="${keys.site}").auth)
    assert not has_login_page(read({**TYPED, "keys_from": ["header"]}, A="${keys.site}").auth)
    assert not has_login_page(None)
