"""Keys of a person as they stand in a file: what is read, and what is refused by the name of its field."""

import re
import time
from typing import Any

import pytest

from fluidmcp.config.filling.templates import Placeholder, Template
from fluidmcp.config.logins.keys import KeyCheck, KeysBlock, PersonKey, check_pattern
from fluidmcp.errors import ConfigurationError
from tests.entries import read_entry

KEY = "${keys.api_key}"


def entry(auth: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"command": "x", "env": {"A": KEY}, "auth": {"type": "keys", "keys": {"api_key": {}}, **auth}, **changes}


def refuse(auth: dict[str, Any], **changes: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read_entry("dog", entry(auth, **changes))
    return caught.value.why


def test_what_a_block_says_is_read() -> None:
    auth: dict[str, Any] = {
        "keys": {
            "api_key": {"title": "API key", "pattern": "[0-9a-f]{32}", "help": "https://app.example/keys"},
            "user": {"secret": False},
        },
        "verify": {"url": "https://api.example/validate", "headers": {"X-Key": KEY}},
        "keys_from": ["page", "header"],
        "allow_any_user": True,
    }
    read = read_entry("dog", entry(auth, env={"A": KEY, "B": "${keys.user}"})).auth
    assert read == KeysBlock(
        keys=(
            PersonKey(name="api_key", title="API key", pattern="[0-9a-f]{32}", help="https://app.example/keys"),
            PersonKey(name="user", secret=False),
        ),
        verify=KeyCheck(
            url="https://api.example/validate", headers=(("X-Key", Template((Placeholder("keys.api_key"),))),)
        ),
        keys_from=("page", "header"),
        allow_any_user=True,
    )
    assert isinstance(read, KeysBlock)
    assert [key.label for key in read.keys] == ["API key", "User"]
    assert [key.header for key in read.keys] == ["x-fmcp-key-api-key", "x-fmcp-key-user"]


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"keys": None}, "mcpServers.dog.auth.keys is missing: name what people have to type"),
    ({"keys": {}}, "mcpServers.dog.auth.keys must name 1 to 8 keys"),
    ({"keys": {f"k{number}": {} for number in range(9)}}, "must name 1 to 8 keys"),
    ({"keys": {"api_key": {}, "API": {}}}, "mcpServers.dog.auth.keys.API is not a usable name"),
    ({"keys": {"api_key": {}, "b-c": {}}}, "mcpServers.dog.auth.keys.b-c is not a usable name"),
    ({"keys": {"api_key": "x"}}, "mcpServers.dog.auth.keys.api_key must be an object, not a string"),
    ({"keys": {"api_key": {"titel": "x"}}}, "mcpServers.dog.auth.keys.api_key.titel is not known here"),
    ({"keys": {"api_key": {"title": "x" * 81}}}, "keys.api_key.title must be at most 80 characters"),
    ({"keys": {"api_key": {"help": "javascript:alert(1)"}}}, "keys.api_key.help "),
    ({"keys": {"api_key": {"help": "http://example.com/"}}}, "keys.api_key.help "),
    ({"keys": {"api_key": {"secret": False}}}, "keys.api_key.secret is false, although the name says"),
    ({"keys": {"api_key": {"pattern": "["}}}, "keys.api_key.pattern is no regular expression"),
    ({"keys": {"api_key": {"pattern": "(a+)+"}}}, "keys.api_key.pattern repeats a group"),
    ({"keys": {"api_key": {}, "other": {}}}, "mcpServers.dog.auth gives ${keys.other}, which nothing uses"),
    ({"verify": {"headers": {"X": KEY}}}, "mcpServers.dog.auth.verify.url is missing"),
    ({"verify": {"url": "http://api.example/", "headers": {"X": KEY}}}, "mcpServers.dog.auth.verify.url "),
    ({"verify": {"url": "https://a.example/"}}, "mcpServers.dog.auth.verify.headers hold no key"),
    ({"verify": {"url": "https://a.example/", "headers": {"X": "plain"}}}, "verify.headers hold no key"),
    ({"verify": {"url": "https://a.example/", "headers": {"X": "${keys.no}"}}}, "which is none of the keys"),
    ({"verify": {"url": "https://a.example/", "headers": {"Host": KEY}}}, "headers.Host is not a header"),
    ({"verify": {"url": "https://a.example/", "headers": {"a b": KEY}}}, "is not a header that can be set here"),
    ({"verify": {"url": "https://a.example/", "headers": {"X": "${auth.access_token}"}}}, "none of the keys"),
    ({"verify": {"url": "https://a.example/", "headers": {"X": f"é{KEY}"}}}, "headers.X holds a character that no"),
    ({"verify": {"url": "https://a.example/", "headers": {"X": f"a\nb{KEY}"}}}, "headers.X holds a character that no"),
    ({"keys_from": []}, 'mcpServers.dog.auth.keys_from must be a list of "page" and "header"'),
    ({"keys_from": ["query"]}, 'mcpServers.dog.auth.keys_from must be a list of "page" and "header"'),
    ({"keys_from": "header"}, "Why: mcpServers.dog.auth.keys_from must be a list of strings, not a string."),
    ({"env_var_name": "A"}, "mcpServers.dog.auth.env_var_name is not a known key of an auth block of keys"),
    ({"flow": "pkce"}, "mcpServers.dog.auth.flow is not a known key"),
]


@pytest.mark.parametrize(("auth", "why"), FAULTS)
def test_what_is_wrong_is_told_by_its_field(auth: dict[str, Any], why: str) -> None:
    assert why in f"Why: {refuse(auth)}"


def test_a_name_in_capitals_is_told_with_what_a_name_is() -> None:
    why = refuse({"keys": {"DD_KEY": {}}}, env={"A": "${keys.DD_KEY}"})
    assert why.count("a small letter, then small letters, digits or _") == 2 and "known are" not in why


def test_what_no_key_tells_cannot_stand_in_the_entry() -> None:
    assert "who types keys does not say who they are" in refuse({}, env={"A": "${keys.api_key}${person.sub}"})
    assert "who types keys does not say who they are" in refuse({}, env={"A": KEY, "B": "${person.email}"})
    assert "but auth is keys" in refuse({}, env={"A": KEY, "B": "${auth.access_token}"})
    assert "auth asks for no key of that name" in refuse({}, env={"A": KEY, "B": "${keys.other}"})


def test_a_key_in_a_text_that_has_another_fault_is_not_told_to_be_unused() -> None:
    changes: dict[str, Any] = {"env": {}, "args": ["--db", f"{KEY}@${{HOST}}"], "secrets_in_args": True}
    why = refuse({}, **changes)
    assert "needs the variable HOST" in why and "which nothing uses" not in why
    assert "which nothing uses" in refuse({}, env={"A": f"${KEY}"})


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+", "(a*)*$", "(a|aa)+", "(.*){2,}", "a+a+a+a+", "a{1,}a*a+a{2,9}", r"(a)\1", "(?=a)a", "(?:a+)*", "(?i)a",
        "a" * 257, "(", "[a", "a{2,1}", "(a|aa)" * 26, "a?" * 26 + "a{26}", "(a|aa)(a|aa)a*a*a*",
    ],
)  # fmt: skip
def test_patterns_that_could_take_for_ever_are_refused(pattern: str) -> None:
    assert check_pattern(pattern) is not None


@pytest.mark.parametrize(
    "pattern",
    [
        "[0-9a-f]{32}", "sk-[A-Za-z0-9_-]+", "xox[bp]-[0-9]+-[0-9]+-[A-Za-z0-9]+", r"\d{3}\+\*\(x\)", "[)]+[(*+{]",
        "(live|test)_[a-z]{2,40}", "a?b", "[]a]+", r"[\]\\)]+x",
        "(sk|rk|pk)_(live|test)_[A-Za-z0-9]{24,}", "[?|]{40}" + r"\?\|" * 20, "[a-z]*[a-z]*[a-z]*a?",
    ],
)  # fmt: skip
def test_patterns_of_keys_are_fine(pattern: str) -> None:
    assert check_pattern(pattern) is None


@pytest.mark.parametrize(
    ("pattern", "key"),
    [
        ("[a-z]*[a-z]*[a-z]*!", "a" * 512),
        ("[a-z]*[a-z]*[a-z]*[0-9]", "a" * 512),
        ("[a-z]*[a-z]*" + "(a|aa)" * 9 + "[0-9]", "a" * 512),
        ("(a|aa)" * 25, "a" * 51),
        ("a?" * 25 + "[0-9]", "a" * 25),
    ],
)
def test_the_worst_patterns_that_are_let_through_are_soon_done(pattern: str, key: str) -> None:
    """On the longest key that a pattern is tried on, in seconds of this process."""
    assert check_pattern(pattern) is None
    begun = time.process_time()
    assert re.fullmatch(pattern, key) is None
    assert time.process_time() - begun < 10


@pytest.mark.threat("B27")
@pytest.mark.parametrize("name", ["LD_PRELOAD", "PATH", "PYTHONPATH", "NODE_OPTIONS", "BASH_ENV", "HTTPS_PROXY"])
def test_b27_a_key_is_never_handed_over_in_a_variable_that_steers_the_process(name: str) -> None:
    why = refuse({}, env={"A": KEY, name: KEY})
    assert f"mcpServers.dog.env.{name} holds a value of a person, and its name names a variable that decides" in why


@pytest.mark.threat("B27", "E12")
def test_b27_a_key_is_never_code() -> None:
    for command, args in (("sh", ["-c", f"x {KEY}"]), ("node", ["-e", KEY]), ("env", ["-S", f"x {KEY}"])):
        assert "is code" in refuse({}, env={}, command=command, args=args, secrets_in_args=True)
