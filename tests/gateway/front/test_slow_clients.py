"""Clients that send slowly, in parts, or nothing at all: how long they may, and what becomes of everybody else."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from fluidmcp.config.settings import ConnectionSettings
from tests.gateway.front.messages import PING, Gate, mirror_entry, open_gate, post, post_head, talk
from tests.gateway.front.wire import LIMIT_SECONDS, Wire, connect, connected
from tests.gateway.running import RunningGateway, running_gateway

CROWD = 2000
SHORT_SECONDS = 0.3
LONG_SECONDS = 3600.0
"""No test waits for it."""
PART_OF_HEAD = b"POST /mirror/mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: "

logger = logging.getLogger(__name__)

E15 = pytest.mark.threat("E15")
WAYS = pytest.mark.parametrize("has_front", [True, False])


def patient(**changes: Any) -> ConnectionSettings:
    """Settings under which nothing is ever too late, but for `changes`."""
    settings = ConnectionSettings(
        max_connections=8192,
        max_connections_per_address=8192,
        header_seconds=LONG_SECONDS,
        keep_alive_seconds=LONG_SECONDS,
        body_seconds=LONG_SECONDS,
    )
    return replace(settings, **changes)


@asynccontextmanager
async def running_mirror(settings: ConnectionSettings, **options: Any) -> AsyncGenerator[RunningGateway]:
    async with running_gateway([mirror_entry()], connections=settings, **options) as running:
        await running.rpc("mirror", "mirror/echo")
        yield running


@asynccontextmanager
async def crowd(running: RunningGateway, first: bytes, addresses: int = 1) -> AsyncGenerator[list[Wire]]:
    """Connections that all have sent `first`, from so many addresses."""
    wires: list[Wire] = []
    try:
        for number in range(CROWD):
            wire = await connect(running, source=f"127.0.0.{number % addresses + 1}")
            wires.append(wire)
            wire.send(first)
        yield wires
    finally:
        for wire in wires:
            wire.transport.abort()


async def call_well(running: RunningGateway) -> None:
    """Somebody else's call, on a connection of its own."""
    began = time.perf_counter()
    async with connected(running, source="127.0.0.99") as wire:
        wire.send(post(PING))
        assert (await wire.reply()).startswith(b"HTTP/1.1 200 ")
    logger.info("a call beside them took %.1f ms", (time.perf_counter() - began) * 1000)


async def all_closed(wires: list[Wire]) -> list[bytes]:
    return [await wire.wait_closed() for wire in wires]


# -- crowds ----------------------------------------------------------------------------------------------------------


@E15
@pytest.mark.parametrize("addresses", [1, 50])
async def test_e15_a_crowd_with_a_part_of_a_head_is_answered_408_and_others_are_served(addresses: int) -> None:
    async with running_mirror(patient(header_seconds=3.0)) as running, crowd(running, PART_OF_HEAD, addresses) as wires:
        assert not any(wire.is_closed for wire in wires[-100:])
        await call_well(running)
        for text in await all_closed(wires):
            assert text.startswith(b"HTTP/1.1 408 ") and b"\r\nconnection: close\r\n" in text


@E15
async def test_e15_a_head_byte_by_byte_takes_no_longer_than_one_that_stops() -> None:
    async with running_mirror(patient(header_seconds=SHORT_SECONDS)) as running, connected(running) as wire:

        async def drip() -> None:
            while not wire.is_closed:
                wire.send(b"x")
                await wire.delivered()

        wire.send(PART_OF_HEAD)
        dripping = asyncio.create_task(drip())
        assert (await wire.wait_closed()).startswith(b"HTTP/1.1 408 ")
        async with asyncio.timeout(LIMIT_SECONDS):
            await dripping


@E15
async def test_e15_idle_connections_are_closed_without_a_word_and_others_are_served() -> None:
    settings = patient(keep_alive_seconds=3.0)
    async with running_mirror(settings) as running, crowd(running, post(PING), 2) as wires:
        for wire in wires:
            assert (await wire.reply()).startswith(b"HTTP/1.1 200 ")
        await call_well(running)
        assert set(await all_closed(wires)) == {b""}


@E15
async def test_e15_bodies_that_arrive_too_slowly_are_answered_408() -> None:
    settings = patient(body_seconds=2.0, min_body_rate=500)
    async with running_mirror(settings) as running, crowd(running, post_head(5000) + b"x", 2) as wires:
        await call_well(running)
        for text in await all_closed(wires):
            assert text.startswith(b"HTTP/1.1 408 ") and text.endswith(b"}")


@E15
async def test_e15_who_says_nothing_at_all_is_closed_without_an_answer() -> None:
    settings = patient(header_seconds=SHORT_SECONDS)
    async with running_mirror(settings) as running, crowd(running, b"") as wires:
        await call_well(running)
        assert set(await all_closed(wires)) == {b""}


@E15
@WAYS
async def test_e15_a_head_without_end_is_refused_before_its_time_is_over(has_front: bool) -> None:
    async with running_mirror(patient(), has_front=has_front) as running, connected(running) as wire:
        wire.send(post(PING))
        await wire.reply()
        wire.send(PART_OF_HEAD)
        sent = 0
        while not wire.is_closed:
            assert sent < 1_000_000
            wire.send(b"x" * 1000)
            sent += 1000
            await wire.delivered()
        assert bytes(wire.received).startswith(b"HTTP/1.1 431 ")


@E15
@WAYS
async def test_e15_many_whole_requests_in_one_piece_are_no_large_head(has_front: bool) -> None:
    async with running_mirror(patient(), has_front=has_front) as running, connected(running) as wire:
        requests = post(PING) * 2000
        wire.send(requests[:-70])
        for _ in range(1999):
            await wire.reply()
        wire.send(requests[-70:])
        await wire.reply()


# -- one client ------------------------------------------------------------------------------------------------------


@E15
@WAYS
async def test_e15_empty_lines_before_a_request_do_not_keep_a_connection(has_front: bool) -> None:
    settings = patient(header_seconds=SHORT_SECONDS)
    async with running_mirror(settings, has_front=has_front) as running, connected(running) as wire:
        wire.send(b"\r\n\r\n")
        assert await wire.wait_closed() == b""


@E15
@WAYS
async def test_e15_empty_lines_between_requests_do_not_keep_a_connection(has_front: bool) -> None:
    settings = patient(keep_alive_seconds=SHORT_SECONDS)
    async with running_mirror(settings, has_front=has_front) as running, connected(running) as wire:
        wire.send(post(PING))
        await wire.reply()
        wire.send(b"\r\n")
        assert await wire.wait_closed() == b""


@WAYS
async def test_a_body_that_keeps_up_the_rate_may_take_long(has_front: bool) -> None:
    body = json.dumps({**PING, "params": {"text": "x" * 1_000_000}}).encode()
    settings = patient(body_seconds=SHORT_SECONDS, min_body_rate=1)
    async with running_mirror(settings, has_front=has_front) as running, connected(running) as wire:
        wire.send(post_head(len(body)))
        sent = 0
        for _ in range(2):  # in each of them a body's whole time goes by
            async with connected(running) as other:
                other.send(post_head(9))
                while not other.is_closed:
                    wire.send(body[sent : sent + 1])
                    sent += 1
                    await wire.delivered()
        assert sent < len(body)
        wire.send(body[sent:])
        assert (await wire.reply()).startswith(b"HTTP/1.1 200 ")


@WAYS
async def test_a_head_that_waits_behind_a_call_is_not_late(has_front: bool) -> None:
    """The gateway itself does not read on while a call is in flight and another one waits behind it."""
    async with (
        running_mirror(patient(header_seconds=SHORT_SECONDS), has_front=has_front) as running,
        open_gate() as gate,
        connected(running) as wire,
    ):
        third = post({**PING, "id": 3})
        wire.send(post(talk(gate)) + post({**PING, "id": 2}) + third[:20])
        await gate.arrived()
        wire.send(third[20:])
        await let_a_head_time_pass(running)
        gate.let_go()
        for number in (1, 2, 3):
            assert b'"id":%d,' % number in await wire.reply()


async def let_a_head_time_pass(running: RunningGateway) -> None:
    """Heads that have begun before are late then: another one that began now was given up."""
    async with connected(running) as other:
        other.send(PART_OF_HEAD)
        await other.wait_closed()


@WAYS
async def test_a_head_that_is_late_behind_a_call_is_not_taken_for_its_answer(has_front: bool) -> None:
    async with (
        running_mirror(patient(header_seconds=SHORT_SECONDS), has_front=has_front) as running,
        open_gate() as gate,
        connected(running) as wire,
    ):
        wire.send(post(talk(gate)))
        await gate.arrived()
        wire.send(PART_OF_HEAD)
        assert await wire.wait_closed() == b""


@WAYS
async def test_a_body_behind_an_event_stream_is_late_when_the_stream_has_ended_and_adds_nothing_to_it(
    has_front: bool,
) -> None:
    async with (
        running_mirror(
            patient(body_seconds=SHORT_SECONDS), has_front=has_front, keep_alive_seconds=SHORT_SECONDS
        ) as running,
        open_gate() as gate,
        connected(running) as wire,
    ):
        wire.send(post(talk(gate), "Accept: text/event-stream"))
        await gate.arrived()
        wire.send(post_head(5000) + b"x")
        await wire.until(b":\n\n")  # a comment: the stream looks for the end of its client
        async with connected(running) as other:
            other.send(post_head(5000))
            await other.wait_closed()
        gate.let_go()
        assert b"HTTP/1.1" not in await wire.until(b"0\r\n\r\n")
        assert (await wire.wait_closed()).startswith(b"HTTP/1.1 408 ")


@WAYS
async def test_a_request_that_has_its_reply_gets_no_second_one_when_its_body_is_late(has_front: bool) -> None:
    settings = patient(body_seconds=SHORT_SECONDS)
    async with running_mirror(settings, has_front=has_front) as running, connected(running) as wire:
        wire.send(post_head(5000, "Content-Encoding: gzip") + b"x")
        assert (await wire.reply()).startswith(b"HTTP/1.1 415 ")
        assert await wire.wait_closed() == b""


@E15
@WAYS
async def test_e15_a_connection_is_idle_after_a_body_that_came_long_after_its_reply(has_front: bool) -> None:
    settings = patient(keep_alive_seconds=SHORT_SECONDS, min_body_rate=0)
    async with running_mirror(settings, has_front=has_front) as running, connected(running) as wire:
        wire.send(post_head(2, "Content-Encoding: gzip"))
        assert (await wire.reply()).startswith(b"HTTP/1.1 415 ")
        async with connected(running) as other:
            other.send(post(PING))
            await other.wait_closed()
        wire.send(b"{}")
        assert await wire.wait_closed() == b""


# -- room ------------------------------------------------------------------------------------------------------------


async def begin_stream(running: RunningGateway, gate: Gate, wire: Wire) -> None:
    wire.send(post(talk(gate, "stream"), "Accept: text/event-stream"))
    assert await gate.arrived() == "stream"
    await wire.until(b"text/event-stream")


@E15
@WAYS
@pytest.mark.parametrize("limit", ["max_connections", "max_connections_per_address"])
async def test_e15_who_has_waited_longest_makes_room(limit: str, has_front: bool) -> None:
    settings = patient(**{limit: 3})
    async with running_mirror(settings, has_front=has_front) as running:
        await running.client.aclose()
        async with connected(running) as first, connected(running) as second, connected(running) as third:
            for wire in (first, second, third):
                wire.send(post(PING))
                await wire.reply()
            first.send(post(PING))  # now the second one has waited longest
            await first.reply()
            async with connected(running) as last:
                await second.wait_closed()
                last.send(post(PING))
                await last.reply()
                assert not first.is_closed and not third.is_closed


@E15
@WAYS
@pytest.mark.parametrize("limit", ["max_connections", "max_connections_per_address"])
async def test_e15_who_has_begun_the_next_request_is_idle_no_more(limit: str, has_front: bool) -> None:
    settings = patient(**{limit: 2})
    async with running_mirror(settings, has_front=has_front) as running:
        await running.client.aclose()
        async with connected(running) as sending, connected(running) as idle:
            for wire in (sending, idle):
                wire.send(post(PING))
                await wire.reply()
            sending.send(post_head(50) + b"x")
            await sending.delivered()
            async with connected(running) as last:
                await idle.wait_closed()
                last.send(post(PING))
                await last.reply()
                assert not sending.is_closed


@E15
@WAYS
@pytest.mark.parametrize("limit", ["max_connections", "max_connections_per_address"])
async def test_e15_calls_and_streams_never_make_room_and_nobody_else_comes_in(limit: str, has_front: bool) -> None:
    settings = patient(**{limit: 3})
    async with running_mirror(settings, has_front=has_front) as running, open_gate() as gate:
        await running.client.aclose()
        async with connected(running) as stream, connected(running) as call, connected(running) as slow:
            for wire in (stream, call):
                wire.send(post(PING))
                await wire.reply()
            await begin_stream(running, gate, stream)
            call.send(post(talk(gate, "call")))
            assert await gate.arrived() == "call"
            slow.send(post_head(50) + b"x")
            await slow.delivered()
            async with connected(running) as good:
                await slow.wait_closed()
                good.send(post(talk(gate, "good")))
                assert await gate.arrived() == "good"
                refused = await connect(running)
                text = await refused.wait_closed()
                assert text.startswith(b"HTTP/1.1 503 ") and b"\r\nretry-after: 5\r\n" in text
                for name, wire in (("call", call), ("good", good)):
                    gate.let_go(name)
                    assert (await wire.reply()).startswith(b"HTTP/1.1 200 ")
                gate.let_go("stream")
                assert b'"id":1' in await stream.until(b"0\r\n\r\n")


@E15
async def test_e15_one_address_cannot_take_the_room_of_others() -> None:
    settings = patient(max_connections_per_address=20)
    async with running_mirror(settings) as running, connected(running, source="127.0.0.2") as other:
        other.send(post(PING))
        await other.reply()
        async with crowd(running, PART_OF_HEAD) as wires:
            assert sum(not wire.is_closed for wire in wires) <= 21
            await call_well(running)
            assert not other.is_closed
            other.send(post(PING))
            await other.reply()


@E15
async def test_e15_a_crowd_from_many_addresses_makes_room_for_a_good_client() -> None:
    async with running_mirror(patient(max_connections=100)) as running, crowd(running, PART_OF_HEAD, 50) as wires:
        await call_well(running)
        assert sum(not wire.is_closed for wire in wires) <= 100
