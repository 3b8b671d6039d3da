"""Of a disabled entry, which nobody checks, only what is known comes along."""

import json
from pathlib import Path
from typing import Any

import pytest

from fluidmcp.packages.formats.recognise import read_shape
from fluidmcp.packages.importing.disabled import keep_known
from fluidmcp.packages.importing.merging import Source, merge_sources, write_document

AUTH = {
    "type": "oauth2",
    "flow": "pkce",
    "authorization_url": "https://a.example/a",
    "token_url": "https://a.example/t",
    "env_var_name": "MAIL_TOKEN",
    "scopes": ["mail"],
    "client_id_env": "MY_ID",
}


@pytest.mark.parametrize(
    ("entry", "dropped"),
    [
        ({"auth": {"x": "V"}}, ("auth",)),
        ({"auth": "V"}, ("auth",)),
        ({"surprise": "V"}, ("surprise",)),
        ({"args": ["a", {"x": "V"}]}, ("args",)),
        ({"args": "V"}, ("args",)),
        ({"env": {"A": {"x": "V"}, "B": "b"}, "headers": "V"}, ("env.A", "headers")),
        ({"env": {"A": {"value": ["V"]}}, "tools": {"x": "V"}}, ("env.A", "tools")),
        ({"isolation": "V", "paths": {"read": "V"}, "request_timeout_seconds": "V"}, None),
        ({"type": 5, "command": ["V"], "shared": "V"}, None),
    ],
)
def test_what_is_not_known_is_left_out_by_name(entry: dict[str, Any], dropped: tuple[str, ...] | None):
    kept, names = keep_known({"disabled": True, **entry})
    assert names == (tuple(entry) if dropped is None else dropped)
    assert "V" not in json.dumps(kept)


def test_what_is_known_stays():
    entry = {
        "disabled": True,
        "command": "x",
        "args": ["a", 5],
        "env": {"A": {"value": "1", "required": True}, "B": 2, "C": None},
        "auth": AUTH,
        "tools": {"allow": ["a"]},
        "isolation": "none",
        "start_timeout_seconds": 5,
    }
    assert keep_known(entry) == (entry, ())


def test_the_message_names_what_is_left_out():
    entries = {"a": {"command": "x", "disabled": True, "auth": {"x": "V"}, "args": ["--token", "V"]}}
    read = read_shape({"mcpServers": entries}, source="a.json")
    source = Source(shown="a.json", tool="t", workspace=Path("/srv"), folder=Path("/srv"), read=read)
    imported = merge_sources([source], workspace=Path("/srv"))
    assert "mcpServers.a of a.json is disabled; left out, as it cannot be read: auth." in imported.notes
    assert '"V"' not in write_document(imported.document)


def test_files_and_what_goes_with_them_are_known():
    entry = {
        "disabled": True,
        "secrets_in_args": True,
        "files": {"~/a": {"json": {"x": [1]}}, "b": {"text": "x", "env": "B"}},
    }
    assert keep_known(entry) == (entry, ())
    kept, dropped = keep_known({"files": {"~/a": {"text": ["V"]}, "~/b": "V", "~/c": {"x": "V"}}, "secrets_in_args": 1})
    assert (kept, dropped) == ({"files": {}}, ("files.'~/a'", "files.'~/b'", "files.'~/c'", "secrets_in_args"))


def test_what_is_nested_too_deeply_is_left_out():
    deep: Any = "V"
    for _ in range(900):
        deep = [deep]
    entry = {"env": {"A": {"json": deep}}, "files": {"~/a": {"json": {"x": deep}}}}
    assert keep_known(entry) == ({"env": {}, "files": {}}, ("env.A", "files.'~/a'"))
