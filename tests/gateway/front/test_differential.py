"""The same bytes to a gateway with the front and to one without: every reply, every end, and what the server reads."""

import asyncio
import itertools
import json
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.gateway.front.messages import BOTH, PING, mirror_entry, open_session, post, post_head, stateless
from tests.gateway.front.wire import LIMIT_SECONDS, Wire, connect, count_calls
from tests.gateway.running import RunningGateway, running_gateway

MAX_BYTES = 2000
SESSION = b"{SESSION}"
BATCH_SESSION = b"{BATCHES}"
ASKED, ASKED_LINES = stateless("mirror/echo", n=2)
TOLD, TOLD_LINES = stateless("notifications/anything", None)
LISTED, LISTED_LINES = stateless("tools/list")
TOLD_SOMETHING = {"method": "notifications/message", "params": {"level": "info", "data": "x"}}
LINE_OF_SESSION = f"Mcp-Session-Id: {SESSION.decode()}"
NOTIFICATION = {"jsonrpc": "2.0", "method": "notifications/roots/list_changed"}

GOOD = {
    "bare": post(PING),
    "bare, both": post(PING, f"Accept: {BOTH}"),
    "bare, stream": post({**PING, "method": "mirror/tell", "params": TOLD_SOMETHING}, "Accept: text/event-stream"),
    "bare, notification": post(NOTIFICATION),
    "bare, error": post({**PING, "method": "mirror/error", "params": {"code": 7, "message": "no"}}),
    "in a session": post(PING, LINE_OF_SESSION, f"Accept: {BOTH}"),
    "in a session, notification": post(NOTIFICATION, LINE_OF_SESSION),
    "in another session": post(PING, "Mcp-Session-Id: nobody", f"Accept: {BOTH}"),
    "stateless": post(ASKED, *ASKED_LINES),
    "stateless, list": post(LISTED, *LISTED_LINES),
    "stateless, notification": post(TOLD, *TOLD_LINES),
    "stateless, other header": post(ASKED, *LISTED_LINES),
    "batch": post([PING, {**PING, "id": 2}]),
    "batch in a session": post([PING, {**PING, "id": 2}], f"Mcp-Session-Id: {BATCH_SESSION.decode()}"),
    "no JSON": post(b"{not json"),
    "empty": post(b""),
    "initialize without params": post({**PING, "method": "initialize", "params": None}),
    "other version": post(PING, "MCP-Protocol-Version: 1999-01-01"),
    "GET": b"GET /mirror/mcp HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "GET health": b"GET /nothing HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "DELETE": b"DELETE /mirror/mcp HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "HEAD": b"HEAD /mirror/mcp HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "SSE": post({**PING, "method": "mirror/tell", "params": TOLD_SOMETHING}, path="/mirror/sse"),
    "other package": post(PING, path="/other/mcp"),
    "chunked": b"POST /mirror/mcp HTTP/1.1\r\nHost: [::1]\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "HTTP/1.0": post(PING, version="1.0"),
    "HTTP/1.0, kept": post(PING, "Connection: keep-alive", version="1.0"),
    "close": post(PING, "Connection: close"),
    "keep-alive": post(PING, "Connection: keep-alive"),
    "too large": post(b"x" * (MAX_BYTES + 1)),
    "content type": post(PING).replace(b"application/json", b"text/plain"),
    "foreign origin": post(PING, "Origin: http://evil.example"),
    "foreign host": post(PING).replace(b"Host: 127.0.0.1", b"Host: evil.example"),
    "expects": post(PING, "Expect: 100-continue"),
    "upgrades": post(PING, "Connection: Upgrade", "Upgrade: h2c"),
    "websocket": post(PING, "Connection: Upgrade", "Upgrade: websocket"),
}
UNSURE = {"upgrades", "websocket"}
"""What uvicorn still reads behind the head of an upgrade depends on where TCP cuts."""
BODY = json.dumps(PING).encode()
HOST = b"Host: 127.0.0.1\r\n"


def raw(line: bytes, *lines: bytes, body: bytes = BODY) -> bytes:
    return b"\r\n".join((line, *lines, b"", b"")) + body


def odd(*lines: bytes, body: bytes = BODY) -> bytes:
    return raw(b"POST /mirror/mcp HTTP/1.1", b"Host: 127.0.0.1", *lines, body=body)


LENGTH = b"Content-Length: %d" % len(BODY)
CHUNKED_BODY = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
ODD = {
    "length and chunks": odd(LENGTH, b"Transfer-Encoding: chunked"),
    "chunks and length": odd(b"Transfer-Encoding: chunked", LENGTH, body=CHUNKED_BODY),
    "two lengths": odd(LENGTH, LENGTH),
    "two other lengths": odd(LENGTH, b"Content-Length: 0"),
    "lengths in one": odd(b"Content-Length: %d, %d" % (len(BODY), len(BODY))),
    "chunked twice": odd(b"Transfer-Encoding: chunked, chunked", body=CHUNKED_BODY),
    "xchunked": odd(b"Transfer-Encoding: xchunked", body=CHUNKED_BODY),
    "chunked, identity": odd(b"Transfer-Encoding: chunked, identity", body=CHUNKED_BODY),
    "CHUNKED": odd(b"Transfer-Encoding: CHUNKED", body=CHUNKED_BODY),
    "chunked by tab": odd(b"Transfer-Encoding:\tchunked", body=CHUNKED_BODY),
    "chunk extension": odd(b"Transfer-Encoding: chunked", body=CHUNKED_BODY.replace(b"\r\n", b";a=b\r\n", 1)),
    "trailer": odd(b"Transfer-Encoding: chunked", body=CHUNKED_BODY[:-2] + b"Host: evil.example\r\n\r\n"),
    "chunk too long": odd(b"Transfer-Encoding: chunked", body=b"ffffffffffffffffff\r\nx"),
    "folded": odd(LENGTH, b"X-Folded: a", b" b"),
    "folded length": odd(b"Content-Length:", b" %d" % len(BODY)),
    "bare line ends": odd(LENGTH).replace(b"\r\n", b"\n"),
    "one bare line end": odd(LENGTH, b"X: y").replace(b"X: y\r\n", b"X: y\n"),
    "bare carriage return": odd(LENGTH, b"X: y\rContent-Length: 0"),
    "space before colon": odd(b"Content-Length : %d" % len(BODY)),
    "space before name": odd(b" " + LENGTH),
    "tab after length": odd(LENGTH + b"\t"),
    "spaces around length": odd(b"Content-Length:   %d  " % len(BODY)),
    "no space": odd(b"Content-Length:%d" % len(BODY)),
    "odd case": raw(b"POST /mirror/mcp HTTP/1.1", b"hOST: 127.0.0.1", b"cONTENT-lENGTH: %d" % len(BODY)),
    "no host": raw(b"POST /mirror/mcp HTTP/1.1", LENGTH),
    "two hosts": odd(LENGTH, b"Host: 127.0.0.1"),
    "empty host": raw(b"POST /mirror/mcp HTTP/1.1", b"Host:", LENGTH),
    "two authorizations": odd(LENGTH, b"Authorization: Bearer a", b"Authorization: Bearer b"),
    "two sessions": odd(LENGTH, b"Mcp-Session-Id: a", b"Mcp-Session-Id: b"),
    "two types": odd(LENGTH, b"Content-Type: application/json", b"Content-Type: application/json"),
    "two accepts": odd(LENGTH, b"Accept: application/json", b"Accept: text/event-stream"),
    "absolute": raw(b"POST http://127.0.0.1/mirror/mcp HTTP/1.1", b"Host: 127.0.0.1", LENGTH),
    "absolute, foreign": raw(b"POST http://evil.example/mirror/mcp HTTP/1.1", b"Host: 127.0.0.1", LENGTH),
    "encoded dot": raw(b"POST /mirror/%2e/mcp HTTP/1.1", b"Host: 127.0.0.1", LENGTH),
    "encoded name": raw(b"POST /%6dirror/mcp HTTP/1.1", b"Host: 127.0.0.1", LENGTH),
    "encoded slash": raw(b"POST /mirror%2fmcp HTTP/1.1", b"Host: 127.0.0.1", LENGTH),
    "query": raw(b"POST /mirror/mcp?a=b HTTP/1.1", b"Host: 127.0.0.1", LENGTH),
    "fragment": raw(b"POST /mirror/mcp#a HTTP/1.1", b"Host: 127.0.0.1", LENGTH),
    "slash behind": raw(b"POST /mirror/mcp/ HTTP/1.1", b"Host: 127.0.0.1", LENGTH),
    "two slashes": raw(b"POST //mirror/mcp HTTP/1.1", b"Host: 127.0.0.1", LENGTH),
    "dots": raw(b"POST /x/../mirror/mcp HTTP/1.1", b"Host: 127.0.0.1", LENGTH),
    "null in URL": raw(b"POST /mirror/mcp\0 HTTP/1.1", b"Host: 127.0.0.1", LENGTH),
    "null in header": odd(LENGTH, b"X: a\0b"),
    "null in body": odd(b"Content-Length: 3", body=b"{}\0"),
    "not ASCII in URL": raw(b"POST /mirr\xc3\xb6r/mcp HTTP/1.1", b"Host: 127.0.0.1", LENGTH),
    "not ASCII in header": odd(LENGTH, b"X: \xff\xfe"),
    "CONNECT": raw(b"CONNECT 127.0.0.1:80 HTTP/1.1", b"Host: 127.0.0.1", body=b""),
    "star": raw(b"POST * HTTP/1.1", b"Host: 127.0.0.1", LENGTH),
    "small method": raw(b"post /mirror/mcp HTTP/1.1", b"Host: 127.0.0.1", LENGTH),
    "other method": raw(b"BREW /mirror/mcp HTTP/1.1", b"Host: 127.0.0.1", LENGTH),
    "HTTP/2.0": raw(b"POST /mirror/mcp HTTP/2.0", b"Host: 127.0.0.1", LENGTH),
    "HTTP/1.2": raw(b"POST /mirror/mcp HTTP/1.2", b"Host: 127.0.0.1", LENGTH),
    "HTTP/0.9": raw(b"POST /mirror/mcp", body=b""),
    "preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00",
    "no length": odd(),
    "close, comma": odd(LENGTH, b"Connection: x, close"),
    "CLOSE": odd(LENGTH, b"CONNECTION: CLOSE"),
    "gzip": odd(LENGTH, b"Content-Encoding: gzip"),
    "expects something else": odd(LENGTH, b"Expect: a-miracle"),
    "expects in odd case": odd(LENGTH, b"Expect: 100-Continue"),
    "cross-site": odd(LENGTH, b"Sec-Fetch-Site: cross-site"),
    "lines before": b"\r\n\r\n" + odd(LENGTH),
    **{
        f"accepts {accept}": odd(LENGTH, b"Accept: " + accept.encode())
        for accept in ("*/*", "text/html", "application/json;q=0", "text/event-stream;q=0.1", ",,", "a/b, */*;q=0.5")
    },
}
LENGTHS = [
    b"", b"0", b"+5", b"-1", b"5.0", b"0x5", b"5 5", b" ", b"1e1", b"99999999999999999999999", b"18446744073709551617",
    b"4294967297", b"\xb2", b"000", *(b"0" * n + b"%d" % len(BODY) for n in (1, 7, 8, 30)),
    *(b"%d" % (len(BODY) + n) for n in (-1, 1, MAX_BYTES)), b"%d\r\nX: y" % len(BODY), b"%d\n" % len(BODY),
    b"%d\r" % len(BODY), b"%d\r\n" % len(BODY),
]  # fmt: skip
_NO_HTTP = re.compile(rb'HTTP/1.1 400 Bad Request[^{}]*\{"error":"malformed_request"[^{}]*\}$')
_DATE = re.compile(rb"\r\ndate: [^\r]*")


@dataclass(slots=True)
class Side:
    """One of the gateways."""

    running: RunningGateway
    session: bytes
    batches: bytes
    wire: Wire | None = None

    async def connect(self) -> Wire:
        if self.wire is not None:
            self.wire.transport.abort()
        self.wire = await connect(self.running)
        return self.wire

    async def say(self, pieces: Sequence[bytes], *, is_new: bool) -> tuple[bytes, bool]:
        """Send the pieces, each when the one before has been read; all that comes back, and whether that is the end."""
        wire = self.wire if self.wire is not None and not is_new and not self.wire.is_closed else await self.connect()
        wire.received.clear()
        for piece in pieces:
            if wire.is_closed:
                break
            wire.send(piece.replace(SESSION, self.session).replace(BATCH_SESSION, self.batches))
            await wire.delivered()
        await wire.quiet()
        text = _DATE.sub(b"", bytes(wire.received))
        return text.replace(self.session, SESSION).replace(self.batches, BATCH_SESSION), wire.is_closed

    async def heard(self) -> list[list[str]]:
        """What the server processes have read since the last time."""
        lines: list[list[str]] = []
        for session in (None, self.session, self.batches):
            headers = {} if session is None else {"mcp-session-id": session.decode()}
            response = await self.running.rpc("mirror", "mirror/lines", **headers)
            lines.append([re.sub(r'"id":\d+', '"id":N', line) for line in response.json()["result"]["lines"]])
        return lines


@dataclass(slots=True)
class Pair:
    """Two gateways that must not differ."""

    front: Side
    plain: Side
    is_new: bool = True
    """Whether the next exchange has a connection of its own."""

    async def compare(self, *pieces: bytes, is_new: bool = True) -> tuple[bytes, bool]:
        front, plain = await asyncio.gather(*(side.say(pieces, is_new=is_new) for side in (self.front, self.plain)))
        assert front == plain or _forgive(*front) == _forgive(*plain) is not None, pieces
        return front

    async def compare_heard(self, what: object) -> None:
        front, plain = await asyncio.gather(self.front.heard(), self.plain.heard())
        assert front == plain, what


def _forgive(text: bytes, is_closed: bool) -> bytes | None:
    """The replies before what is no HTTP: that is answered only where they had been sent by then."""
    return _NO_HTTP.sub(b"", text).replace(b"\r\nconnection: close", b"") if is_closed else None


@asynccontextmanager
async def started_side(*, has_front: bool) -> AsyncGenerator[Side]:
    async with running_gateway([mirror_entry()], max_body_bytes=MAX_BYTES, has_front=has_front) as running:
        session, batches = await open_session(running), await open_session(running, "2025-03-26")
        side = Side(running, session.encode(), batches.encode())
        await side.say([GOOD["stateless, list"]], is_new=True)
        await side.heard()
        yield side
        if side.wire is not None:
            side.wire.transport.abort()


@asynccontextmanager
async def started_pair() -> AsyncGenerator[Pair]:
    async with started_side(has_front=True) as front, started_side(has_front=False) as plain:
        yield Pair(front, plain)


@pytest.fixture
async def pair() -> AsyncGenerator[Pair]:
    async with started_pair() as two:
        yield two


async def test_every_kind_of_request_is_answered_alike_however_it_is_cut(pair: Pair) -> None:
    for name, request in GOOD.items():
        await pair.compare(request)
        text, is_closed = await pair.compare(request, is_new=False)
        await pair.compare_heard(name)
        if is_closed or not text:
            continue
        for at in range(1, len(request), 1 if name in ("bare", "in a session", "stateless") else 23):
            await pair.compare(request[:at], request[at:], is_new=False)
        await pair.compare_heard(name)


async def test_requests_byte_by_byte_are_answered_alike(pair: Pair) -> None:
    for name in ("bare", "in a session", "stateless", "chunked", "expects", "close"):
        request = GOOD[name]
        await pair.compare(*(request[at : at + 1] for at in range(len(request))))
        await pair.compare_heard(name)


async def test_odd_requests_are_answered_alike_first_and_behind_a_good_one(pair: Pair) -> None:
    good = GOOD["bare"]
    for name, request in ODD.items():
        await pair.compare(request)
        await pair.compare(good)
        await pair.compare(request, is_new=False)
        await pair.compare(good, is_new=False)
        await pair.compare(good + request + good)
        await pair.compare(request[:-1], request[-1:] + good, is_new=False)
        await pair.compare_heard(name)


async def test_the_same_head_with_other_lengths_means_the_same_as_without_the_front(pair: Pair) -> None:
    before, _, behind = post_head("LENGTH").partition(b"LENGTH")
    for length in LENGTHS:
        odd_one = before + length + behind
        for body in (BODY, BODY[:-1], BODY + b"x", BODY + b"\r\n", b"", BODY + GOOD["bare"]):
            await pair.compare(GOOD["bare"])
            await pair.compare(odd_one + body, is_new=False)
            await pair.compare(GOOD["bare"], is_new=False)
    await pair.compare_heard("lengths")


async def test_the_same_head_with_bodies_of_all_lengths_takes_the_front(pair: Pair) -> None:
    calls = count_calls(pair.front.running)
    for size in (0, 1, 5, 50, 500, MAX_BYTES - 200):
        message = {**PING, "params": {"text": "x" * size}}
        text, _ = await pair.compare(post(message), is_new=False)
        assert b'"text":' in text
    assert calls == []
    await pair.compare(post({**PING, "params": {"text": "x" * MAX_BYTES}}), is_new=False)
    assert calls == ["POST /mirror/mcp"]


@given(data=st.data())
@settings(
    max_examples=300,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_pipelined_requests_in_any_cuts_are_answered_alike_and_in_order(
    fuzzing: "Fuzzing", data: st.DataObject
) -> None:
    kinds = st.sampled_from(sorted(GOOD.keys() - UNSURE))
    names = data.draw(st.lists(st.one_of(st.just("bare"), kinds), min_size=2, max_size=5))
    stream = b"".join(GOOD[name] for name in names)
    if data.draw(st.booleans()):
        stream = _spoil(stream, data)
    ends = sorted(data.draw(st.lists(st.integers(1, len(stream)), max_size=4)))
    pieces = [stream[a:b] for a, b in itertools.pairwise([0, *ends, len(stream)]) if b > a]
    is_new = data.draw(st.booleans())
    fuzzing.run(names, pieces, is_new)


def _spoil(stream: bytes, data: st.DataObject) -> bytes:
    """Some bytes of it other ones."""
    at = data.draw(st.integers(0, len(stream) - 1))
    instead = data.draw(st.sampled_from([b"", b"\0", b"\r", b"\n", b"\r\n", b" ", b":", b"9", b"\xff", b"{"]))
    return stream[:at] + instead + stream[at + data.draw(st.integers(0, 2)) :]


class Fuzzing:
    """A pair of gateways in a loop of its own: Hypothesis calls a test many times, and waits for none."""

    def __init__(self, runner: asyncio.Runner, pair: Pair) -> None:
        self._runner = runner
        self._pair = pair

    def run(self, names: Sequence[str], pieces: Sequence[bytes], is_new: bool) -> None:
        self._runner.run(self._compare(names, pieces, is_new))

    async def _compare(self, names: Sequence[str], pieces: Sequence[bytes], is_new: bool) -> None:
        async with asyncio.timeout(LIMIT_SECONDS):
            if not is_new:
                await self._pair.compare(GOOD["bare"])
            try:
                await self._pair.compare(*pieces, is_new=is_new)
            finally:  # or the next example would find it
                await self._pair.compare_heard((names, pieces))


@pytest.fixture
def fuzzing() -> Any:
    with asyncio.Runner() as runner:
        pair = started_pair()
        two = runner.run(pair.__aenter__())
        yield Fuzzing(runner, two)
        runner.run(pair.__aexit__(None, None, None))
