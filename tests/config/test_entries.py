"""`mcpServers` files as people have them, and what is said about those that cannot be read."""

import json
import logging
from pathlib import Path

import pytest

from fluidmcp.config.entries import EnvVariable, ServersFile, parse_entry, parse_servers_file
from fluidmcp.config.isolation import Paths
from fluidmcp.errors import ConfigurationError


def parse(document: object) -> ServersFile:
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    return parse_servers_file(text, path=Path("/srv/config.json"))


def refuse_file(text: bytes) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        parse(text)
    return caught.value


def refuse_entry(value: object, *, name: str = "a") -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        parse_entry(name, value, directory=Path("/srv"), source="config.json")
    return caught.value


@pytest.mark.promise(85)
def test_an_entry_has_command_args_and_env():
    entry = parse_entry(
        "files",
        {
            "command": "npx",
            "args": ["-y", "server"],
            "env": {"A": "1", "B": {"required": True, "description": "what"}, "C": {"value": "3"}},
        },
        directory=Path("/srv"),
        source="config.json",
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
    entry = parse_entry("a", value, directory=Path("/work"), source="config.json", home="/home/operator")
    assert entry.isolation == "uid"
    assert entry.paths == Paths(read=("/work/data", "/home/operator/mail"), write=("/srv/out",))
    plain = parse_entry("a", {"command": "x"}, directory=Path("/work"), source="config.json")
    assert (plain.isolation, plain.paths, plain.owns_directory) == (None, Paths(), False)


def test_a_package_owns_its_folder_and_a_file_does_not_own_the_working_directory():
    text = b'{"mcpServers": {"a": {"command": "x", "paths": {"read": ["data"]}}}}'
    path = Path("/packages/ann/mail/1.0.0/metadata.json")
    (own,) = parse_servers_file(text, path=path).entries
    assert (own.directory, own.owns_directory, own.paths.read) == (path.parent, True, (f"{path.parent}/data",))
    (shared,) = parse_servers_file(text, path=path, directory=Path("/work")).entries
    assert (shared.directory, shared.owns_directory, shared.paths.read) == (Path("/work"), False, ("/work/data",))


def test_files_of_other_programs_are_read_as_they_are(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        read = parse(
            {
                "globalShortcut": "",
                "mcpServers": {
                    "Brave Search": {
                        "type": "stdio",
                        "command": "npx",
                        "args": ["x"],
                        "disabled": False,
                        "autoApprove": [],
                        "envFile": ".env",
                    },
                    "old": {"command": "x", "disabled": True},
                },
            }
        )
    assert [entry.name for entry in read.entries] == ["brave-search"]
    assert read.disabled == ("old",)
    assert "'Brave Search' is served as brave-search" in caplog.text
    assert "ignored autoApprove, envFile" in caplog.text


def test_one_bad_entry_does_not_refuse_the_others():
    read = parse({"mcpServers": {"good": {"command": "x"}, "bad": {"command": 1}, "far": {"url": "https://a.example"}}})
    assert [entry.name for entry in read.entries] == ["good"]
    assert [refused.name for refused in read.refused] == ["bad", "far"]
    assert "mcpServers.bad.command must be a string, not a number" in read.refused[0].error.why


@pytest.mark.parametrize(
    "value", [{"url": "https://a.example"}, {"serverUrl": "x"}, {"type": "http", "command": "x"}, {"type": "sse"}]
)
def test_a_remote_entry_is_refused_by_name(value: object):
    error = refuse_entry(value, name="far")
    assert error.what == "The entry far in config.json is a remote server, which cannot be run."


@pytest.mark.parametrize(
    "name", ["health", "docs", "openapi.json", "metrics", "auth", "token", "mcp", "sse", "ready", "Register"]
)
def test_a_reserved_name_is_refused(name: str):
    assert "is reserved" in refuse_entry({"command": "x"}, name=name).what


@pytest.mark.parametrize(
    "name", ["", ".hidden", ".well-known", "..", "a/b", "a?b", "a%2fb", "-a", "ä", "a" * 65, "a\n\x07b"]
)
def test_a_name_that_cannot_be_part_of_an_address_is_refused_with_a_suggestion(name: str):
    error = refuse_entry({"command": "x"}, name=name)
    assert "cannot be served" in error.what
    assert error.hint.startswith("Rename it under mcpServers, for example to ")
    assert all(text.isprintable() for text in (error.what, error.why, error.hint))


@pytest.mark.parametrize(
    ("document", "what"),
    [
        (b'{"mcpServers": {"A b": {"command": "x"}, "a-b": {"command": "y"}}}', 'Two packages have the name "a-b".'),
        (b'{"mcpServers": {"a": {"command": "x"}, "a": {"command": "y"}}}', "has the key a twice in one object."),
    ],
)
def test_two_packages_of_one_name_are_an_error(document: bytes, what: str):
    assert what in refuse_file(document).what


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("x", "mcpServers.a must be an object"),
        ({}, "mcpServers.a.command is missing"),
        ({"command": ""}, "mcpServers.a.command is empty"),
        ({"command": "a\0b"}, "mcpServers.a.command holds a NUL"),
        ({"command": "x", "args": "y"}, "mcpServers.a.args must be a list of strings, not a string"),
        ({"command": "x", "args": ["y", 2]}, "mcpServers.a.args[1] must be a string, not a number"),
        ({"command": "x", "env": {"PORT": 3000}}, "mcpServers.a.env.PORT must be a string, not a number (write it in"),
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


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b'{\n  "mcpServers": {,}\n}', "Line 2, column 18"),
        (b"", "Line 1, column 1"),
        (b"[]", "It is a list, not an object."),
        (b'{"mcpServers": []}', "mcpServers is a list, not an object."),
        (b'{"servers": {}}', "mcpServers is missing."),
        (b'{"mcpServers": {"a": NaN}}', "NaN"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": "\xff"}', "Byte 8 is not UTF-8."),
    ],
)
def test_a_file_that_cannot_be_read_says_where(text: bytes, why: str):
    assert why in refuse_file(text).why


def test_a_byte_order_mark_does_no_harm():
    assert parse(b'\xef\xbb\xbf{"mcpServers": {"a": {"command": "x"}}}').entries[0].name == "a"
