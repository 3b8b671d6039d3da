"""Secret inputs of a file as keys of each person: what is written can be read, and what cannot be is left as it was."""

from typing import Any

import pytest

from fluidmcp.config.filling.templates import KEY_NAME
from fluidmcp.config.logins.keys import KeysBlock
from fluidmcp.packages.formats.shapes import Input
from fluidmcp.packages.importing.per_person import ask_each_person
from tests.entries import read_entry

INPUTS = {
    "API-Key": Input(id="API-Key", description="Your API key", is_secret=True),
    "api_key": Input(id="api_key", is_secret=True),
    "0": Input(id="0", is_secret=True, description="a\nb"),
    "site": Input(id="site", description="Which site"),
}
ENTRY: dict[str, Any] = {
    "command": "x",
    "args": ["--site", "${input:site}"],
    "env": {"A": "Bearer ${input:API-Key}", "B": {"json": {"k": ["${input:api_key}"]}}, "C": "$${input:0}"},
    "files": {"~/a": {"text": "${input:0}${input:API-Key}"}},
}


def test_secrets_of_env_and_files_become_keys() -> None:
    changed, notes = ask_each_person("dog", ENTRY, INPUTS)
    assert notes == ()
    assert changed["env"] == {
        "A": "Bearer ${keys.api_key}",
        "B": {"json": {"k": ["${keys.api_key_2}"]}},
        "C": "$${input:0}",
    }
    assert changed["files"] == {"~/a": {"text": "${keys.key_0}${keys.api_key}"}}
    assert changed["args"] == ENTRY["args"], "what is no secret is still asked of the operator"
    keys = {"api_key": {"title": "Your API key"}, "api_key_2": {}, "key_0": {}}
    assert changed["auth"] == {"type": "keys", "keys": keys}
    auth = read_entry("dog", {**changed, "args": [1]}).auth
    assert isinstance(auth, KeysBlock)
    assert all(KEY_NAME.fullmatch(key.name) for key in auth.keys)


def test_a_secret_that_stands_elsewhere_stays_the_operators() -> None:
    entry = ENTRY | {"args": ["--key", "${input:API-Key}"]}
    changed, notes = ask_each_person("dog", entry, INPUTS)
    assert changed["env"] == ENTRY["env"] | {"B": {"json": {"k": ["${keys.api_key}"]}}}
    assert notes == ("dog still asks you for API-Key, for everybody: it stands outside of env and files.",)
    assert changed["auth"] == {"type": "keys", "keys": {"api_key": {}, "key_0": {}}}


@pytest.mark.parametrize(
    "more", [{"auth": {"type": "oauth2"}}, {"shared": True}, {"url": "https://x"}, {"env": {}, "files": {}}]
)
def test_an_entry_that_cannot_ask_is_as_it_was(more: dict[str, Any]) -> None:
    assert ask_each_person("dog", ENTRY | more, INPUTS) == (ENTRY | more, ())


def test_more_secrets_than_a_page_has_are_left() -> None:
    inputs = {f"k{number}": Input(id=f"k{number}", is_secret=True) for number in range(9)}
    entry = {"command": "x", "env": {name.upper(): f"${{input:{name}}}" for name in inputs}}
    changed, (note,) = ask_each_person("dog", entry, inputs)
    assert changed == entry
    assert "more than 8 secrets" in note
