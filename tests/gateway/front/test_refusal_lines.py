"""What is refused before its path was looked at: one line each, which says nothing that was sent, and not too many."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from fluidmcp.crypto.digest import PersonDigest
from fluidmcp.gateway.calls.access_log import MAX_REFUSED_LINES, REFUSED_SECONDS, AccessLog
from fluidmcp.gateway.calls.observer import Call
from tests.gateway.call_lines import Lines, running_mirror, written_lines
from tests.gateway.front.messages import PING, open_gate, post, post_head, talk
from tests.gateway.front.test_slow_clients import PART_OF_HEAD, SHORT_SECONDS, patient
from tests.gateway.front.wire import Wire, connect, connected
from tests.gateway.guards import KnownTokens, gate_token
from tests.gateway.running import RunningGateway
from tests.timing import JumpingLoop, elapse

WAYS = pytest.mark.parametrize("has_front", [True, False])
E15 = pytest.mark.threat("E15")
CANARY = b"Authorization: Bearer canary-token\r\nX-Request-Id: canary-id\r\n"
MALFORMED = b"GET /canary-path?code=canary HTTP/1.1\r\n" + CANARY + b"no header at all\r\n\r\n"


@pytest.fixture
def lines() -> Iterator[Lines]:
    with written_lines() as handler:
        yield handler


async def assert_one_line(lines: Lines, running: RunningGateway, status: int, reply: bytes = b"") -> None:
    """One of no package, and nothing but that line of the request; `reply` has its id."""
    told = await lines.next()
    request_id = told.pop("request_id")
    assert len(request_id) == 16
    assert int(request_id, 16) >= 0
    assert told == {"package": None, "method": None, "status": status, "milliseconds": None, "person": None}
    if reply:
        assert reply.startswith(b"HTTP/1.1 %d " % status)
        assert b"\r\nx-request-id: %b\r\n" % request_id.encode() in reply
    await assert_no_other(lines, running)


async def assert_no_other(lines: Lines, running: RunningGateway) -> None:
    await running.rpc("mirror", "mirror/echo")
    assert await lines.seen() == ("mirror", "mirror/echo", 200)
    assert lines.is_empty()


@E15
@WAYS
async def test_a_head_that_is_late_is_a_line(has_front: bool, lines: Lines) -> None:
    settings = patient(header_seconds=SHORT_SECONDS)
    async with running_mirror(lines, has_front=has_front, connections=settings) as running:
        async with connected(running) as wire:
            wire.send(PART_OF_HEAD.replace(b"X-Long: ", CANARY + b"X-Long: canary"))
            reply = await wire.wait_closed()
        async with connected(running) as silent:
            assert await silent.wait_closed() == b""  # nobody asked for anything
        await assert_one_line(lines, running, 408, reply)


@E15
@WAYS
async def test_a_head_that_is_too_large_is_a_line(has_front: bool, lines: Lines) -> None:
    async with running_mirror(lines, has_front=has_front, connections=patient()) as running:
        async with connected(running) as wire:
            wire.send(PART_OF_HEAD)
            await wire.delivered()
            wire.send(b"canary" * 20_000)
            reply = await wire.wait_closed()
            # The time of its head may be over before the client has gone: it was refused already.
            wire.gateway_end.give_up_head()
        await assert_one_line(lines, running, 431, reply)


@E15
@WAYS
async def test_what_is_no_http_is_a_line(has_front: bool, lines: Lines) -> None:
    async with running_mirror(lines, has_front=has_front) as running:
        for first in (b"", post(PING)):
            for bad in (MALFORMED, b"\0\0canary\r\n\r\n", post_head("canary")):
                async with connected(running) as wire:
                    if first:
                        wire.send(first)
                        await wire.reply()
                        assert await lines.seen() == ("mirror", "mirror/echo", 200)
                    wire.send(bad)
                    reply = await wire.wait_closed()
                    assert b"canary" not in reply
                    await assert_one_line(lines, running, 400, reply)


@E15
@WAYS
@pytest.mark.parametrize("limit", ["max_connections", "max_connections_per_address"])
async def test_a_connection_too_many_is_a_line(limit: str, has_front: bool, lines: Lines) -> None:
    settings = patient(**{limit: 2})
    async with running_mirror(lines, has_front=has_front, connections=settings) as running, open_gate() as gate:
        await running.client.aclose()
        async with connected(running) as one, connected(running) as other:
            for name, wire in (("one", one), ("other", other)):
                wire.send(post(talk(gate, name)))
                assert await gate.arrived() == name
            refused = await connect(running)
            reply = await refused.wait_closed()
            told = await lines.next()
            assert (told["package"], told["method"], told["status"]) == (None, None, 503)
            assert reply.startswith(b"HTTP/1.1 503 ")
            assert b"\r\nx-request-id: %b\r\n" % told["request_id"].encode() in reply
            for name, wire in (("one", one), ("other", other)):
                gate.let_go(name)
                await wire.reply()
                assert await lines.seen() == ("mirror", "tools/call", 200)
        assert lines.is_empty()


# -- where the path is known: as every other call --------------------------------------------------------------------


@E15
@WAYS
async def test_a_body_that_is_late_is_the_line_of_its_call(has_front: bool, lines: Lines) -> None:
    options: dict[str, Any] = {"connections": patient(body_seconds=SHORT_SECONDS), "guard": KnownTokens()}
    async with running_mirror(lines, has_front=has_front, **options) as running:
        token = f"Bearer {gate_token('ada')}"
        await running.rpc("mirror", "mirror/echo", authorization=token)
        assert await lines.seen() == ("mirror", "mirror/echo", 200)
        assert (await running.rpc("mirror", "mirror/echo", authorization=token)).status_code == 200
        person = (await lines.next())["person"]
        head = post_head(5000, "X-Request-Id: mine", f"Authorization: {token}")
        for part in (head, head + b"x"):
            async with connected(running) as wire:
                wire.send(part)
                assert (await wire.wait_closed()).startswith(b"HTTP/1.1 408 ")
            told = await lines.next()
            del told["milliseconds"]  # not known where no task waited for the body
            assert told == {
                "package": "mirror",
                "method": None,
                "status": 408,
                "request_id": "mine",
                "person": person,
            }
        await running.rpc("mirror", "mirror/echo", authorization=token)
        assert await lines.seen() == ("mirror", "mirror/echo", 200)
        assert lines.is_empty()


@WAYS
async def test_a_body_that_is_no_http_is_the_line_of_its_call(has_front: bool, lines: Lines) -> None:
    head = (
        b"POST /%b HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    async with running_mirror(lines, has_front=has_front) as running:
        async with connected(running) as wire:
            wire.send(head % b"mirror/mcp" + b"canary\r\n")
            assert (await wire.wait_closed()).startswith(b"HTTP/1.1 400 ")
        assert await lines.seen() == ("mirror", None, 400)
        # What is no call, and is known to be none, is no line.
        async with connected(running) as wire:
            wire.send(head % b"health" + b"canary\r\n")
            await wire.wait_closed()
        await assert_no_other(lines, running)


@WAYS
async def test_a_client_that_goes_away_in_its_body_leaves_a_line(has_front: bool, lines: Lines) -> None:
    async with running_mirror(lines, has_front=has_front) as running:
        async with connected(running) as wire:
            wire.send(post_head(5000, "X-Request-Id: mine") + b"x")
            await wire.delivered()
        assert await lines.seen("package", "method", "status", "request_id") == ("mirror", None, 400, "mine")
        await assert_no_other(lines, running)


@WAYS
async def test_what_is_no_http_behind_a_call_is_a_line_without_an_answer(has_front: bool, lines: Lines) -> None:
    chunked = b"POST /mirror/mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nnothing\r\n"
    async with running_mirror(lines, has_front=has_front) as running, open_gate() as gate:
        for bad, is_answered in ((b"\0\0\0\r\n\r\n" + post(PING), True), (chunked, False)):
            async with connected(running) as wire:
                wire.send(post(talk(gate)))
                await gate.arrived()
                wire.send(bad)
                told = await lines.next()
                assert (told["package"], told["method"], told["status"]) == (None, None, 0)
                gate.let_go()
                reply = await wire.wait_closed()
                assert reply.startswith(b"HTTP/1.1 200 ") is is_answered
                assert await lines.seen("package", "method") == ("mirror", "tools/call")
        await assert_no_other(lines, running)


# -- many ------------------------------------------------------------------------------------------------------------


async def refuse(running: RunningGateway, count: int) -> None:
    for _ in range(count):
        wire: Wire
        async with connected(running) as wire:
            wire.send(MALFORMED)
            await wire.wait_closed()


@E15
async def test_a_flood_of_refusals_is_told_by_a_number(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fluidmcp.gateway.calls.access_log.REFUSED_SECONDS", 3600.0)  # a minute can end meanwhile
    async with running_mirror(lines) as running:
        await refuse(running, MAX_REFUSED_LINES + 50)
        for _ in range(MAX_REFUSED_LINES):
            assert await lines.seen() == (None, None, 400)
        await assert_no_other(lines, running)  # calls are lines as before
    told = await lines.next()  # the gateway has ended
    assert told == {
        "package": None,
        "method": None,
        "status": 400,
        "milliseconds": None,
        "request_id": None,
        "person": None,
        "count": 50,
    }
    assert lines.is_empty()


@E15
def test_refusals_beyond_the_limit_are_told_once_a_minute_by_status(lines: Lines) -> None:
    log = AccessLog(PersonDigest(b"k" * 32))

    async def flood() -> None:
        for _ in range(2):
            for number in range(MAX_REFUSED_LINES + 30):
                Call(log, None, "", {}).refuse((408, 431, 503)[number % 3])
            for _ in range(MAX_REFUSED_LINES):
                assert (await lines.next())["request_id"] is not None
            assert lines.is_empty()
            await elapse(REFUSED_SECONDS)
            told = [(line["status"], line["count"]) for line in [await lines.next() for _ in range(3)]]
            assert sorted(told) == [(408, 10), (431, 10), (503, 10)]
            assert lines.is_empty()
        log.close()
        assert lines.is_empty()

    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(flood())
