"""A gateway that is told to stop finishes what it has begun, and says so to whoever balances."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.acceptance.harness import RunningGateway, start_fluidmcp

LIMIT_SECONDS = 60.0
LONG = "3600"
"""Seconds in which no test ends: what ends sooner did not wait for them."""
SERVER = Path(__file__).parent.parent / "servers" / "waiting_server.py"
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
ACCEPT = {"accept": "application/json, text/event-stream"}


class Call:
    """A call of `wait` that has come to its server."""

    def __init__(self, answering: "asyncio.Task[httpx2.Response]", pipe: int) -> None:
        self.answering = answering
        self._pipe = pipe

    def release(self, text: str) -> None:
        """Let the server answer."""
        os.write(self._pipe, text.encode())
        os.close(self._pipe)

    def leave(self) -> None:
        """Its server is gone."""
        os.close(self._pipe)


class Stage:
    def __init__(
        self, gateway: RunningGateway, client: httpx2.AsyncClient, folder: Path, group: AsyncExitStack
    ) -> None:
        self.gateway = gateway
        self.client = client
        self._folder = folder
        self._closing = group

    async def begin_call(self, path: str = "/waiting/mcp", **headers: str) -> Call:
        pipe = self._folder / f"pipe-{len(os.listdir(self._folder))}"
        os.mkfifo(pipe)
        params = {"name": "wait", "arguments": {"path": str(pipe)}}
        message = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}
        answering = asyncio.create_task(self.client.post(self.gateway.url + path, json=message, headers=headers))
        self._closing.callback(answering.cancel)
        async with asyncio.timeout(LIMIT_SECONDS):
            return Call(answering, await asyncio.to_thread(os.open, pipe, os.O_WRONLY))

    async def ask(self, path: str) -> httpx2.Response:
        """On a connection of its own."""
        async with httpx2.AsyncClient(trust_env=False, timeout=LIMIT_SECONDS) as client:
            return await client.get(self.gateway.url + path)

    def tell(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.gateway.process.send_signal(number)

    async def wait_ended(self) -> int:
        async with asyncio.timeout(LIMIT_SECONDS):
            return await self.gateway.process.wait()


Begin = Callable[..., Any]


@pytest.fixture
def begin(tmp_path: Path) -> Begin:
    server = {"command": sys.executable, "args": ["-I", str(SERVER)]}
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"mcpServers": {"waiting": server}}))
    (tmp_path / "pipes").mkdir()

    @asynccontextmanager
    async def start(**env: str) -> AsyncGenerator[Stage]:
        async with (
            AsyncExitStack() as closing,
            httpx2.AsyncClient(trust_env=False, timeout=LIMIT_SECONDS) as client,
            start_fluidmcp("run", str(config), "--start-server", env=env, cwd=tmp_path) as gateway,
        ):
            yield Stage(gateway, client, tmp_path / "pipes", closing)

    return start


async def test_a_call_in_flight_is_finished_and_its_connection_closed(begin: Begin) -> None:
    async with begin(FMCP_DRAIN_SECONDS=LONG) as stage:
        assert (await stage.ask("/ready")).status_code == 200
        call = await stage.begin_call()
        family = stage.gateway.descendants()
        stage.tell()
        await stage.gateway.stderr.wait_for("stopping: 1 calls may finish")
        with pytest.raises(httpx2.ConnectError):
            await stage.ask("/health")
        call.release("done")
        answer = await call.answering
        assert answer.json()["result"]["content"][0]["text"] == "done"
        assert answer.headers["connection"] == "close"
        assert await stage.wait_ended() == 0
        assert not [process for process in family if process.is_running() and process.status() != "zombie"]


async def test_a_balancer_has_time_to_notice_before_anything_is_refused(begin: Begin) -> None:
    async with begin(FMCP_NOTICE_SECONDS=LONG) as stage:
        kept = await stage.client.get(stage.gateway.url + "/ready")
        assert (kept.status_code, kept.json(), kept.headers.get("connection")) == (200, {"status": "ready"}, None)
        stage.tell()
        await stage.gateway.stderr.wait_for("/ready says no")
        gone = await stage.client.get(stage.gateway.url + "/ready")
        assert (gone.status_code, gone.json()) == (503, {"status": "not ready"})
        assert gone.headers["connection"] == "close", "the next request of this client goes elsewhere"
        assert (await stage.ask("/health")).status_code == 200
        call = await stage.begin_call()
        call.release("served as before")
        answer = await call.answering
        assert answer.status_code == 200
        assert answer.headers["connection"] == "close"
        stage.tell()
        assert await stage.wait_ended() == 0


async def test_a_request_that_has_begun_to_arrive_is_answered(begin: Begin) -> None:
    async with begin(FMCP_DRAIN_SECONDS=LONG) as stage:
        assert (await stage.client.post(stage.gateway.url + "/waiting/mcp", json=PING)).status_code == 200
        async with asyncio.timeout(LIMIT_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", stage.gateway.port)
            body = json.dumps(PING).encode()
            head = "POST /waiting/mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
            writer.write(f"{head}{len(body)}\r\n\r\n".encode() + body[:5])
            call = await stage.begin_call()
            stage.tell()
            await stage.gateway.stderr.wait_for("stopping: 2 calls may finish")
            writer.write(body[5:])
            answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close" in answer
        call.release("done")
        assert (await call.answering).status_code == 200
        assert await stage.wait_ended() == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
async def test_a_second_signal_ends_it_at_once(begin: Begin, number: signal.Signals, code: int) -> None:
    async with begin(FMCP_DRAIN_SECONDS=LONG) as stage:
        call = await stage.begin_call()
        stage.tell(number)
        await stage.gateway.stderr.wait_for("stopping: 1 calls may finish")
        stage.tell(number)
        assert await stage.wait_ended() == code
        call.leave()


async def test_calls_that_take_too_long_get_an_error(begin: Begin) -> None:
    async with begin(FMCP_DRAIN_SECONDS="0.1") as stage:
        call = await stage.begin_call()
        stage.tell()
        assert "error" in (await call.answering).json()
        assert await stage.wait_ended() == 0
        await stage.gateway.stderr.wait_for("1 calls did not finish within 0.1 s (--drain-seconds)")
        call.leave()


async def test_nobody_waits_for_a_stream_that_has_no_end_and_it_is_closed_whole(begin: Begin) -> None:
    async with begin(FMCP_DRAIN_SECONDS=LONG) as stage:
        url = stage.gateway.url + "/waiting/mcp"
        opened = await stage.client.post(url, json=INITIALIZE, headers=ACCEPT)
        session = {"mcp-session-id": opened.headers["mcp-session-id"], "accept": "text/event-stream"}
        async with stage.client.stream("GET", url, headers=session) as stream:
            assert stream.status_code == 200
            stage.tell()
            async with asyncio.timeout(LIMIT_SECONDS):
                await stream.aread()  # an end in the midst of the chunked body would be an error
        assert await stage.wait_ended() == 0


async def test_a_call_whose_answer_comes_on_another_stream_is_finished_too(begin: Begin) -> None:
    """HTTP+SSE: the request is over long before its answer is there."""
    async with (
        begin(FMCP_DRAIN_SECONDS=LONG) as stage,
        stage.client.stream("GET", stage.gateway.url + "/waiting/sse") as stream,
    ):
        lines = stream.aiter_lines()

        async def next_data() -> str:
            async with asyncio.timeout(LIMIT_SECONDS):
                async for line in lines:
                    if line.startswith("data: "):
                        return line.removeprefix("data: ")
            raise AssertionError("the stream ended")

        address = await next_data()
        await stage.client.post(stage.gateway.url + address, json=INITIALIZE)
        await next_data()
        call = await stage.begin_call(address)
        assert (await call.answering).status_code == 202
        stage.tell()
        await stage.gateway.stderr.wait_for("stopping: 1 calls may finish")
        call.release("on the stream")
        assert "on the stream" in await next_data()
        assert await stage.wait_ended() == 0
