"""docs/packages.md: its commands are typed as they stand there, against the public registries."""

import re
import shlex
import sys
from pathlib import Path
from typing import Final

import httpx2
import pytest

from tests.acceptance.harness import run_fluidmcp, start_fluidmcp
from tests.acceptance.test_installed_packages import OFFLINE, TOOLS_LIST, needs_registries

PAGE: Final = (Path(__file__).resolve().parents[2] / "docs" / "packages.md").read_text(encoding="utf-8")
BLOCKS: Final = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)


def find_command(word: str) -> list[str]:
    """The words of the command in the page that holds `word`, without `fluidmcp`."""
    (line,) = [line for block in BLOCKS for line in block.splitlines() if word in line]
    program, *words = shlex.split(line)
    assert program == "fluidmcp"
    return words


@needs_registries
@pytest.mark.needs("node")
async def test_the_first_commands_of_the_page_work_as_they_stand(tmp_path: Path) -> None:
    done = await run_fluidmcp(*find_command("install npm:@modelcontextprotocol"), cwd=tmp_path)
    assert done.code == 0, done
    starting = start_fluidmcp(*find_command("run npm:@modelcontextprotocol"), cwd=tmp_path, env=OFFLINE)
    async with starting as gateway, httpx2.AsyncClient(trust_env=False, timeout=60) as client:
        answer = await client.post(f"{gateway.url}/modelcontextprotocol-server-memory/mcp", json=TOOLS_LIST)
        assert "read_graph" in answer.text
    assert "npm:@modelcontextprotocol/server-memory" in (await run_fluidmcp("list", cwd=tmp_path)).stdout
    assert (await run_fluidmcp(*find_command("uninstall"), cwd=tmp_path)).code == 0


@needs_registries
async def test_the_error_in_the_page_is_the_one_that_is_shown(tmp_path: Path) -> None:
    (block,) = re.findall(r"```\n(Error: .*?)```", PAGE, re.DOTALL)
    hidden = {"HOME": str(tmp_path), "PYENV_ROOT": str(tmp_path), "UV_PYTHON_INSTALL_DIR": str(tmp_path)}
    env = hidden | {"PATH": str(Path(sys.executable).parent)}
    done = await run_fluidmcp("install", "pypi:pagerduty-mcp==1.1.0", cwd=tmp_path, env=env)
    assert mask(done.stderr) == mask(block)


def mask(text: str) -> str:
    """Which Python is there differs."""
    return re.sub(r"There is [^\n]*", "There is some Python.", text).strip()
