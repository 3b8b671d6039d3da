"""docs/tutorials: each command is typed as it stands there, and its output is what is shown."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import httpx2
import pytest

from fluidmcp.cli.main import commands
from tests.acceptance.harness import run_fluidmcp, start_fluidmcp
from tests.acceptance.test_installed_packages import OFFLINE, needs_registries
from tests.acceptance.tutorials import FOLDER, Step, Tutorial, mask

ROOT: Final = Path(__file__).resolve().parents[2]


async def type_in(step: Step, cwd: Path, env: dict[str, str], *, code: int = 0) -> str:
    """Type the line, and compare. Its standard output."""
    done = await run_fluidmcp(*step.words, cwd=cwd, env=env)
    assert done.code == code, done
    if step.shown is not None:
        assert mask(done.stdout) == mask(step.shown)
    return done.stdout


@needs_registries
@pytest.mark.needs("node")
async def test_two_servers_come_into_an_editor(tmp_path: Path) -> None:
    page = Tutorial("editor")
    env = {"HOME": str(tmp_path)}
    await type_in(page.take("install"), tmp_path, env)
    async with start_fluidmcp(*page.take("run all").words, cwd=tmp_path, env=env | OFFLINE) as gateway:
        env["FMCP_PUBLIC_URL"] = gateway.url
        assert "timezone=string" in await type_in(page.take("tools"), tmp_path, env)
        await type_in(page.take("call"), tmp_path, env)
        await type_in(page.take("--write"), tmp_path, env)
        written = json.loads((tmp_path / ".cursor" / "mcp.json").read_text(encoding="utf-8"))
        assert written["mcpServers"]["mcp-server-time"]["url"] == f"{gateway.url}/mcp-server-time/mcp"
        await type_in(page.take("read_graph"), tmp_path, env)
        await type_in(page.take("--remove"), tmp_path, env)
        assert json.loads((tmp_path / ".cursor" / "mcp.json").read_text(encoding="utf-8")) == {"mcpServers": {}}
    page.assert_all_taken()


@needs_registries
@pytest.mark.needs("node")
async def test_a_gateway_of_a_company_is_set_up_and_somebody_leaves(tmp_path: Path) -> None:
    page = Tutorial("company")
    env = {"HOME": str(tmp_path)}
    await type_in(page.take("add gitlab"), tmp_path, env)
    step = page.take("providers gitlab")
    assert step.shown is not None
    assert (await type_in(Step(step.line), tmp_path, env)).startswith(step.shown)
    path = tmp_path / "fluidmcp.json"
    entry, shown = json.loads(path.read_text(encoding="utf-8")), json.loads(page.find_block("json"))
    path.write_text(page.find_block("json"), encoding="utf-8")
    auth = shown["mcpServers"]["gitlab"]["auth"]
    assert auth.pop("allowed_domains") == ["example.com"]
    auth["scopes"] = [scope for scope in auth["scopes"] if scope not in ("openid", "email")]
    assert entry["mcpServers"] == shown["mcpServers"]
    for _ in range(2):
        name, value = page.take("export").line.removeprefix("export ").split("=")
        env[name] = value.strip('"')
    await type_in(page.take("install"), tmp_path, env)
    await type_in(page.take("validate"), tmp_path, env)
    running = start_fluidmcp(*page.take("run").words, cwd=tmp_path, env=env | OFFLINE)
    async with running as gateway, httpx2.AsyncClient(trust_env=False, timeout=60) as client:
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        refused = await client.post(f"{gateway.url}/gitlab/mcp", json=call, headers={"Host": "mcp.example.com"})
        assert refused.status_code == 401
        assert "https://mcp.example.com/.well-known/" in refused.headers["www-authenticate"]
        await type_in(page.take("doctor"), tmp_path, env, code=1)
        await type_in(page.take("revoke"), tmp_path, env)
        await type_in(page.take("allow"), tmp_path, env)
    page.assert_all_taken()


def test_a_line_is_broken_seen_and_repaired(tmp_path: Path) -> None:
    page = Tutorial("contribute")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    setting_up = page.take("uv sync").line
    assert setting_up.partition(" && ")[0] in readme
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "tests").mkdir()
    shutil.copytree(ROOT / "tests" / "protocol", tmp_path / "tests" / "protocol")
    for name in ("pyproject.toml", "tests/conftest.py", "tests/parts.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    for word, code in (("test", 0), ("sed", 0), ("test", 1), ("sed", 0)):
        step = page.take(word)
        assert run_in_clone(step, tmp_path) == code, step
    original = (ROOT / "src/fluidmcp/protocol/forwarded.py").read_bytes()
    assert (tmp_path / "src/fluidmcp/protocol/forwarded.py").read_bytes() == original
    for word in ("scripts/fix", "scripts/check", "scripts/test"):
        program, *paths = page.take(word).line.partition("#")[0].split()
        assert os.access(ROOT / program, os.X_OK)
        assert [path for path in paths if not (ROOT / path).is_dir()] == []
    page.take("git commit")
    page.assert_all_taken()


def run_in_clone(step: Step, clone: Path) -> int:
    """The exit code of the step; `scripts/test` is pytest without installing anything before."""
    python = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist"]
    program, *words = re.findall(r"'[^']*'|\S+", step.line)
    command = [*python, *words] if program == "scripts/test" else [program, *(word.strip("'") for word in words)]
    # The sources of the copy go before those that are installed.
    env = {**os.environ, "PYTHONPATH": str(clone / "src")}
    done = subprocess.run(command, cwd=clone, env=env, capture_output=True, text=True, timeout=300)
    if step.shown is not None:
        assert re.sub(r"[\d.]+s", "", done.stdout.splitlines()[-1]) == re.sub(r"[\d.]+s", "", step.shown.strip())
    return done.returncode


@pytest.mark.parametrize("page", sorted(path.stem for path in FOLDER.glob("*.md")))
def test_every_command_in_a_sentence_is_one_that_there_is(page: str) -> None:
    text = (FOLDER / f"{page}.md").read_text(encoding="utf-8")
    named = set(re.findall(r"(?:`|^)fluidmcp ([a-z]+)", text, re.MULTILINE))
    assert named <= set(commands.list_commands(None)), named  # pyright: ignore[reportArgumentType] # it looks at no context
