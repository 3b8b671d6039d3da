"""The JSON schema of our own file: it knows the keys that are read, and accepts the files that are good."""

import json
import re
from pathlib import Path
from typing import Any, Final, cast

import pytest
from jsonschema import Draft202012Validator

from fluidmcp.config.auth_block import KEYS
from fluidmcp.config.entries import ENV_KEYS, KNOWN_KEYS
from fluidmcp.config.filling.files import FILE_KEYS
from fluidmcp.config.isolation import PATH_KEYS
from fluidmcp.config.providers.describe import entry_to_copy
from fluidmcp.config.providers.fill import VALUE_NAMES
from fluidmcp.config.providers.table import PRESETS
from fluidmcp.config.schema import SCHEMA_ADDRESS, build_schema
from fluidmcp.config.tools import TOOL_KEYS
from tests.config.schema_file import SCHEMA_FILE, write_schema
from tests.gateway.running import running_gateway, stdlib_entry

Json = dict[str, Any]

ROOT: Final = Path(__file__).resolve().parents[2]
OWN: Final = ("own-all-remote.json", "own-empty.json", "own-everything.json")


def find_faults(document: Any) -> list[str]:
    errors = Draft202012Validator(build_schema()).iter_errors(document)  # pyright: ignore[reportUnknownMemberType]
    return [f"{error.json_path}: {error.message}" for error in errors]


def examples() -> list[Json]:
    """The files that the pages of docs/ show."""
    pages = [page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs").glob("*.md"))]
    texts = [text for page in pages for text in re.findall(r"```json\n(.*?)```", page, re.DOTALL)]
    return [json.loads(text) for text in texts if '"mcpServers"' in text and '/mcp"' not in text and "..." not in text]


def test_the_schema_is_one():
    Draft202012Validator.check_schema(build_schema())
    assert build_schema()["$id"] == SCHEMA_ADDRESS


def test_it_has_the_keys_that_are_read_and_no_others():
    definitions = cast("dict[str, Json]", build_schema()["$defs"])
    server = definitions["server"]["properties"]
    assert set(server) == KNOWN_KEYS
    assert set(definitions["auth"]["properties"]) == KEYS | VALUE_NAMES
    assert set(server["tools"]["properties"]) == TOOL_KEYS
    assert set(server["paths"]["properties"]) == PATH_KEYS
    assert set(server["env"]["additionalProperties"]["anyOf"][1]["properties"]) == ENV_KEYS
    assert set(server["files"]["additionalProperties"]["properties"]) == FILE_KEYS


def test_the_files_of_the_documents_are_good():
    documents = examples()
    assert len(documents) >= 2
    for document in documents:
        assert find_faults(document) == [], document


@pytest.mark.parametrize("name", OWN)
def test_our_own_files_of_the_corpus_are_good(name: str):
    path = ROOT / "tests" / "configurations" / "files" / name
    assert find_faults(json.loads(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"command": ""},
        {"command": "x", "package": "npm:y"},
        {"command": "x", "envfile": ".env"},
        {"command": "x", "args": "y"},
        {"command": "x", "env": {"FMCP_A": "1"}},
        {"command": "x", "env": {"A": ["1"]}},
        {"command": "x", "files": {"~/a": {}}},
        {"command": "x", "files": {"/etc/x": {"text": "y"}}},
        {"command": "x", "tools": {"denied": []}},
        {"command": "x", "tools": None},
        {"command": "x", "request_timeout_seconds": 0},
        {"command": "x", "isolation": "some"},
        {"command": "x", "auth": None},
        {"command": "x", "auth": {"type": "oauth2", "client_secret": "s"}},
        {"command": "x", "auth": {"provider": "githb", "env_var_name": "T"}},
        {"command": "x", "auth": {"provider": "entra", "env_var_name": "T"}},
        {"command": "x", "auth": {"env_var_name": "T", "tenant": "common"}},
    ],
    ids=str,
)
def test_mistakes_are_marked(entry: Json):
    assert find_faults({"mcpServers": {"a": entry}}) != []


def test_the_entries_of_presets_are_good():
    for preset in PRESETS.values():
        assert find_faults(json.loads(entry_to_copy(preset))) == [], preset.name


def test_the_file_in_the_documents_is_up_to_date():
    assert SCHEMA_FILE.read_text(encoding="utf-8") == write_schema(), "run scripts/update-docs"


async def test_the_gateway_serves_it_to_everybody():
    async with running_gateway([stdlib_entry("echo")]) as running:
        answer = await running.client.get("/schema/config.json")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/schema+json"
    assert answer.headers["cache-control"] == "public, max-age=3600"
    assert answer.json() == build_schema()
