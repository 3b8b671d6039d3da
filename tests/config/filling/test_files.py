"""The `files` of an entry: where they go is decided when they are read."""

from typing import Any

import pytest

from fluidmcp.config.entries import ServerEntry
from fluidmcp.config.filling.files import HOME_FOLDERS
from fluidmcp.config.filling.templates import Credentials
from fluidmcp.errors import ConfigurationError
from tests.config.filling.test_person_rules import AUTH, TOKEN
from tests.entries import read_entry

FILE = {"text": TOKEN}


def read(files: object, **keys: Any) -> ServerEntry:
    return read_entry("a", {"command": "x", "auth": AUTH, "files": files, **keys})


def refuse(files: object, **keys: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read(files, **keys)
    return caught.value.why


def test_a_file_has_a_place_or_a_variable_that_tells_it() -> None:
    entry = read(
        {
            "~/.gmail-mcp/credentials.json": {"json": {"access_token": TOKEN}},
            "creds.json": {"text": f"token={TOKEN}", "env": "GOOGLE_APPLICATION_CREDENTIALS"},
            "~/both.json": {"json": [TOKEN], "env": "BOTH"},
            "~/tmp/public": {"text": "$${x}"},
        }
    )
    filled = [
        (file.target, file.variable, file.content.fill(Credentials(values={"auth.access_token": "t"})))
        for file in entry.files
    ]
    assert filled == [
        (".gmail-mcp/credentials.json", "", '{"access_token":"t"}'),
        (".fluidmcp-files/creds.json", "GOOGLE_APPLICATION_CREDENTIALS", "token=t"),
        ("both.json", "BOTH", '["t"]'),
        ("tmp/public", "", "${x}"),
    ]


@pytest.mark.threat("E07")
@pytest.mark.parametrize(
    "name",
    [
        *("~/../../etc/cron.d/x", "~/..", "~/a/../b", "../x", "/etc/cron.d/x", "~//etc/cron.d/x", "~/./x", "~/.", "."),
        *("~/", "~", "", "~/a/", "~/a//b", "a/b", "~root/x", "~/a\0b", "~/a\nb", "~/${HOME}/x", "~/${person.sub}"),
        *(f"~/{folder}" for folder in HOME_FOLDERS),
        *("~/" + "a" * 256, "~/" + "é" * 200, "~/" + "/".join("a" * 100 for _ in range(11))),
    ],
)
def test_e07_a_file_lies_below_the_private_home(name: str) -> None:
    assert "mcpServers.a.files." in refuse({name: FILE | {"env": "PLACE"}})


@pytest.mark.threat("E07")
@pytest.mark.parametrize(
    ("names", "why"),
    [
        (("~/a", "~/a/b"), "lies below it"),
        (("~/a/b/c", "~/a"), "lies below it"),
        (("~/A", "~/a"), "is the same file as"),
        (("~/\u00e9", "~/e\u0301"), "is the same file as"),
        (("~/.fluidmcp-files/x", "x"), "is the same file as"),
        ((".fluidmcp-files", "~/.fluidmcp-files"), "lies below it"),
    ],
)
def test_no_two_files_are_in_each_other_s_way(names: tuple[str, ...], why: str) -> None:
    assert why in refuse({name: FILE | {"env": f"PLACE_{number}"} for number, name in enumerate(names)})


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ([], "mcpServers.a.files must be an object"),
        ({"~/a": TOKEN}, "mcpServers.a.files.'~/a' must be an object"),
        ({"~/a": {}}, "has no content"),
        ({"~/a": {"text": "x", "json": 1}}, "json stands beside text"),
        ({"~/a": {"text": "x", "mode": "0644"}}, "mode is not known here"),
        ({"a": {"text": "x"}}, "env is missing"),
        ({"~/a": FILE | {"env": "LD_PRELOAD"}}, "names a variable that decides what code"),
        ({"~/a": FILE | {"env": "FMCP_X"}}, "must not begin with FMCP_"),
        ({"~/a": FILE | {"env": "A"}, "~/b": FILE | {"env": "A"}}, "names a variable that something else sets too"),
        ({f"~/{number}": FILE for number in range(17)}, "holds more than 16 files"),
        ({"~/a": {"text": "${NOT_SET}"}}, "needs the variable NOT_SET"),
        ({"~/a": {"text": "${auth.refresh_token}"}}, "which no server is ever given"),
    ],
)
def test_what_a_file_cannot_be(files: object, why: str) -> None:
    assert why in refuse(files)


def test_files_need_a_person_and_variables_of_their_own() -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_entry("a", {"command": "x", "files": {"~/a": {"text": "x"}}})
    assert "mcpServers.a.files needs auth" in caught.value.why
    place = {"~/a": FILE | {"env": "A"}}
    assert "something else sets too" in refuse(place, env={"A": "x"})
    assert "something else sets too" in refuse(place, auth=AUTH | {"env_var_name": "A"})


def test_a_script_reads_the_variable_of_a_file() -> None:
    files = {"creds.json": FILE | {"env": "CREDS"}}
    entry = read(files, command="sh", args=["-c", 'exec server --credentials "${CREDS}"'])
    assert entry.args == ("-c", 'exec server --credentials "${CREDS}"')
    assert [name for name, _ in entry.env] == []


@pytest.mark.parametrize("file", [None, TOKEN, []])
def test_what_is_no_file_has_one_fault(file: object) -> None:
    why = refuse({"~/a": file}, env={"A": TOKEN})
    assert why.startswith("mcpServers.a.files.'~/a' must be an object") and ";" not in why
