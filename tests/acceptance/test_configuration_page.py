"""The README's "Run your own servers" and docs/configuration.md: their commands are typed as they stand there."""

import json
import re
import shlex
import sys
from pathlib import Path
from typing import Final

import httpx2
import pytest

from tests.acceptance.harness import run_fluidmcp, start_fluidmcp
from tests.acceptance.test_installed_packages import OFFLINE, TOOLS_LIST, needs_registries

ROOT: Final = Path(__file__).resolve().parents[2]
README: Final = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Run your own servers")[2]
PAGE: Final = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
SERVER: Final = ROOT / "tests" / "servers" / "stdlib_server.py"


def find_lines(text: str, word: str) -> list[list[str]]:
    """The words of all commands of a page that hold `word`, without `fluidmcp`."""
    lines = [line for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    found = [shlex.split(line, comments=True) for line in lines if word in line]
    assert found and all(words[0] == "fluidmcp" for words in found)
    return [words[1:] for words in found]


def type_in(words: list[str], home: Path) -> list[str]:
    """What a shell makes of the words."""
    return [str(home / word[2:]) if word.startswith("~/") else word for word in words]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with the files that the pages name."""
    entry = {"command": sys.executable, "args": ["-I", str(SERVER)]}
    for folder, key in ((".cursor", "mcpServers"), (".vscode", "servers")):
        (tmp_path / folder).mkdir()
        document = {key: {folder[1:]: {**entry, "env": {"API_TOKEN": f"ghp_{folder[1:] * 6}"}}}}
        (tmp_path / folder / "mcp.json").write_text(json.dumps(document))
    return tmp_path


async def test_a_file_of_an_editor_is_looked_at_and_served(home: Path) -> None:
    env = {"HOME": str(home)}
    looking, serving = find_lines(PAGE, "run ~/.cursor/mcp.json")
    done = await run_fluidmcp(*type_in(looking, home), cwd=home, env=env)
    assert (done.code, done.stdout.splitlines()[-1].split()[0]) == (0, "cursor"), done
    assert type_in(serving, home) == type_in(find_lines(README, "~/.cursor/mcp.json")[0], home)
    starting = start_fluidmcp(*type_in(serving, home), cwd=home, env=env)
    async with starting as gateway, httpx2.AsyncClient(trust_env=False, timeout=60) as client:
        await gateway.stdout.wait_for("/cursor/mcp")
        answer = await client.post(f"{gateway.url}/cursor/mcp", json=TOOLS_LIST)
        assert answer.json()["result"]["tools"]


async def test_a_known_server_is_looked_up_and_added(tmp_path: Path) -> None:
    *looking, adding = find_lines(PAGE.partition("## Add a known server")[2].partition("## ")[0], "fluidmcp ")
    for words in (*looking, adding):
        done = await run_fluidmcp(*words, cwd=tmp_path)
        assert (done.code, done.stderr) == (0, ""), done
    assert adding in find_lines(README, "add linear")
    assert list(json.loads((tmp_path / "fluidmcp.json").read_text())["mcpServers"]) == ["linear"]


async def test_files_are_imported_into_one_and_validated(home: Path) -> None:
    env = {"HOME": str(home)}
    importing, everything = find_lines(PAGE, "fluidmcp import")
    for number, words in enumerate((importing, everything)):
        folder = home / str(number)
        folder.mkdir()
        (folder / ".vscode").mkdir()
        (folder / ".vscode" / "mcp.json").write_bytes((home / ".vscode" / "mcp.json").read_bytes())
        done = await run_fluidmcp(*type_in(words, home), cwd=folder, env=env)
        assert done.code == 0, done
        text = (folder / "fluidmcp.json").read_text()
        assert "ghp_" not in text and "ghp_" not in done.stdout + done.stderr
        assert set(json.loads(text)["mcpServers"]) == {"cursor", "vscode"}
        exported = dict.fromkeys(re.findall(r"\$\{(\w+)\}", text), "x")
        assert exported
        done = await run_fluidmcp("validate", "fluidmcp.json", cwd=folder, env=env | exported)
        assert (done.code, [line.split()[0] for line in done.stdout.splitlines()]) == (0, ["ok", "ok"]), done


@needs_registries
@pytest.mark.needs("node")
async def test_the_commands_of_the_readme_work_as_they_stand(tmp_path: Path) -> None:
    (installing,) = find_lines(README, "fluidmcp install")
    done = await run_fluidmcp(*installing, cwd=tmp_path)
    assert done.code == 0, done
    named, everything = find_lines(README, "run npm:")[0], find_lines(README, "run all")[0]
    (behind,) = find_lines(README, "-- npx")
    memory, time = "modelcontextprotocol-server-memory", "mcp-server-time"
    for words, names, env in (
        (named, [memory], OFFLINE),
        (everything, [memory, time], OFFLINE),
        (behind, [memory], {}),
    ):
        starting = start_fluidmcp(*words, cwd=tmp_path, env=env)
        async with starting as gateway, httpx2.AsyncClient(trust_env=False, timeout=120) as client:
            for name in names:
                answer = await client.post(f"{gateway.url}/{name}/mcp", json=TOOLS_LIST)
                assert answer.json()["result"]["tools"], name
