"""What an entry holds of its person, for one start."""

from typing import Any

import pytest

from fluidmcp.config.entries import ServerEntry
from fluidmcp.config.filling.files import MAX_FILES_BYTES
from fluidmcp.config.filling.templates import Credentials
from fluidmcp.errors import ServerStartError
from fluidmcp.processes.launch.environment import build_environment
from fluidmcp.processes.launch.personal import fill_in
from tests.config.filling.test_person_rules import AUTH, TOKEN
from tests.entries import read_entry


def known(access_token: str, subject: str = "ada") -> Credentials:
    return Credentials(
        values={"auth.access_token": access_token, "person.sub": subject}, secret=frozenset({"auth.access_token"})
    )


ADA = known("tok-of-ada")


def read(**keys: Any) -> ServerEntry:
    return read_entry("a", {"command": "x", "auth": AUTH, **keys})


def test_every_place_is_filled_in() -> None:
    entry = read(
        env={"A": f"Bearer {TOKEN}"},
        args=["--key", TOKEN],
        secrets_in_args=True,
        files={"~/a": {"text": TOKEN}},
        auth=AUTH | {"env_var_name": "B"},
    )
    personal = fill_in(entry, ADA)
    assert personal.variables == {"A": "Bearer tok-of-ada", "B": "tok-of-ada"}
    assert [personal.args.get(word, word) for word in entry.args] == ["--key", "tok-of-ada"]
    assert [(file.target, file.text) for file in personal.files] == [("a", "tok-of-ada")]
    assert {"tok-of-ada", "dG9rLW9mLWFkYQ=="} <= personal.secrets
    assert "tok-of-ada" not in repr(personal)


def test_a_check_of_the_start_has_nothing_of_a_person() -> None:
    entry = read(
        env={"A": TOKEN, "B": {"value": TOKEN, "required": True}, "C": "plain"},
        args=["--key", f"Bearer {TOKEN}"],
        secrets_in_args=True,
        files={"~/a": {"text": TOKEN}, "keys.json": {"json": {"installed": 1}, "env": "KEYS"}},
    )
    personal = fill_in(entry, None)
    environment = build_environment(entry, {"A": "of the operator", "KEYS": "x"}, personal=personal.variables)
    assert environment == {"C": "plain"}, "KEYS comes with the home"
    assert [personal.args.get(word, word) for word in entry.args] == ["--key", "Bearer "]
    assert [file.variable for file in personal.files] == ["KEYS"]


@pytest.mark.threat("B19", "E12")
@pytest.mark.parametrize(
    ("keys", "field"),
    [
        ({"env": {"A": "${person.sub}"}}, "mcpServers.a.env.A needs ${person.sub}, whose value holds a line break"),
        ({"args": ["${person.sub}"], "secrets_in_args": True}, "mcpServers.a.args needs ${person.sub}"),
        ({"files": {"~/a.ini": {"text": "k=${person.sub}"}}}, "mcpServers.a.files.~/a.ini needs ${person.sub}"),
        ({"env": {"A": {"json": "${auth.scope}"}}}, "mcpServers.a.env.A needs ${auth.scope}, which the provider"),
    ],
)
def test_a_start_that_cannot_be_names_the_field_and_no_value(keys: dict[str, Any], field: str) -> None:
    with pytest.raises(ServerStartError) as caught:
        fill_in(read(**keys), known("t", "secret\nLD_PRELOAD=/x"))
    assert field in caught.value.why
    assert "LD_PRELOAD" not in repr(caught.value.__dict__)
    assert caught.value.__cause__ is None


def test_json_takes_any_value() -> None:
    entry = read(env={"A": {"json": {"sub": "${person.sub}"}}})
    assert fill_in(entry, known("t", 'a"}\n')).variables == {"A": '{"sub":"a\\"}\\n"}'}


def test_files_are_bounded_when_they_are_filled_in() -> None:
    entry = read(files={"~/a": {"text": TOKEN}, "~/b": {"text": TOKEN}})
    half = "é" * (MAX_FILES_BYTES // 4)
    assert len(fill_in(entry, known(half)).files) == 2
    with pytest.raises(ServerStartError, match="could not be started"):
        fill_in(entry, known(half + "x"))
