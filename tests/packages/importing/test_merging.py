"""Entries of other programs on their way into one file: their names, and what remote ones say."""

from pathlib import Path
from typing import Any

import pytest

from fluidmcp.packages.formats.recognise import read_shape
from fluidmcp.packages.importing.merging import Imported, Source, merge_sources

REMOTE = {"url": "https://x.example/mcp"}


def merge(document: dict[str, Any]) -> Imported:
    read = read_shape(document, source="a.json")
    source = Source(shown="a.json", tool="codex", workspace=Path("/srv"), folder=Path("/srv"), read=read)
    return merge_sources([source], workspace=Path("/srv"))


@pytest.mark.parametrize(
    ("name", "called"), [("docs", "docs-server"), ("SSE", "sse-server"), ("ready", "ready-server")]
)
def test_a_reserved_name_is_changed_and_it_is_said(name: str, called: str):
    imported = merge({"mcpServers": {name: {"command": "x"}, called: {"command": "y"}}})
    assert imported.left_out == ()
    assert imported.names == (called, f"{called}-codex")
    assert f"the gateway itself answers at /{name.lower()}" in imported.notes[0]


def test_variables_of_the_headers_of_a_remote_server_come_along():
    members = {"bearer_token_env_var": "FIGMA_TOKEN", "env_http_headers": {"X-Team": "userHome"}}
    imported = merge({"mcp_servers": {"figma": REMOTE | members | {"http_headers": {"Accept": "a"}}}})
    assert imported.document["mcpServers"] == {
        "figma": REMOTE
        | {"headers": {"Authorization": "Bearer ${FIGMA_TOKEN}", "X-Team": "${env:userHome}", "Accept": "a"}}
    }
    assert imported.exports == ()


@pytest.mark.parametrize(
    "members",
    [{"bearer_token_env_var": "sk-secret"}, {"env_http_headers": {"X": 5}}, {"env_http_headers": "sk-secret"}],
)
def test_what_is_no_name_of_a_variable_is_a_fault_and_not_repeated(members: dict[str, Any]):
    imported = merge({"mcp_servers": {"figma": REMOTE | members}})
    (error,) = imported.left_out
    assert next(iter(members)) in error.why
    assert "sk-secret" not in error.why


def test_folders_in_files_and_in_json_are_those_of_before():
    entry = {
        "command": "x",
        "auth": {"provider": "github"},
        "env": {"A": {"json": ["${workspaceFolder}/a", "${auth.access_token}"]}},
        "files": {"~/a": {"text": "at ${workspaceFolder}"}, "~/b": {"json": {"n": {"number": "${auth.expires_at}"}}}},
    }
    read = read_shape({"mcpServers": {"a": entry}}, source="a.json")
    source = Source(shown="a.json", tool="mine", workspace=Path("/srv/old"), folder=Path("/srv/old"), read=read)
    imported = merge_sources([source], workspace=Path("/srv"))
    assert imported.left_out == ()
    written = imported.document["mcpServers"]["a"]  # type: ignore[index]
    assert written["env"] == {"A": {"json": ["${workspaceFolder}/old/a", "${auth.access_token}"]}}
    assert written["files"] == {**entry["files"], "~/a": {"text": "at ${workspaceFolder}/old"}}  # type: ignore[dict-item]
