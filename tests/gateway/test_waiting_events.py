"""What waits for a slow reader goes out in one piece, in its order, and nothing of it is lost."""

import asyncio

import pytest
from msgspec import Raw

from fluidmcp.bridge.exchange import Exchange
from fluidmcp.bridge.streams import ENOUGH_BYTES, SessionStreams
from fluidmcp.errors import ServerExitedError
from fluidmcp.gateway.mcp.pending import stream_exchange
from fluidmcp.protocol.jsonrpc import Envelope

NOTE = Envelope(method="notifications/message", params=Raw(b'{"n":1}'))
ANSWER = Envelope(id=Raw(b"1"), result=Raw(b"{}"))


def count(piece: bytes) -> int:
    return piece.count(b"data: ")


async def read_pieces(exchange: Exchange) -> list[bytes]:
    finished: list[None] = []
    async with asyncio.timeout(30):
        pieces = [piece async for piece in stream_exchange(exchange, b"7", None, lambda: finished.append(None))]
    assert finished == [None]
    return pieces


async def test_events_that_wait_and_the_answer_are_one_piece() -> None:
    exchange = Exchange(1, "tools/call", None, wants_notifications=True)
    for event in (NOTE, NOTE, NOTE, ANSWER):
        exchange.feed(event)
    (piece,) = await read_pieces(exchange)
    assert count(piece) == 4
    assert piece.endswith(b'data: {"jsonrpc":"2.0","id":7,"result":{}}\n\n')


async def test_events_before_a_failure_are_told_before_it() -> None:
    exchange = Exchange(1, "tools/call", None, wants_notifications=True)
    exchange.feed(NOTE)
    exchange.feed(NOTE)
    exchange.fail(ServerExitedError("The server ended."))
    notes, failure = await read_pieces(exchange)
    assert count(notes) == 2
    assert b'"error"' in failure and count(failure) == 1


@pytest.mark.parametrize(("size", "number"), [(10, 9), (ENOUGH_BYTES // 2, 2), (2 * ENOUGH_BYTES, 1)])
async def test_a_reader_takes_what_waits_as_far_as_one_write_is_worth_it(size: int, number: int) -> None:
    general = SessionStreams().general
    for _ in range(10):
        general.push(b"x" * size)
    reader = general.read()
    first = await anext(reader)
    taken = [first, *reader.take_waiting()]
    assert [sequence for sequence, _ in taken] == list(range(first[0], first[0] + 1 + number))
    reader.leave()
    assert reader.take_waiting() == []
