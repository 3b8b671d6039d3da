"""However the gateway ends, nothing of it is left."""

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from tests.acceptance.harness import RunningGateway, kill_left, start_fluidmcp

Json = dict[str, Any]

IMPATIENT = {"FMCP_DRAIN_SECONDS": "0"}
"""Nobody waits for calls that never end."""
STDLIB_SERVER = Path(__file__).parent.parent / "servers" / "stdlib_server.py"


def write_config(folder: Path) -> Path:
    """A server started directly, and one behind a shell, as `npx` and `uvx` start theirs."""
    direct = {"command": sys.executable, "args": ["-I", str(STDLIB_SERVER)]}
    wrapped = {"command": "sh", "args": ["-c", f"{sys.executable} -I {STDLIB_SERVER}; true"]}
    path = folder / "servers.json"
    path.write_text(json.dumps({"mcpServers": {"direct": direct, "wrapped": wrapped}}), encoding="utf-8")
    return path


async def start_calls_that_hang(client: httpx2.AsyncClient, gateway: RunningGateway) -> list[asyncio.Task[None]]:
    """One call in flight at each server."""

    async def hang(package: str) -> None:
        try:
            await call(client, gateway, package, "hang")
        except httpx2.TransportError:
            pass  # the gateway was killed

    tasks = [asyncio.create_task(hang(package)) for package in ("direct", "wrapped")]
    for package in ("direct", "wrapped"):
        await wait_hanging(client, gateway, package)
    return tasks


async def call(client: httpx2.AsyncClient, gateway: RunningGateway, package: str, tool: str) -> Json:
    """The whole answer to a call of the tool."""
    message: Json = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": {}}}
    answer: Json = (await client.post(f"{gateway.url}/{package}/mcp", json=message)).json()
    return answer


def read_number(answer: Json) -> int:
    return int(answer["result"]["content"][0]["text"])


async def wait_hanging(client: httpx2.AsyncClient, gateway: RunningGateway, package: str) -> None:
    """Until the server has a call that it will not answer."""
    async with asyncio.timeout(60):
        while not read_number(await call(client, gateway, package, "waiting")):
            pass


@pytest.mark.parametrize(
    ("with_signal", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)]
)
async def test_nothing_is_left_with_calls_in_flight(tmp_path: Path, with_signal: signal.Signals, code: int) -> None:
    async with (
        start_fluidmcp("run", str(write_config(tmp_path)), "--start-server", env=IMPATIENT, cwd=tmp_path) as gateway,
        httpx2.AsyncClient(trust_env=False, timeout=60) as client,
    ):
        calls = await start_calls_that_hang(client, gateway)
        family = gateway.descendants()
        assert len(family) >= 4, "two servers, the shell around one of them, and the watchdog"
        assert await gateway.stop(with_signal=with_signal) == code
        assert not await asyncio.to_thread(kill_left, family)
        async with asyncio.timeout(60):
            await asyncio.gather(*calls)


async def test_calls_in_flight_are_told_when_the_gateway_stops(tmp_path: Path) -> None:
    async with (
        start_fluidmcp("run", str(write_config(tmp_path)), "--start-server", env=IMPATIENT, cwd=tmp_path) as gateway,
        httpx2.AsyncClient(trust_env=False, timeout=60) as client,
    ):
        hanging = asyncio.create_task(call(client, gateway, "direct", "hang"))
        await wait_hanging(client, gateway, "direct")
        assert await gateway.stop() == 0
        assert "error" in await hanging


async def test_a_killed_server_behind_a_shell_is_replaced(tmp_path: Path) -> None:
    async with (
        # In a PID namespace the number that the server tells is not the one to kill.
        start_fluidmcp(
            "run", str(write_config(tmp_path)), "--start-server", env={"FMCP_ISOLATION": "landlock"}, cwd=tmp_path
        ) as gateway,
        httpx2.AsyncClient(trust_env=False, timeout=60) as client,
    ):
        first = psutil.Process(read_number(await call(client, gateway, "wrapped", "pid")))
        shell = first.parent()
        assert shell is not None
        keeper = shell.parent()
        assert keeper is not None
        first.kill()
        await asyncio.to_thread(psutil.wait_procs, [first, shell, keeper], timeout=60)
        answer = await call(client, gateway, "wrapped", "pid")
        if "error" in answer:
            # The request overtook the news of the death: it is told so, and the next one finds a new process.
            assert "ended" in answer["error"]["message"]
            answer = await call(client, gateway, "wrapped", "pid")
        assert read_number(answer) != first.pid
