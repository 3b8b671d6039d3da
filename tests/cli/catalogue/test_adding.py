"""`fluidmcp add`: the entry in the file, and nothing lost."""

import json
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from fluidmcp.cli.main import EXIT_USAGE, run_commands
from fluidmcp.packages.catalogue.table import KNOWN_SERVERS
from tests.acceptance.harness import BIN, environment

ORDINARY = Path(__file__).resolve().parents[2] / "ordinary.py"
ORDINARY_ID = 65_534


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, which is the home too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("FMCP_PUBLIC_URL", raising=False)
    return tmp_path


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def test_all_servers_can_be_added_to_one_file(folder: Path, capsys: pytest.CaptureFixture[str]):
    for name in KNOWN_SERVERS:
        assert run_commands(["add", name]) == 0
    assert read(folder / "fluidmcp.json")["mcpServers"] == {n: server.entry for n, server in KNOWN_SERVERS.items()}
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("option", ["-o", "--file"])
def test_another_file_and_another_name(folder: Path, option: str, capsys: pytest.CaptureFixture[str]):
    assert run_commands(["add", "github", option, "team.json", "--as", "work"]) == 0
    assert list(read(folder / "team.json")["mcpServers"]) == ["work"]
    out = capsys.readouterr().out
    assert "Added work to team.json: npm:@modelcontextprotocol/server-github@" in out
    assert "http://localhost:8099/work/auth/callback" in out
    assert "fluidmcp doctor team.json" in out
    assert "fluidmcp run team.json --start-server" in out


def test_a_link_to_a_file_that_is_not_there_leads_to_the_new_one(folder: Path):
    (folder / "there").mkdir()
    (folder / "fluidmcp.json").symlink_to("there/real.json")
    assert run_commands(["add", "github"]) == 0
    assert (folder / "fluidmcp.json").is_symlink()
    assert stat.S_IMODE((folder / "there" / "real.json").stat().st_mode) == 0o600
    assert list(read(folder / "there" / "real.json")["mcpServers"]) == ["github"]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ('{"servers": {}}', ["not a file of our own form", "-o", "fluidmcp import"]),
        ('{"mcpServers": {"github": {"command": "x"}}}', ["has an entry github already", "--as github-2"]),
        ("{", ["cannot be read as JSON", "Line 1"]),
    ],
    ids=["other-form", "there-already", "broken"],
)
def test_a_file_that_cannot_take_the_entry_is_left_as_it_is(
    folder: Path, text: str, pieces: list[str], capsys: pytest.CaptureFixture[str]
):
    (folder / "fluidmcp.json").write_text(text, encoding="utf-8")
    assert run_commands(["add", "github"]) == EXIT_USAGE
    done = capsys.readouterr()
    assert all(piece in done.err for piece in pieces), done.err
    assert done.out == ""
    assert (folder / "fluidmcp.json").read_text(encoding="utf-8") == text
    assert os.listdir(folder) == ["fluidmcp.json"]


@pytest.mark.parametrize(
    ("place", "tool"),
    [(".cursor/mcp.json", "cursor"), ("home/.claude.json", "claude-code"), (".mcp.json", "claude-code")],
)
def test_a_file_of_another_program_is_never_written(
    folder: Path, place: str, tool: str, capsys: pytest.CaptureFixture[str]
):
    path = folder / place
    path.parent.mkdir(exist_ok=True)
    path.write_text('{"mcpServers": {}}', encoding="utf-8")
    assert run_commands(["add", "github", "-o", place]) == EXIT_USAGE
    assert f"{place} is a file of {tool}, and is left as it is." in capsys.readouterr().err
    assert path.read_text(encoding="utf-8") == '{"mcpServers": {}}'


def test_json_is_not_put_under_a_name_that_says_something_else(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert run_commands(["add", "github", "-o", "servers.toml"]) == EXIT_USAGE
    assert "Name a file that ends in .json." in capsys.readouterr().err
    assert os.listdir(folder) == []


def test_a_name_or_address_that_is_none_is_told_before_anything_is_written(folder: Path):
    for arguments in (["githb"], ["github", "--as", "docs"], ["github", "--public-url", "x"]):
        assert run_commands(["add", *arguments]) == EXIT_USAGE
    assert os.listdir(folder) == []


def test_a_file_that_is_read_only_stays_as_it_is():
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "fluidmcp.json"
        file.write_text("{}", encoding="utf-8")
        file.chmod(0o444)
        os.chmod(place, 0o777)
        command = [str(BIN / "fluidmcp"), "add", "github"]
        if os.geteuid() == 0:
            os.chown(file, ORDINARY_ID, ORDINARY_ID)
            command = [sys.executable, str(ORDINARY), str(ORDINARY_ID), str(ORDINARY_ID), *command]
        env = environment({"HOME": place})
        done = subprocess.run(command, cwd=place, env=env, capture_output=True, text=True, timeout=60)
        assert done.returncode == EXIT_USAGE and "It is read-only" in done.stderr, done.stderr
        assert file.read_text(encoding="utf-8") == "{}"
        assert os.listdir(place) == ["fluidmcp.json"]
