"""Clients whose server takes long to start: what they see meanwhile, on real sockets, with a real slow server."""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

from fluidmcp.config.entries import ServerEntry
from fluidmcp.config.settings import ProcessLimits
from fluidmcp.processes.pool import starts
from tests.clients.drivers import talk_with_python_sdk, talk_with_typescript_sdk
from tests.gateway.guards import KnownTokens, gate_token
from tests.gateway.running import LIMIT_SECONDS, STDLIB_SERVER, RunningGateway, running_gateway

SLOW_SERVER: Final = STDLIB_SERVER.with_name("slow_server.py")
BOTH: Final = "application/json, text/event-stream"
PATIENCE_SECONDS: Final = 0.2
ECHO: Final = {"name": "echo", "arguments": {"text": "hello"}}
INITIALIZE: Final = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "a client", "version": "1"},
}
STATELESS: Final[dict[str, Any]] = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}

Json = dict[str, Any]


@dataclass
class Slow:
    """A gateway whose one server becomes ready when the test says so."""

    running: RunningGateway
    gate: Path

    def open_gate(self) -> None:
        self.gate.touch()

    @asynccontextmanager
    async def ask(
        self, method: str, params: Json, *, path: str = "/slow/mcp", accept: str = BOTH, **headers: str
    ) -> AsyncGenerator["Reply"]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        sent = {"accept": accept, **named}
        async with self.running.client.stream("POST", path, json=message, headers=sent) as response:
            yield Reply(response)

    async def is_idle(self) -> None:
        """Until the process runs and nobody uses it."""
        pool = self.running.gateway.parts.processes.pool
        async with asyncio.timeout(LIMIT_SECONDS):
            while not (pool.idle_count == 1 == len(pool)):
                await asyncio.sleep(0.01)

    async def has_stream(self) -> None:
        """Until the reply to somebody is a stream."""
        async with asyncio.timeout(LIMIT_SECONDS):
            while not self.running.gateway.parts.calls.streams:
                await asyncio.sleep(0.01)


class Reply:
    """A reply, read line by line."""

    def __init__(self, response: httpx2.Response) -> None:
        self.response = response
        self.status = response.status_code
        self.comments: list[str] = []
        self._lines = response.aiter_lines()

    async def wait_comments(self, number: int) -> None:
        async with asyncio.timeout(LIMIT_SECONDS):
            while len(self.comments) < number:
                await self._read_line()

    async def message(self) -> Json:
        """The next event."""
        async with asyncio.timeout(LIMIT_SECONDS):
            while True:
                line = await self._read_line()
                if line.startswith("data: {"):
                    return json.loads(line.removeprefix("data: "))

    async def has_ended(self) -> bool:
        async with asyncio.timeout(LIMIT_SECONDS):
            return [line async for line in self._lines if line] == []

    async def _read_line(self) -> str:
        line = await anext(self._lines)
        if line.startswith(":"):
            self.comments.append(line.removeprefix(":").strip())
        return line


@asynccontextmanager
async def open_slow(folder: Path, *options: str, is_guarded: bool = False, **limits: Any) -> AsyncGenerator[Slow]:
    gate = folder / "gate"
    entry = ServerEntry(
        name="slow",
        command=sys.executable,
        args=("-I", str(SLOW_SERVER), str(gate), *options),
        directory=SLOW_SERVER.parent,
        source="a test",
    )
    starting = running_gateway(
        [entry],
        limits=ProcessLimits(**limits),
        guard=KnownTokens() if is_guarded else None,
        keep_alive_seconds=PATIENCE_SECONDS,
    )
    async with starting as running:
        yield Slow(running, gate)


@pytest.fixture
async def slow(tmp_path: Path) -> AsyncIterator[Slow]:
    async with open_slow(tmp_path) as slow:
        yield slow


REQUESTS: Final[dict[str, tuple[Json, dict[str, Any]]]] = {
    "bare": (ECHO, {}),
    "bare, stream only": (ECHO, {"accept": "text/event-stream"}),
    "bare, at the address for one stream": (ECHO, {"path": "/slow/sse", "accept": "*/*"}),
    "stateless": (
        {**ECHO, "_meta": STATELESS},
        {"mcp_protocol_version": "2026-07-28", "mcp_method": "tools/call", "mcp_name": "echo"},
    ),
}


@pytest.mark.parametrize("kind", REQUESTS)
async def test_who_waits_for_a_start_hears_that_it_goes_on_and_gets_the_answer_in_the_end(
    slow: Slow, kind: str
) -> None:
    params, sent = REQUESTS[kind]
    async with slow.ask("tools/call", params, **sent) as reply:
        assert reply.response.headers["content-type"].startswith("text/event-stream")
        await reply.wait_comments(4)
        assert reply.comments == ["slow is starting", "", "", ""]
        slow.open_gate()
        answer = await reply.message()
        assert (answer["id"], answer["result"]["content"][0]["text"]) == (1, "hello")
        assert await reply.has_ended()
    await slow.is_idle()


async def test_initialize_is_answered_in_a_stream_whose_head_names_the_session(slow: Slow) -> None:
    async with slow.ask("initialize", INITIALIZE) as reply:
        session = {"mcp_session_id": reply.response.headers["mcp-session-id"]}
        await reply.wait_comments(2)
        slow.open_gate()
        assert (await reply.message())["result"]["serverInfo"]["name"] == "stdlib"
        assert await reply.has_ended()
    async with slow.ask("tools/call", ECHO, **session) as reply:
        assert (reply.status, json.loads(await reply.response.aread())["id"]) == (200, 1)
    slow.gate.unlink()
    async with slow.ask("tools/call", {"name": "die"}, **session) as reply:
        assert "error" in json.loads(await reply.response.aread())
    # Its session starts another process, which is as slow.
    async with slow.ask("tools/call", ECHO, **session) as reply:
        await reply.wait_comments(2)
        slow.open_gate()
        assert (await reply.message())["result"]["content"][0]["text"] == "hello"
        assert await reply.has_ended()


async def test_a_session_whose_start_failed_does_not_exist(tmp_path: Path) -> None:
    async with open_slow(tmp_path, "--silent", start_timeout_seconds=1) as slow:
        async with slow.ask("initialize", INITIALIZE) as reply:
            session = reply.response.headers["mcp-session-id"]
            assert "did not become ready in time" in (await reply.message())["error"]["message"]
        async with slow.ask("tools/call", ECHO, mcp_session_id=session) as reply:
            assert reply.status == 404


async def test_who_takes_json_alone_waits_for_it(slow: Slow) -> None:
    async def ask() -> Json:
        async with slow.ask("tools/call", ECHO, accept="application/json") as reply:
            return json.loads(await reply.response.aread())

    asking = asyncio.create_task(ask())
    async with slow.ask("tools/call", ECHO) as other:
        await other.wait_comments(5)
        assert not asking.done()
        slow.open_gate()
        assert (await asking)["result"]["content"][0]["text"] == "hello"


async def test_a_server_that_talks_may_take_longer_than_a_start_and_a_request(tmp_path: Path) -> None:
    limits: Json = {"start_timeout_seconds": 3, "request_timeout_seconds": 0.5}
    async with open_slow(tmp_path, **limits) as slow, slow.ask("tools/call", ECHO) as reply:
        await reply.wait_comments(20)  # 0.2 seconds apart
        slow.open_gate()
        assert (await reply.message())["result"]["content"][0]["text"] == "hello"


async def test_it_is_said_when_something_is_installed(slow: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starts, "SLOW_START_SECONDS", 0.0)
    monkeypatch.setattr(starts, "MOVING_SECONDS", LIMIT_SECONDS)
    async with slow.ask("tools/call", ECHO) as silent:
        await silent.wait_comments(8)
        async with slow.ask("tools/call", ECHO) as reply:
            await reply.wait_comments(1)
            assert reply.comments == ["slow is installing"]
        slow.open_gate()
        await silent.message()


@pytest.mark.parametrize("is_guarded", [True, False], ids=["one's own process", "everybody's process"])
async def test_one_that_talks_for_ever_is_ended_and_its_owner_sees_what_it_said(
    tmp_path: Path, is_guarded: bool
) -> None:
    limits: Json = {"start_timeout_seconds": 1, "install_timeout_seconds": 1.5}
    token = {"authorization": f"Bearer {gate_token('ada')}"} if is_guarded else {}
    async with open_slow(tmp_path, is_guarded=is_guarded, **limits) as slow, slow.ask("x", {}, **token) as reply:
        error = (await reply.message())["error"]
        assert error["data"]["error"] == "server_timeout"
        assert "was still installing or loading after 1.5 seconds" in error["message"]
        assert error["data"].get("stderr", [])[-1:] == (["fetching..."] if is_guarded else [])
        assert await reply.has_ended()


async def test_one_that_says_nothing_hangs(tmp_path: Path) -> None:
    async with open_slow(tmp_path, "--silent", start_timeout_seconds=1) as slow, slow.ask("x", {}) as reply:
        error = (await reply.message())["error"]
        assert error["data"]["error"] == "server_timeout"
        assert "did not become ready in time" in error["message"]


@pytest.mark.parametrize("kind", REQUESTS)
async def test_who_goes_away_meanwhile_leaves_nothing_in_use(slow: Slow, kind: str) -> None:
    params, sent = REQUESTS[kind]
    async with slow.ask("tools/call", params, **sent) as reply:
        await reply.wait_comments(2)
    slow.open_gate()
    await slow.is_idle()


async def test_the_call_of_a_stateless_client_that_went_away_is_cancelled(slow: Slow) -> None:
    params, sent = REQUESTS["stateless"]
    async with slow.ask("tools/call", {**params, "name": "hang"}, **sent | {"mcp_name": "hang"}) as reply:
        await reply.wait_comments(2)
    slow.open_gate()
    await slow.is_idle()
    assert await slow.running.call("slow", "waiting") == "0"


async def test_a_subscription_whose_client_went_away_is_closed_at_once(slow: Slow) -> None:
    subscriptions = slow.running.gateway.parts.calls.subscriptions
    params = {"notifications": {"toolsListChanged": True}, "_meta": STATELESS}
    named = {"mcp_protocol_version": "2026-07-28", "mcp_method": "subscriptions/listen"}
    async with slow.ask("subscriptions/listen", params, **named) as reply:
        await reply.wait_comments(2)
        assert len(subscriptions) == 1
    async with asyncio.timeout(LIMIT_SECONDS):
        while len(subscriptions):
            await asyncio.sleep(0.01)
    slow.open_gate()
    await slow.is_idle()


async def test_who_waits_for_room_and_not_for_a_start_is_answered_with_a_status(tmp_path: Path) -> None:
    async with open_slow(tmp_path, max_processes=1) as slow:
        slow.open_gate()
        hanging = asyncio.create_task(slow.running.call("slow", "hang"))
        await slow.running.wait_hanging("slow")
        async with slow.ask("initialize", INITIALIZE) as reply:
            assert reply.status == 429
            assert reply.response.headers["content-type"] == "application/json"
        hanging.cancel()


async def test_a_gateway_that_closes_says_so(tmp_path: Path) -> None:
    async with open_slow(tmp_path) as slow, slow.ask("tools/call", ECHO) as reply:
        await reply.wait_comments(2)
        closing = asyncio.create_task(slow.running.gateway.close())
        error = (await reply.message())["error"]
        assert "was stopped while it started" in error["message"]
        assert await reply.has_ended()
        await closing


@pytest.mark.parametrize(
    "talk",
    [
        talk_with_python_sdk,
        pytest.param(talk_with_typescript_sdk, marks=pytest.mark.needs("node", "typescript-sdk")),
    ],
)
async def test_official_clients_wait_for_a_slow_start(slow: Slow, talk: Any) -> None:
    talking = asyncio.create_task(talk(f"{slow.running.url}/slow/mcp", "echo", {"text": "hello"}))
    await slow.has_stream()
    assert not talking.done()
    slow.open_gate()
    conversation = await talking
    assert (conversation.text, conversation.is_error) == ("hello", False)
