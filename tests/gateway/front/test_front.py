"""What takes the front and what happens to it there: order, streams, disconnects, ends, and who its caller is."""

import asyncio
import json
import os
import signal
import tracemalloc
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn

from fluidmcp.authentication.principal import Principal
from fluidmcp.config.settings import ProcessLimits
from fluidmcp.errors import UnauthorizedError
from fluidmcp.gateway.front.connection import LimitedProtocol
from tests.front import HAS_FRONT
from tests.gateway.front.messages import (
    BOTH,
    PING,
    mirror_entry,
    open_gate,
    open_session,
    post,
    post_head,
    stateless,
    talk,
)
from tests.gateway.front.wire import LIMIT_SECONDS, Wire, connected, count_calls, wire_of
from tests.gateway.guards import KnownTokens, gate_token
from tests.gateway.running import RunningGateway, running_gateway, stdlib_entry, wait_ended

CANCEL_SECONDS = 10.0
"""Less than the time after which a silent request becomes a stream, whose sender would see its client leave too."""

WAYS = pytest.mark.parametrize("has_front", [True, False])


class RevocableTokens(KnownTokens):
    """Tokens that end when a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.revoked: set[str] = set()

    async def authenticate(self, token: str) -> Principal:
        if token in self.revoked:
            raise UnauthorizedError("The access token is not good here", reason="invalid_token")
        return await super().authenticate(token)


@asynccontextmanager
async def running_mirror(**options: Any) -> AsyncGenerator[RunningGateway]:
    options.setdefault("has_front", True)
    async with running_gateway([mirror_entry()], **options) as running:
        if options.get("guard") is None:
            await running.rpc("mirror", "mirror/echo")
        yield running


async def ask(wire: Wire, request: bytes) -> dict[str, Any]:
    """The message that a 200 holds."""
    wire.send(request)
    return read_message(await wire.reply())


def read_message(reply: bytes) -> dict[str, Any]:
    head, _, body = reply.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), reply
    message: dict[str, Any] = json.loads(body)
    return message


async def lines_of(running: RunningGateway, session: str | None = None) -> list[str]:
    """What the process has read since the last time."""
    headers = {} if session is None else {"mcp-session-id": session}
    lines: list[str] = (await running.rpc("mirror", "mirror/lines", **headers)).json()["result"]["lines"]
    return lines


# -- order -----------------------------------------------------------------------------------------------------------


async def test_what_a_running_process_answers_takes_the_front_in_every_era() -> None:
    async with running_mirror() as running, connected(running) as wire:
        session = await open_session(running)
        call, lines = stateless("mirror/echo", n=1)
        await ask(wire, post(call, *lines))  # it may have to look for its server first
        calls = count_calls(running)
        for _ in range(3):
            for request in (post(PING), post(PING, f"Mcp-Session-Id: {session}"), post(call, *lines)):
                assert (await ask(wire, request))["result"]["n"] == 1
        notification = {"jsonrpc": "2.0", "method": "notifications/roots/list_changed"}
        wire.send(post(notification, f"Mcp-Session-Id: {session}"))
        assert (await wire.reply()).startswith(b"HTTP/1.1 202 ")
        assert calls == []


@WAYS
async def test_replies_keep_the_order_of_pipelined_requests(has_front: bool) -> None:
    async with running_mirror(has_front=has_front) as running, open_gate() as gate, connected(running) as wire:
        wire.send(post(talk(gate, request_id=1)) + b"".join(post({**PING, "id": n}) for n in range(2, 6)))
        await gate.arrived()
        await wire.delivered()
        assert wire.received == b""
        gate.let_go()
        assert [read_message(await wire.reply())["id"] for _ in range(5)] == [1, 2, 3, 4, 5]
        calls = count_calls(running)
        assert (await ask(wire, post(PING)))["id"] == 1
        assert bool(calls) is not has_front


@WAYS
async def test_the_same_head_in_pieces_of_its_own_waits_for_the_call_before_it(has_front: bool) -> None:
    async with running_mirror(has_front=has_front) as running, open_gate() as gate, connected(running) as wire:
        for _ in range(2):
            await ask(wire, post(PING))
        wire.send(post(talk(gate, request_id=1)))
        await gate.arrived()
        for number in (2, 3):
            wire.send(post({**PING, "id": number}))
            await wire.delivered()
        await running.rpc("mirror", "mirror/echo")
        gate.let_go()
        assert [read_message(await wire.reply())["id"] for _ in range(3)] == [1, 2, 3]


@WAYS
async def test_no_http_behind_a_call_does_not_answer_the_call(
    has_front: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_mirror(has_front=has_front) as running, open_gate() as gate, connected(running) as wire:
        wire.send(post(talk(gate)))
        await gate.arrived()
        wire.send(b"\0\0\0\r\n\r\n" + post(PING))
        await wire.delivered()
        gate.let_go()
        reply = await wire.wait_closed()
        assert reply.startswith(b"HTTP/1.1 200 ") and reply.count(b"HTTP/1.1") == 1
        assert b"\r\nconnection: close\r\n" in reply
    assert "Exception" not in caplog.text


@WAYS
async def test_a_bad_body_behind_a_call_ends_the_connection_and_logs_no_error(
    has_front: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_mirror(has_front=has_front) as running, open_gate() as gate, connected(running) as wire:
        chunked = b"POST /mirror/mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nnothing\r\n"
        wire.send(post(talk(gate)) + chunked)
        await gate.arrived()
        assert await wire.wait_closed() == b""
        gate.let_go()
        await running.rpc("mirror", "mirror/echo")
    assert "Exception" not in caplog.text


# -- streams ---------------------------------------------------------------------------------------------------------


async def test_a_notification_first_makes_an_event_stream_and_the_connection_goes_on_with_the_front() -> None:
    async with running_mirror() as running, connected(running) as wire:
        session = f"Mcp-Session-Id: {await open_session(running)}"
        params = {"method": "notifications/message", "params": {"level": "info", "data": "first"}}
        told = post({**PING, "method": "mirror/tell", "params": params}, session, f"Accept: {BOTH}")
        plain = post(PING, session, f"Accept: {BOTH}")
        await ask(wire, plain)
        calls = count_calls(running)
        for _ in range(2):
            wire.send(told)
            text = await wire.until(b"0\r\n\r\n")
            assert b"text/event-stream" in text and text.index(b'"first"') < text.index(b'"result"')
            assert (await ask(wire, plain))["result"] == {"n": 1}
        assert calls == []


# -- disconnects -----------------------------------------------------------------------------------------------------


async def cancelled_lines(running: RunningGateway, session: str | None = None) -> list[str]:
    return [line for line in await lines_of(running, session) if "notifications/cancelled" in line]


@WAYS
async def test_a_client_that_goes_away_cancels_a_stateless_request(has_front: bool) -> None:
    async with running_mirror(has_front=has_front) as running, open_gate() as gate, connected(running) as wire:
        listing, listing_lines = stateless("mirror/lines")
        message, lines = stateless("tools/call", name="talk", arguments={"name": "a", "port": gate.port})
        wire.send(post(message, *lines))  # the first one looks for the tool's headers
        await gate.arrived()
        gate.let_go()
        await wire.reply()
        calls = count_calls(running)
        wire.send(post(message, *lines))
        await gate.arrived()
        assert bool(calls) is not has_front
        wire.transport.abort()
        look = post(listing, *listing_lines)
        async with asyncio.timeout(CANCEL_SECONDS), connected(running) as other:
            while not any("notifications/cancelled" in line for line in (await ask(other, look))["result"]["lines"]):
                pass


async def test_a_client_that_goes_away_cancels_no_bare_request_and_none_in_a_session() -> None:
    async with running_mirror() as running, open_gate() as gate:
        session = await open_session(running)
        calls = count_calls(running)
        for headers in ((), (f"Mcp-Session-Id: {session}",)):
            async with connected(running) as wire:
                wire.send(post(talk(gate), *headers))
                await gate.arrived()
                assert calls == []
                wire.transport.abort()
                await wire.wait_closed()
                gone = wire.gateway_end
                async with asyncio.timeout(LIMIT_SECONDS):
                    while gone in running.server.server_state.connections:
                        await asyncio.sleep(0)
        assert await cancelled_lines(running) == [] == await cancelled_lines(running, session)
        gate.let_go()


# -- ends ------------------------------------------------------------------------------------------------------------


@WAYS
async def test_a_call_in_flight_at_shutdown_gets_its_reply_and_the_connection_is_closed(has_front: bool) -> None:
    async with running_mirror(has_front=has_front) as running, open_gate() as gate, connected(running) as wire:
        wire.send(post(talk(gate)))
        await gate.arrived()
        wire.gateway_end.shutdown()
        gate.let_go()
        reply = await wire.wait_closed()
        assert read_message(reply)["id"] == 1
        assert b"\r\nconnection: close\r\n" in reply


@pytest.mark.threat("E15")
@WAYS
async def test_a_client_that_never_reads_cannot_fill_the_memory(has_front: bool) -> None:
    """Its replies wait where they are, and nothing more is read of it."""
    big = post({**PING, "params": {"text": "x" * 50_000}})
    async with running_mirror(has_front=has_front) as running, connected(running) as wire:
        wire.transport.pause_reading()
        async with asyncio.timeout(LIMIT_SECONDS):
            while not (wire.gateway_end.flow.write_paused and wire.gateway_end.flow.read_paused):
                if wire.transport.get_write_buffer_size() < 1_000_000:
                    wire.send(big * 20)
                await asyncio.sleep(0)
        for _ in range(100):
            wire.send(big)
            await running.rpc("mirror", "mirror/echo")
        assert wire_of(wire.gateway_end).get_write_buffer_size() < 1_000_000
        assert len(wire.gateway_end.pipeline) < 20


# -- who it is -------------------------------------------------------------------------------------------------------


async def test_a_token_that_is_revoked_between_two_requests_with_the_same_head_is_refused() -> None:
    guard = RevocableTokens()
    token = gate_token("ann")
    async with running_mirror(guard=guard) as running, connected(running) as wire:
        request = post(PING, f"Authorization: Bearer {token}")
        await ask(wire, request)
        calls = count_calls(running)
        for _ in range(3):
            await ask(wire, request)
        assert calls == []
        guard.revoked.add(token)
        reply = b"HTTP/1.1 200 "
        async with asyncio.timeout(LIMIT_SECONDS):
            while reply.startswith(b"HTTP/1.1 200 "):  # for a second the caller is remembered (gateway/remembered)
                wire.send(request)
                reply = await wire.reply()
        assert reply.startswith(b"HTTP/1.1 401 ")
        wire.send(request)
        assert (await wire.reply()).startswith(b"HTTP/1.1 401 ")
        guard.revoked.clear()
        await ask(wire, request)


async def test_a_session_that_was_deleted_is_not_found_on_a_connection_that_knew_it() -> None:
    async with running_mirror() as running, connected(running) as wire:
        session = await open_session(running)
        request = post(PING, f"Mcp-Session-Id: {session}")
        for _ in range(3):
            await ask(wire, request)
        assert (await running.client.delete("/mirror/mcp", headers={"mcp-session-id": session})).status_code == 204
        wire.send(request)
        assert (await wire.reply()).startswith(b"HTTP/1.1 404 ")


async def test_nothing_is_kept_of_the_body_of_somebody_unknown() -> None:
    size = 9_000_000
    async with running_mirror(guard=KnownTokens()) as running, connected(running) as wire:
        tracemalloc.start()
        try:
            wire.send(post_head(size))
            assert (await wire.reply()).startswith(b"HTTP/1.1 401 ")
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            piece = bytes(100_000)
            for _ in range(size // len(piece)):
                wire.send(piece)
                await wire.delivered()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak - before < 2_000_000


# -- servers that fail -----------------------------------------------------------------------------------------------


def call(tool: str, **arguments: Any) -> bytes:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
    return post(message, path="/echo/mcp")


async def test_a_process_that_was_killed_is_followed_by_another_one_on_the_same_connection() -> None:
    async with running_gateway([stdlib_entry()], has_front=True) as running, connected(running) as wire:
        pids: list[int] = []
        for _ in range(2):
            async with asyncio.timeout(LIMIT_SECONDS):  # the gateway itself has perhaps not seen the end yet
                while "result" not in (answer := await ask(wire, call("pid"))):
                    pass
            pid = read_pid(answer)
            calls = count_calls(running)
            assert read_pid(await ask(wire, call("pid"))) == pid
            assert calls == []
            os.kill(pid, signal.SIGKILL)
            await wait_ended(pid)
            pids.append(pid)
        assert pids[0] != pids[1]


def read_pid(answer: dict[str, Any]) -> int:
    return int(answer["result"]["content"][0]["text"])


async def test_a_process_that_ends_in_a_call_makes_an_error_of_the_call() -> None:
    async with running_gateway([stdlib_entry()], has_front=True) as running, connected(running) as wire:
        await ask(wire, call("pid"))
        calls = count_calls(running)
        error = (await ask(wire, call("die")))["error"]
        assert (error["code"], error["data"]["error"]) == (-32603, "server_exited")
        assert calls == []


async def test_a_call_that_takes_too_long_is_answered_with_an_error() -> None:
    limits = ProcessLimits(request_timeout_seconds=0.5)
    async with running_gateway([stdlib_entry()], has_front=True, limits=limits) as running, connected(running) as wire:
        await ask(wire, call("pid"))
        calls = count_calls(running)
        error = (await ask(wire, call("hang")))["error"]
        assert error["data"]["error"] == "server_timeout"
        assert calls == []


# -- choice -----------------------------------------------------------------------------------------------------


async def test_the_front_can_be_left_out() -> None:
    async with running_mirror(has_front=False) as running, connected(running) as wire:
        calls = count_calls(running)
        for _ in range(3):
            await ask(wire, post(PING))
        assert len(calls) == 3
        assert type(wire.gateway_end) is LimitedProtocol


@pytest.mark.parametrize("version", ["0.52.9", "0.55.0", "1.0.0"])
async def test_an_unknown_uvicorn_serves_alone_and_a_warning_says_so(
    version: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_mirror() as running:
        monkeypatch.setattr(uvicorn, "__version__", version)
        assert running.gateway.choose_protocol() == "httptools"
        assert f"uvicorn {version} was not tested" in caplog.text
        monkeypatch.undo()
        assert running.gateway.choose_protocol() != "httptools"


async def test_the_whole_suite_runs_either_way() -> None:
    async with running_gateway([mirror_entry()]) as running, connected(running) as wire:
        await ask(wire, post(PING))
        calls = count_calls(running)
        await ask(wire, post(PING))
        assert bool(calls) is not HAS_FRONT
