"""Starts that hang, fail and wait, seen from outside: what people hear, and who waits for whom."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

from tests.acceptance.harness import RunningGateway, start_fluidmcp

Json = dict[str, Any]

SERVERS: Final = Path(__file__).parent.parent / "servers"
HANGING: Final[Json] = {"command": sys.executable, "args": ["-I", str(SERVERS / "hanging_server.py")]}
GOOD: Final[Json] = {"command": sys.executable, "args": ["-I", str(SERVERS / "stdlib_server.py")]}
TOKEN: Final = "canary-of-the-guard"
LIMIT_SECONDS: Final = 60.0


def write_config(folder: Path, **servers: Json) -> str:
    (folder / "servers.json").write_text(json.dumps({"mcpServers": servers}), encoding="utf-8")
    return "servers.json"


async def ask(gateway: RunningGateway, package: str, *, token: str = "") -> Json:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    headers = {"authorization": f"Bearer {token}"} if token else {}
    async with httpx2.AsyncClient(trust_env=False, timeout=LIMIT_SECONDS) as client:
        return (await client.post(f"{gateway.url}/{package}/mcp", json=message, headers=headers)).json()


async def ask_until_it_hangs(gateway: RunningGateway, package: str, *, token: str = "") -> Json:
    """The answer after a start that hung; the pauses between failed starts have other answers."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while True:
            error = (await ask(gateway, package, token=token))["error"]
            if error["data"]["error"] == "server_timeout":
                return error
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("is_guarded", [True, False], ids=["one's own process", "everybody's process"])
async def test_a_start_that_hangs_says_why(tmp_path: Path, is_guarded: bool) -> None:
    config = write_config(tmp_path, hanging=HANGING, good=GOOD)
    guard = ("--secure", "--token", TOKEN) if is_guarded else ()
    # Long enough for an interpreter to write two lines; where it is not, the next start may do so.
    env = {"FMCP_START_TIMEOUT_SECONDS": "2"}
    async with start_fluidmcp("run", config, "--start-server", *guard, cwd=tmp_path, env=env) as gateway:
        async with asyncio.timeout(LIMIT_SECONDS):
            error = await ask_until_it_hangs(gateway, "hanging", token=TOKEN if is_guarded else "")
            while "  | loading model..." not in gateway.stderr.lines or (is_guarded and "stderr" not in error["data"]):
                error = await ask_until_it_hangs(gateway, "hanging", token=TOKEN if is_guarded else "")
        assert error["data"].get("stderr") == (
            ["loading model...", "Enter the name of the model:"] if is_guarded else None
        )
        assert "did not become ready in time" in error["message"]
        await gateway.stderr.wait_for("start of a server process of hanging failed")
