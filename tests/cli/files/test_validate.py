"""`fluidmcp validate`: what a file would do, without starting anything."""

import json
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from tests.acceptance.harness import run_fluidmcp

Json = dict[str, Any]

MARKER: Final = "started.txt"
GOOD: Final[Json] = {"command": sys.executable, "args": ["-c", f"open('{MARKER}', 'w')"]}
INPUTS: Final = [
    {"id": "key", "type": "promptString", "password": True},
    {"id": "place", "type": "promptString"},
    {"id": "mode", "type": "pickString", "options": ["a", "b"], "default": "a"},
]


def write(folder: Path, name: str = "config.json", **document: Any) -> str:
    (folder / name).write_text(json.dumps(document), encoding="utf-8")
    return name


async def test_good_entries_are_listed_with_their_addresses_and_nothing_is_started(tmp_path: Path):
    file = write(tmp_path, mcpServers={"mail": GOOD, "My Notes": GOOD, "old": GOOD | {"disabled": True}})
    done = await run_fluidmcp("validate", file, cwd=tmp_path)
    assert (done.code, done.stderr) == (0, "")
    assert [line.split(maxsplit=1) for line in done.stdout.splitlines()] == [
        ["ok", "mail -> /mail/mcp"],
        ["ok", "'My Notes' -> /my-notes/mcp"],
        ["disabled", "old"],
    ]
    assert not (tmp_path / MARKER).exists()


@pytest.mark.parametrize(
    ("entry", "state", "pieces"),
    [
        ({"command": "no-such-command-7f3a"}, "wrong", ["is not found: no-such-command-7f3a", "no such program"]),
        (GOOD | {"cwd": "nowhere"}, "wrong", ["working directory of bad is not there", "nowhere", "correct `cwd` in"]),
        (GOOD | {"envFile": "no.env"}, "refused", ["no.env cannot be read", "A relative path counts from /"]),
        ({"command": f"{sys.executable} -c pass"}, "wrong", ["spaces included", "move what follows into its args"]),
        (GOOD | {"env": {"A": {"required": True}}}, "wrong", ["variable A", "neither set"]),
        (GOOD | {"env": {"A": "${NOT_SET_HERE}"}}, "refused", ["mcpServers.bad.env.A", "NOT_SET_HERE"]),
        (GOOD | {"surprise": 1}, "refused", ["mcpServers.bad.surprise"]),
        (GOOD | {"url": "https://example.com/mcp"}, "remote", ["remove its url, since it has a command"]),
        ({"url": "https://example.com/mcp"}, "remote", ["bad", "remote server"]),
    ],
    ids=["command", "cwd", "envFile", "command-line", "required", "variable", "key", "both", "remote"],
)
async def test_what_is_wrong_with_an_entry_is_told_with_its_field(
    tmp_path: Path, entry: Json, state: str, pieces: list[str]
):
    file = write(tmp_path, mcpServers={"bad": entry, "good": GOOD})
    done = await run_fluidmcp("validate", file, cwd=tmp_path)
    assert done.code == 2
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [[state, "bad"], ["ok", "good"]]
    assert done.stderr.count("Error: ") == 1
    assert all(piece in done.stderr for piece in pieces), done.stderr


async def test_inputs_are_listed_and_not_asked_for(tmp_path: Path):
    args = ["${input:key}", "${input:mode}"]
    servers = {"mail": GOOD | {"args": args}, "notes": GOOD | {"cwd": "${input:place}/data"}}
    file = write(tmp_path, servers=servers, inputs=INPUTS)
    done = await run_fluidmcp("validate", file, cwd=tmp_path)
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "  ok        mail -> /mail/mcp, asks for key (FMCP_INPUT_KEY)",
        "  ok        notes -> /notes/mcp, asks for place (FMCP_INPUT_PLACE)",
    ]
    answers = {"FMCP_INPUT_KEY": "k", "FMCP_INPUT_PLACE": str(tmp_path / "nowhere")}
    answered = await run_fluidmcp("validate", file, cwd=tmp_path, env=answers)
    assert answered.code == 2
    assert "asks for" not in answered.stdout
    assert "working directory of notes is not there" in answered.stderr


async def test_a_file_that_cannot_be_read_does_not_keep_the_others_from_being_checked(tmp_path: Path):
    (tmp_path / "broken.json").write_text('{"mcpServers": {', encoding="utf-8")
    clash = write(tmp_path, "clash.json", mcpServers={"My Notes": GOOD, "my-notes": GOOD})
    empty = write(tmp_path, "empty.json", mcpServers={})
    good = write(tmp_path, mcpServers={"mail": GOOD})
    done = await run_fluidmcp("validate", "broken.json", clash, empty, good, cwd=tmp_path)
    assert done.code == 2
    assert done.stdout.splitlines()[-2:] == ["config.json:", "  ok        mail -> /mail/mcp"]
    for piece in ("broken.json cannot be read", 'the name "my-notes"', "empty.json has no server"):
        assert piece in done.stderr


async def test_files_of_variables_and_names_of_credentials_are_allowed_as_for_run(tmp_path: Path):
    folder = tmp_path / "files"
    folder.mkdir()
    (tmp_path / "outside.env").write_text("A=1\n", encoding="utf-8")
    auth = {
        "type": "oauth2",
        "flow": "pkce",
        "authorization_url": "https://accounts.google.com/o/oauth2/v2/auth",
        "token_url": "https://oauth2.googleapis.com/token",
        "scopes": ["mail"],
        "client_id_env": "MY_APP",
        "env_var_name": "MAIL_TOKEN",
    }
    write(folder, mcpServers={"a": GOOD | {"envFile": "../outside.env"}, "b": GOOD | {"auth": auth}})
    refused = await run_fluidmcp("validate", "files/config.json", cwd=tmp_path)
    assert (refused.code, refused.stderr.count("Error: ")) == (2, 2)
    allowed = ("--allow-env-file", "outside.env", "--allow-env", "MY_APP")
    done = await run_fluidmcp("validate", "files/config.json", *allowed, cwd=tmp_path)
    assert (done.code, done.stderr) == (0, "")


async def test_servers_that_claude_code_keeps_for_the_working_directory_are_checked_as_run_takes_them(tmp_path: Path):
    project = {"mcpServers": {"mail": GOOD}}
    file = write(tmp_path, mcpServers={"notes": GOOD}, projects={str(tmp_path): project, "/elsewhere": {}})
    done = await run_fluidmcp("validate", file, cwd=tmp_path)
    assert (done.code, done.stderr) == (0, "")
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [["ok", "notes"], ["ok", "mail"]]


async def test_a_value_that_was_filled_in_and_is_a_secret_is_not_shown(tmp_path: Path):
    servers = {"a": {"command": "/opt/${MY_API_KEY}/x"}, "b": GOOD | {"cwd": "/srv/${MY_API_KEY}"}}
    file = write(tmp_path, mcpServers=servers)
    done = await run_fluidmcp("validate", file, cwd=tmp_path, env={"MY_API_KEY": "hunter2hunter2"})
    assert done.code == 2
    assert "/opt/***/x" in done.stderr and "/srv/***" in done.stderr
    assert "hunter2" not in done.stdout + done.stderr
