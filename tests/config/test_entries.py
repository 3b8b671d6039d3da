"""Entries in our own form, and what is said about those that cannot be read."""

from pathlib import Path

import pytest

from fluidmcp.config.entries import EnvVariable
from fluidmcp.config.isolation import Paths
from fluidmcp.errors import ConfigurationError
from tests.entries import read_entry


def refuse_entry(value: object, *, name: str = "a") -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        read_entry(name, value)
    return caught.value


@pytest.mark.promise(85)
def test_an_entry_has_command_args_and_env():
    entry = read_entry(
        "files",
        {
            "command": "npx",
            "args": ["-y", "server"],
            "env": {"A": "1", "B": {"required": True, "description": "what"}, "C": {"value": "3"}},
        },
    )
    assert (entry.name, entry.command, entry.args, entry.directory) == ("files", "npx", ("-y", "server"), Path("/srv"))
    assert entry.env == (
        ("A", EnvVariable(value="1")),
        ("B", EnvVariable(required=True, description="what")),
        ("C", EnvVariable(value="3")),
    )
    assert entry.auth is None


def test_an_entry_says_what_isolates_its_processes_and_what_they_may_reach():
    value = {"command": "x", "isolation": "uid", "paths": {"read": ["data", "~/mail"], "write": ["/srv/out"]}}
    entry = read_entry("a", value, directory="/work", home="/home/operator")
    assert entry.isolation == "uid"
    assert entry.paths == Paths(read=("/work/data", "/home/operator/mail"), write=("/srv/out",))
    plain = read_entry("a", {"command": "x"}, directory="/work")
    assert (plain.isolation, plain.paths, plain.owns_directory) == (None, Paths(), False)


@pytest.mark.parametrize("value", [{"url": "https://a.example"}, {"type": "http", "command": "x"}, {"type": "sse"}])
def test_a_remote_entry_is_refused_by_name(value: object):
    error = refuse_entry(value, name="far")
    assert error.what == "The entry far in config.json is a remote server, which cannot be run."


@pytest.mark.parametrize(
    "name", ["health", "docs", "openapi.json", "metrics", "auth", "token", "mcp", "sse", "ready", "Register"]
)
def test_a_reserved_name_is_refused(name: str):
    assert "is reserved" in refuse_entry({"command": "x"}, name=name).what


@pytest.mark.parametrize("name", ["", " ", "a" * 65, "a\n\x07b", "a\u202eb"])
def test_a_name_that_cannot_be_part_of_an_address_is_refused_with_a_suggestion(name: str):
    error = refuse_entry({"command": "x"}, name=name)
    assert "cannot be served" in error.what
    assert error.hint.startswith("Rename it, for example to ")
    assert all(text.isprintable() for text in (error.what, error.why, error.hint))


@pytest.mark.parametrize(
    ("name", "served"),
    [
        ("github", "github"),
        ("my.server_1-x", "my.server_1-x"),
        ("Brave Search", "brave-search"),
        ("@org/server", "org-server"),
        ("Café  Search!", "cafe-search"),
        (".hidden", "hidden"),
        ("-a", "a"),
        ("..", "server-3"),
        ("a/../b?c#d%2f", "a-..-b-c-d-2f"),
        ("мой", "server-3"),
        ("天気", "server-3"),
        ("мой mail", "mail"),
        ("ﬁles", "files"),
    ],
)
def test_an_address_is_made_of_any_name(name: str, served: str):
    entry = read_entry(name, {"command": "x"}, number=3)
    assert (entry.name, entry.written_name) == (served, "" if name == served else name)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("x", "mcpServers.a must be an object"),
        ({}, "mcpServers.a.command is missing"),
        ({"command": ""}, "mcpServers.a.command is empty"),
        ({"command": "a\0b"}, "mcpServers.a.command holds a NUL"),
        ({"command": "x", "args": "y"}, "mcpServers.a.args must be a list of strings, not a string"),
        ({"command": "x", "args": ["y", {"z": 1}]}, "mcpServers.a.args[1] must be a string, not an object"),
        ({"command": "x", "env": {"PORT": []}}, "mcpServers.a.env.PORT must be a string, not a list"),
        ({"command": "x", "path": {}}, "mcpServers.a.path is not known here"),
        ({"command": "x", "package": "npm:y"}, "mcpServers.a.package stands beside command"),
        ({"command": "x", "request_timeout_seconds": 0}, "mcpServers.a.request_timeout_seconds must be more than 0"),
        ({"command": "x", "cwd": 1}, "mcpServers.a.cwd must be a string, not a number"),
        ({"command": "cmd", "args": ["/k", "x"]}, "mcpServers.a.command is a shell of Windows"),
        ({"command": "x", "env": {"A=B": "c"}}, "is not a name of an environment variable"),
        ({"command": "x", "env": {"A": {"valu": "c"}}}, "mcpServers.a.env.A.valu is not known"),
        ({"command": "x", "env": {"FMCP_SEAL_KEYS": {"required": True}}}, "begins with FMCP_"),
        ({"command": "x", "shared": 1}, "mcpServers.a.shared must be true or false"),
        ({"command": "x", "isolation": "docker"}, "mcpServers.a.isolation must be one of auto, landlock, uid"),
        ({"command": "x", "paths": ["/srv"]}, "mcpServers.a.paths must be an object, not a list"),
        ({"command": "x", "paths": {"read": ["/"]}}, "mcpServers.a.paths.read may not be the whole file system"),
    ],
)
def test_a_fault_is_named_by_its_path_in_the_file(value: object, path: str):
    assert path in refuse_entry(value).why


def test_what_is_no_text_becomes_text_and_null_is_not_set():
    value = {"command": "x", "args": ["--port", 8080, True], "env": {"A": 5, "B": True, "C": None, "D": 1.5, "E": 2.0}}
    entry = read_entry("a", value)
    assert entry.args == ("--port", "8080", "true")
    assert {name: variable.value for name, variable in entry.env} == {"A": "5", "B": "true", "D": "1.5", "E": "2"}


@pytest.mark.parametrize(
    ("command", "args", "meant"),
    [
        ("cmd", ["/c", "npx", "-y", "server"], ("npx", "-y", "server")),
        ("C:\\Windows\\System32\\cmd.exe", ["/d", "/s", "/C", "npx.cmd -y server"], ("npx", "-y", "server")),
        ("npx.cmd", ["server"], ("npx", "server")),
        ("node.exe", ["a.js"], ("node", "a.js")),
        ("./cmd-runner", ["/c", "x"], ("./cmd-runner", "/c", "x")),
    ],
)
def test_commands_of_windows_run_where_their_meaning_is_plain(command: str, args: list[str], meant: tuple[str, ...]):
    entry = read_entry("a", {"command": command, "args": args})
    assert (entry.command, *entry.args) == meant
