"""E06: a gateway that others use does not run servers without isolation, unless its operator says so."""

import json
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.acceptance.harness import run_fluidmcp, start_fluidmcp

SERVER: Final = Path(__file__).resolve().parent.parent / "servers" / "stdlib_server.py"
OTHERS_USE_IT: Final = ("--public-url", "https://gateway.example", "--secure")
"""Still at loopback: nobody comes while a test runs."""


def write_config(folder: Path, **more: str) -> str:
    entry = {"command": sys.executable, "args": ["-I", str(SERVER)], **more}
    path = folder / "servers.json"
    path.write_text(json.dumps({"mcpServers": {"tools": entry}}), encoding="utf-8")
    return str(path)


@pytest.mark.threat("E06")
@pytest.mark.parametrize("where", ["environment", "entry"])
async def test_without_isolation_a_gateway_for_others_does_not_start(tmp_path: Path, where: str) -> None:
    config = write_config(tmp_path, **({"isolation": "none"} if where == "entry" else {}))
    env = {"FMCP_ISOLATION": "none"} if where == "environment" else {}
    done = await run_fluidmcp("run", config, "--start-server", *OTHERS_USE_IT, env=env, cwd=tmp_path)
    assert done.code != 0
    assert "--allow-unisolated" in done.stderr
    assert "would not be isolated" in done.stderr


@pytest.mark.threat("E06")
@pytest.mark.parametrize("arguments", [(*OTHERS_USE_IT, "--allow-unisolated"), ()])
async def test_it_starts_when_its_operator_says_so_or_is_alone(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    config = write_config(tmp_path)
    starting = start_fluidmcp("run", config, "--start-server", *arguments, env={"FMCP_ISOLATION": "none"}, cwd=tmp_path)
    async with starting as gateway:
        assert gateway.process.returncode is None
