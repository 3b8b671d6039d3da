"""The first minute, measured: from an empty folder, with what it needs in the caches, to a tool's answer.

The commands are those of README and docs/connect.md, by `uvx` from the wheel of this tree. Each journey is made twice,
by two newcomers: the first one fills the caches, from the public registries.
"""

import asyncio
import json
import logging
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Final

import httpx2
import pytest

from fluidmcp.demo.mailboxes import MAYA
from tests.acceptance.harness import free_port
from tests.first_minute.journey import STEP_LIMIT_SECONDS, build_wheel, make_newcomer, open_browser
from tests.timing import limit_of_running_time, patience

IS_COMPLETE: Final = os.environ.get("FMCP_TESTS_COMPLETE") == "1"
pytestmark = [
    pytest.mark.needs("node", "uvx"),
    pytest.mark.skipif(not IS_COMPLETE, reason="public packages are installed in .ci/run"),
]

LOGGER: Final = logging.getLogger(__name__)
LIMIT_SECONDS: Final = 20.0
LIMIT_WITH_LOGIN_SECONDS: Final = 60.0
SERVERS: Final = {
    "time": {"command": "uvx", "args": ["mcp-server-time==2026.10.19"]},
    "memory": {"command": "npx", "args": ["-y", "@modelcontextprotocol/server-memory@2026.8.31"]},
}
"""Two servers, as an editor has them."""


Travel = Callable[[Path, str, AsyncExitStack], Awaitable[list[str]]]
"""A journey in an empty folder, with that distribution; what has to be stopped at its end goes onto the stack."""


async def test_two_servers_answer_within_twenty_seconds(tmp_path: Path):
    said = await measure(connect_two_servers, tmp_path, LIMIT_SECONDS)

    assert json.loads(said[1])["timezone"] == "UTC"
    assert json.loads(said[2]) == {"entities": [], "relations": []}


async def test_a_person_who_logs_in_is_answered_within_a_minute(tmp_path: Path):
    said = await measure(log_in_to_demo, tmp_path, LIMIT_WITH_LOGIN_SECONDS)

    assert MAYA.email in said[-1]


async def measure(travel: Travel, folder: Path, limit_seconds: float) -> list[str]:
    """What the second newcomer was told. `pytest -o log_cli=true --log-level=info` shows how long each took."""
    distribution = str(await asyncio.to_thread(build_wheel, folder / "wheel"))
    for name, limit in (("first", STEP_LIMIT_SECONDS), ("second", limit_seconds)):
        async with AsyncExitStack() as ending:
            ending.enter_context(patience(2 * limit))
            began = time.monotonic()
            async with limit_of_running_time(limit):
                said = await travel(folder / name, distribution, ending)
            LOGGER.info("%s newcomer: the last answer came after %.1f s", name, time.monotonic() - began)
    return said


async def connect_two_servers(folder: Path, distribution: str, ending: AsyncExitStack) -> list[str]:
    """A file of an editor, the gateway, the file of another editor, and a call of each server."""
    newcomer = make_newcomer(folder, distribution)
    port = free_port()
    url = f"http://localhost:{port}"
    (newcomer.folder / "mcp.json").write_text(json.dumps({"mcpServers": SERVERS}))
    running = newcomer.keep_running("run", "mcp.json", "--start-server", "--port", str(port))
    await ending.enter_async_context(running)
    await wait_until_ready(url)
    await newcomer.type("connect", "cursor", "--url", url, "--write")
    written = json.loads((Path(newcomer.env["HOME"]) / ".cursor" / "mcp.json").read_text())["mcpServers"]
    assert {name: written[name]["url"] for name in written} == {name: f"{url}/{name}/mcp" for name in SERVERS}
    await newcomer.type("call", "time", "get_current_time", "timezone=UTC", "--url", url)
    await newcomer.type("call", "memory", "read_graph", "--url", url)
    return newcomer.said


async def log_in_to_demo(folder: Path, distribution: str, ending: AsyncExitStack) -> list[str]:
    """The demo, and a call that opens the browser for a login."""
    browser = await ending.enter_async_context(open_browser(MAYA, folder))
    newcomer = make_newcomer(folder / "machine", distribution, browser)
    port = free_port()
    running = newcomer.keep_running("demo", "--no-browser", "--port", str(port), "--provider-port", str(free_port()))
    stdout = await ending.enter_async_context(running)
    await stdout.wait_for("The demo runs.", limit_seconds=STEP_LIMIT_SECONDS)
    await newcomer.type("call", "gmail-mock", "whoami", "--url", f"http://localhost:{port}")
    return newcomer.said


async def wait_until_ready(url: str) -> None:
    async with asyncio.timeout(STEP_LIMIT_SECONDS), httpx2.AsyncClient(trust_env=False, timeout=10.0) as client:
        while True:
            with suppress(httpx2.TransportError):
                if (await client.get(f"{url}/ready")).status_code == 200:
                    return
            await asyncio.sleep(0.05)
