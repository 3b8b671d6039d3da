"""`fluidmcp import`: one file of ours, and the originals as they were."""

import json
import os
import stat
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from tests.acceptance.harness import Finished, run_fluidmcp

Json = dict[str, Any]

TOKEN: Final = "ghp_abcdefghijklmnopqrstuvwxyz0123456789"
GITHUB: Final[Json] = {"command": "npx", "args": ["-y", "github-mcp"], "env": {"GITHUB_TOKEN": TOKEN}}
OTHER: Final[Json] = {"command": "npx", "args": ["-y", "other-github-mcp"]}


def put(path: Path, document: Json) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def read(path: Path) -> Json:
    return json.loads(path.read_text(encoding="utf-8"))


async def import_in(folder: Path, *arguments: str, home: Path | None = None) -> Finished:
    env = {"HOME": str(home or folder), "XDG_CONFIG_HOME": ""}
    return await run_fluidmcp("import", *arguments, cwd=folder, env=env)


async def test_the_file_is_written_for_its_owner_alone_and_the_secret_stays_where_it_was(tmp_path: Path):
    original = put(tmp_path / ".cursor" / "mcp.json", {"mcpServers": {"github": GITHUB}})
    before = original.read_bytes()
    done = await import_in(tmp_path, ".cursor/mcp.json", "-o", "fluidmcp.json")
    assert done.code == 0, done.stderr
    assert done.stdout == "Wrote fluidmcp.json with github.\n"
    written = tmp_path / "fluidmcp.json"
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert read(written) == {
        "$schema": "http://localhost:8099/schema/config.json",
        "mcpServers": {"github": GITHUB | {"env": {"GITHUB_TOKEN": "${GITHUB_TOKEN}"}}},
    }
    assert "GITHUB_TOKEN  from .cursor/mcp.json, mcpServers.github.env.GITHUB_TOKEN" in done.stderr
    assert TOKEN not in done.stdout + done.stderr + written.read_text(encoding="utf-8")
    assert original.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == [".cursor", "fluidmcp.json"]


async def test_without_a_place_the_file_is_shown_and_nothing_else_is_on_standard_output(tmp_path: Path):
    put(tmp_path / "mcp.json", {"mcpServers": {"github": GITHUB, "мой": OTHER}})
    done = await import_in(tmp_path, "mcp.json")
    assert done.code == 0
    assert list(json.loads(done.stdout)["mcpServers"]) == ["github", "server-2"]
    assert os.listdir(tmp_path) == ["mcp.json"]


async def test_a_file_that_is_there_is_kept_unless_it_is_forced_and_originals_always(tmp_path: Path):
    put(tmp_path / "mcp.json", {"mcpServers": {"github": GITHUB}})
    kept = put(tmp_path / "fluidmcp.json", {"mcpServers": {}})
    before = kept.read_bytes()
    refused = await import_in(tmp_path, "mcp.json", "-o", "fluidmcp.json")
    assert (refused.code, kept.read_bytes()) == (2, before)
    assert "--force" in refused.stderr
    (tmp_path / "link.json").symlink_to("mcp.json")
    for name in ("mcp.json", "./mcp.json", "link.json"):
        original = await import_in(tmp_path, "mcp.json", "-o", name, "--force")
        assert original.code == 2
        assert "one of the files to import" in original.stderr
    assert read(tmp_path / "mcp.json") == {"mcpServers": {"github": GITHUB}}
    forced = await import_in(tmp_path, "mcp.json", "-o", "fluidmcp.json", "--force")
    assert forced.code == 0
    assert list(read(kept)["mcpServers"]) == ["github"]


async def test_what_is_there_twice_is_taken_once_and_what_clashes_gets_the_name_of_its_program(tmp_path: Path):
    put(tmp_path / "a.json", {"mcpServers": {"github": GITHUB}})
    put(tmp_path / ".cursor" / "mcp.json", {"mcpServers": {"github": OTHER, "Git Hub": OTHER}})
    put(tmp_path / ".vscode" / "mcp.json", {"servers": {"github": GITHUB, "git-hub": OTHER}})
    done = await import_in(tmp_path, "a.json", ".cursor/mcp.json", ".vscode/mcp.json")
    servers = json.loads(done.stdout)["mcpServers"]
    assert list(servers) == ["github", "github-cursor", "git-hub"]
    assert servers["github-cursor"] == OTHER
    assert "another github than a.json" in done.stderr


async def test_what_cannot_be_honoured_is_left_out_by_name_and_remote_ones_are_kept(tmp_path: Path):
    servers = {
        "good": OTHER,
        "odd": OTHER | {"surprise": 1},
        "windows": OTHER | {"cwd": "C:\\x"},
        "far": {"url": "https://x.example/mcp", "headers": {"Authorization": "Bearer abcdef"}},
    }
    put(tmp_path / "mcp.json", {"mcpServers": servers})
    done = await import_in(tmp_path, "mcp.json")
    assert done.code == 2
    written = json.loads(done.stdout)["mcpServers"]
    assert list(written) == ["good", "far"]
    assert written["far"]["headers"] == {"Authorization": "Bearer ${FAR_AUTHORIZATION}"}
    for piece in ("mcpServers.odd.surprise", "mcpServers.windows.cwd", "cannot be run yet"):
        assert piece in done.stderr
    assert "abcdef" not in done.stderr


async def test_all_finds_the_usual_places_and_passes_over_what_has_no_servers(tmp_path: Path):
    home, project = tmp_path / "home", tmp_path / "home" / "work" / "shop"
    settings = home / ("Library/Application Support" if sys.platform == "darwin" else ".config")
    put(settings / "Claude" / "claude_desktop_config.json", {"mcpServers": {"github": GITHUB}})
    put(settings / "Code" / "User" / "settings.json", {"editor.fontSize": 12})
    put(home / ".config" / "zed" / "settings.json", {"context_servers": {"zed": OTHER}})
    put(home / ".claude.json", {"projects": {str(project): {"mcpServers": {"shop": {"command": "shop-mcp"}}}}})
    put(project / ".cursor" / "mcp.json", {"mcpServers": {"local": {"command": "x", "cwd": "src", "envFile": ".env"}}})
    (home / ".codex").mkdir()
    (home / ".codex" / "config.toml").write_text("[mcp_servers.codex\n", encoding="utf-8")
    os.mkfifo(home / ".lmstudio.fifo")
    (home / ".lmstudio").mkdir()
    (home / ".lmstudio" / "mcp.json").symlink_to(home / ".lmstudio.fifo")
    done = await import_in(project, "--all", "-o", "fluidmcp.json", home=home)
    assert done.code == 0, done.stderr
    servers = read(project / "fluidmcp.json")["mcpServers"]
    assert list(servers) == ["local", "shop", "zed", "github"]
    assert servers["local"] == {"command": "x", "cwd": "src", "envFile": ".env"}
    assert "Found ~/.config/zed/settings.json: zed" in done.stderr
    assert done.stderr.count("Error: ") == 2  # the broken file and the FIFO
    assert "fontSize" not in done.stderr


async def test_paths_mean_the_same_from_the_new_place(tmp_path: Path):
    entry = {"command": "${workspaceFolder}/run", "cwd": "src", "envFile": "${workspaceFolder}/.env"}
    put(tmp_path / "shop" / ".cursor" / "mcp.json", {"mcpServers": {"shop": entry}})
    inside = await import_in(tmp_path, "shop/.cursor/mcp.json")
    assert json.loads(inside.stdout)["mcpServers"]["shop"] == {
        "command": "${workspaceFolder}/shop/run",
        "cwd": "shop/src",
        "envFile": "${workspaceFolder}/shop/.env",
    }
    (tmp_path / "elsewhere").mkdir()
    outside = await import_in(tmp_path, "shop/.cursor/mcp.json", "-o", "elsewhere/fluidmcp.json")
    shop = tmp_path / "shop"
    assert read(tmp_path / "elsewhere" / "fluidmcp.json")["mcpServers"]["shop"] == {
        "command": f"{shop}/run",
        "cwd": f"{shop}/src",
        "envFile": f"{shop}/.env",
    }
    assert f"add --allow-env-file {shop}/.env" in outside.stderr


async def test_inputs_come_along_and_those_that_clash_get_another_id(tmp_path: Path):
    def ask(description: str, **more: Any) -> Json:
        entry = {"command": "x", "args": ["${input:key}", description]}
        return {"servers": {description: entry}, "inputs": [{"id": "key", "description": description, **more}]}

    put(tmp_path / ".vscode" / "mcp.json", ask("one", password=True, default="hunter22"))
    put(tmp_path / "b.json", ask("two", type="pickString", options=["a", "b"], default="a"))
    done = await import_in(tmp_path, ".vscode/mcp.json", "b.json")
    document = json.loads(done.stdout)
    assert document["mcpServers"]["two"]["args"][0] == "${input:key-b}"
    assert document["inputs"] == [
        {"id": "key", "type": "promptString", "description": "one", "password": True},
        {"id": "key-b", "type": "pickString", "description": "two", "default": "a", "options": ["a", "b"]},
    ]
    assert "FMCP_INPUT_KEY" in done.stderr
    assert "hunter22" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ((), "Name a file, or add --all."),
        (("--all",), "There is nothing to import."),
        (("missing.json",), "missing.json cannot be read."),
        (("bad.json",), "There is nothing to write."),
        (("good.json", "-o", "no/such/folder.json"), "no/such/folder.json cannot be written."),
    ],
    ids=str,
)
async def test_where_nothing_can_be_written_it_is_said(tmp_path: Path, arguments: tuple[str, ...], what: str):
    put(tmp_path / "bad.json", {"mcpServers": {"a": {"command": "x", "surprise": 1}}})
    put(tmp_path / "good.json", {"mcpServers": {"a": {"command": "x"}}})
    done = await import_in(tmp_path, *arguments)
    assert (done.code, done.stdout) == (2, "")
    assert f"Error: {what}" in done.stderr


async def test_what_claude_code_keeps_for_this_directory_is_imported_as_run_reads_it(tmp_path: Path):
    everybody = {"command": "everybody-mcp"}
    project = {"mcpServers": {"shop": {"command": "shop-mcp"}}}
    put(tmp_path / ".claude.json", {"mcpServers": {"all": everybody}, "projects": {str(tmp_path): project, "/x": {}}})
    done = await import_in(tmp_path, ".claude.json")
    assert json.loads(done.stdout)["mcpServers"] == {"all": everybody, "shop": {"command": "shop-mcp"}}


async def test_secrets_that_a_file_asks_for_become_keys_of_each_person(tmp_path: Path):
    inputs = [{"id": "token", "type": "promptString", "description": "Your token", "password": True}]
    server = {"type": "stdio", "command": "python3", "args": ["s.py"], "env": {"TOKEN": "${input:token}"}}
    put(tmp_path / ".vscode" / "mcp.json", {"inputs": inputs, "servers": {"notes": server}})
    finished = await import_in(tmp_path, ".vscode/mcp.json", "--ask-each-person", "-o", "out.json")
    assert finished.code == 0, finished.stderr
    written = read(tmp_path / "out.json")
    assert "inputs" not in written
    entry = written["mcpServers"]["notes"]
    assert entry["env"] == {"TOKEN": "${keys.token}"}
    assert entry["auth"] == {"type": "keys", "keys": {"token": {"title": "Your token"}}}
