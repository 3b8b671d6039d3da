"""The front: requests of MCP clients that need no task, answered in the HTTP protocol class itself.

A request takes this way when it is a plain `POST /{package}/mcp`, its caller is known without asking anybody, and its
server process runs. `Core` decides all three, with the guard and the endpoints that every other request passes too.
Whatever else comes goes on to uvicorn untouched, and from there to the ASGI application.

Per connection at most one request is on this way, so replies keep the order of pipelined requests: those behind it
wait in uvicorn's own queue. For uvicorn such a request is a request cycle like its own (`Flight`).

A head that is byte for byte the one before, but for the digits of its Content-Length, needs no parser: it means what
it meant. Who its token stands for is found out each time.
"""

import asyncio
import re
from collections.abc import Callable, MutableMapping
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from fluidmcp.config.urls import split_public_url
from fluidmcp.errors import RequestError
from fluidmcp.gateway.calls.observer import Call, CallObserver
from fluidmcp.gateway.composition import GatewayParts
from fluidmcp.gateway.core import Passage
from fluidmcp.gateway.errors import answer_now
from fluidmcp.gateway.front.base_path import BasePath
from fluidmcp.gateway.front.connection import LimitedProtocol
from fluidmcp.gateway.guard import HeadGuard
from fluidmcp.gateway.http import (
    COMMON_HEADERS,
    EMPTY_HEADERS,
    HttpRequest,
    HttpStream,
    OpenStreams,
    Receive,
    RequestBody,
    Send,
    send_answer,
)
from fluidmcp.gateway.mcp.messages import Caller
from fluidmcp.gateway.mcp.pending import Answer, PendingReply

_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)\r\n", re.IGNORECASE)
_LENGTH_NAME: Final = b"content-length"
_MAX_LENGTH_DIGITS: Final = 9
_TWO_WRITES_FROM_BYTES: Final = 65536
"""Longer replies are not copied behind their head."""

RawHeaders = list[tuple[bytes, bytes]]


class Head:
    """The head of a request on this way, whatever its length: what uvicorn would need of it, and what it means."""

    __slots__ = ("_before", "_behind", "_count", "_length_at", "passage", "url")

    def __init__(self, url: bytes, headers: RawHeaders, passage: Passage) -> None:
        """`headers` hold one Content-Length."""
        self.url = url
        self.passage = passage
        self._length_at = at = [name for name, _ in headers].index(_LENGTH_NAME)
        self._before, self._behind = headers[:at], headers[at + 1 :]
        self._count = len(headers)

    def read_length(self, url: bytes, headers: RawHeaders) -> bytes | None:
        """The Content-Length of a head that is this one otherwise; None for every other head."""
        at = self._length_at
        if (
            url != self.url
            or len(headers) != self._count
            or headers[:at] != self._before
            or headers[at + 1 :] != self._behind
        ):
            return None
        name, length = headers[at]
        return length if name == _LENGTH_NAME and length.isdigit() and len(length) <= _MAX_LENGTH_DIGITS else None

    def build_headers(self, length: int) -> RawHeaders:
        return [*self._before, (_LENGTH_NAME, b"%d" % length), *self._behind]


class Shared:
    """What all connections with a front share."""

    def __init__(self, parts: GatewayParts) -> None:
        self.core = parts.core
        self.streams = parts.calls.streams
        self.max_body_bytes = parts.settings.max_body_bytes
        self.observer = parts.calls.observer
        self._head_guard = HeadGuard(parts.settings)
        self._base_path = BasePath(split_public_url(parts.settings.public_url)[1])
        self._default_headers: RawHeaders | None = None
        self._begun: dict[int, bytes] = {}
        """Heads of replies by their status; below 0 for those without a body."""

    def read_head(self, url: bytes, headers: RawHeaders) -> Head | None:
        """What the head of a POST means; None: it does not go this way."""
        if url[:1] != b"/" or b"%" in url or b"?" in url:
            return None
        path = self._base_path.take_off(url.decode("latin-1"))
        if path is None:
            return None
        try:
            fields = self._head_guard.read(headers, path)
        except RequestError:
            return None
        if "transfer-encoding" in fields or "content-length" not in fields:
            return None
        request = HttpRequest("POST", path, "", fields, _read_nothing, _watch_nothing)
        passage = self.core.find_passage(request)
        return None if passage is None else Head(url, headers, passage)

    def begin_reply(self, reply: Answer, default_headers: RawHeaders) -> bytes | None:
        """The head of a reply up to its length; None for a stream or headers of its own, which uvicorn writes."""
        if default_headers is not self._default_headers:  # uvicorn makes a new list each second, for the date
            self._default_headers = default_headers
            self._begun.clear()
        if reply.headers is COMMON_HEADERS:
            key = reply.status
        elif reply.headers is EMPTY_HEADERS:
            key = -reply.status
        else:
            return None
        begun = self._begun.get(key)
        if begun is None:
            pieces = [STATUS_LINE[reply.status]]
            for name, value in (*default_headers, *reply.headers):
                pieces += (name, b": ", value, b"\r\n")
            begun = self._begun[key] = b"".join((*pieces, b"content-length: "))
        return begun


class _NobodyWaits:
    """Stands for the event that wakes whoever reads the body of a request: this one's is read."""

    def set(self) -> None:
        pass


class Flight:
    """The request of a connection that is on this way, one after the other.

    uvicorn takes it for a request cycle of its own: it looks at these names of one.
    """

    __slots__ = (
        "call",
        "caller",
        "disconnected",
        "head",
        "keep_alive",
        "message_event",
        "pending",
        "response_complete",
        "response_started",
    )

    def __init__(self) -> None:
        self.head: Head | None = None
        self.caller: Caller | None = None
        self.call: Call | None = None
        self.pending: PendingReply | None = None
        self.keep_alive = True
        self.disconnected = False
        self.response_started = False
        self.response_complete = True
        self.message_event = _NOBODY_WAITS


_NOBODY_WAITS: Final = _NobodyWaits()


class FrontProtocol(LimitedProtocol):
    """A connection whose common requests need no task."""

    def __init__(self, *arguments: Any, shared: Shared, **named: Any) -> None:
        """`arguments` and `named` as `LimitedProtocol`."""
        super().__init__(*arguments, **named)
        self._shared = shared
        self._app: Any = cast(Any, self.config).loaded_app
        self._flight = Flight()
        self._arriving: tuple[Head, Caller] | None = None
        """The request on this way whose body arrives."""
        self._flight_as_cycle = cast(RequestResponseCycle, self._flight)
        """The same object, for uvicorn."""
        self._parts: list[bytes] = []
        self._head: Head | None = None
        """That of the last request on this way."""
        self._before_length = self._behind_length = b""
        """The bytes of that head around its length; empty where they are not known."""
        self._begun_count = 0
        """Requests that began in the piece of data which is being parsed."""
        self._told = b""
        """The Content-Length of the last request on this way."""
        self._single: Head | None = None
        """The head of a request on this way that was complete in it."""

    # -- what uvicorn calls ------------------------------------------------------------------------------------------

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._arriving is not None:
            self._note_refusal(400)  # as `RequestBody.read` has it, for what does not come this way
        self._before_length = b""
        self._head = self._arriving = None
        self._parts.clear()
        self._flight.disconnected = True
        if self._flight.pending is not None:
            self._flight.pending.cancel()

    def data_received(self, data: bytes) -> None:
        head = self._head
        if head is not None and self._before_length and self.is_between and not self._is_busy():
            text = self._read_repeated(data)
            if text is not None:
                caller = head.passage.everybody or self._shared.core.let_in_now(head.passage)
                if caller is not None:
                    self._begin(head, caller, text)
                    return
        was_between, self._single, self._begun_count = self.is_between, None, 0
        super().data_received(data)
        if was_between and not self._before_length:
            self._learn(data)

    def on_message_begin(self) -> None:
        # Not uvicorn's yet: what it prepares costs more than the whole way through here.
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self.is_between = self._has_head = self._has_cycle = False
        self._head_bytes = 0
        self._begun_count += 1

    def on_headers_complete(self) -> None:
        self._arriving = self._let_in()
        if self._arriving is not None:
            self._has_head = True
            return
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._arriving is None:
            super().on_body(body)
        else:
            self._parts.append(body)

    def on_message_complete(self) -> None:
        if self._arriving is None:
            super().on_message_complete()
            return
        head, caller = self._arriving
        self.is_between = True
        self._arriving = None
        self._single = head
        parts, self._parts = self._parts, []
        self._begin(head, caller, parts[0] if len(parts) == 1 else b"".join(parts))

    def _open_refused(self, observer: CallObserver) -> Call:
        if self._arriving is None:
            return super()._open_refused(observer)
        head, caller = self._arriving
        call = Call(observer, head.passage.package.name, "", head.passage.request.headers)
        call.principal = caller.principal
        return call

    # -- in ----------------------------------------------------------------------------------------------------------

    def _is_busy(self) -> bool:
        """Whether the next reply may not be written now."""
        # A request on this way is the newest cycle, or one that is not complete stands behind it.
        cycle = self.cycle
        is_answering = bool(cycle) and not cycle.response_complete
        return is_answering or self.flow.write_paused or self._gentle.is_leaving or self._wire.is_closing()

    def _let_in(self) -> tuple[Head, Caller] | None:
        """Whether the request with this head goes this way, before anything of its body is kept."""
        parser: Any = self.parser
        if (
            parser.get_method() != b"POST"
            or self.expect_100_continue
            or self._is_busy()
            or self._arriving is not None
            or parser.get_http_version() != "1.1"
            or not parser.should_keep_alive()
            or parser.should_upgrade()
        ):
            return None
        head = self._head
        told = None if head is None else head.read_length(self.url, self.headers)
        if head is None or told is None or int(told) > self._shared.max_body_bytes:
            head = self._shared.read_head(self.url, self.headers)
            told = None if head is None else head.read_length(self.url, self.headers)
            if head is None or told is None:
                return None
            self._head = head
            self._before_length = b""
        self._told = told
        caller = self._shared.core.let_in_now(head.passage)
        return None if caller is None else (head, caller)

    def _read_repeated(self, data: bytes) -> bytes | None:
        """The body of a request that arrived in one piece with the head of the one before, else None."""
        before, behind = self._before_length, self._behind_length
        if not data.startswith(before):
            return None
        start = len(before)
        end = data.find(b"\r", start, start + _MAX_LENGTH_DIGITS + 1)
        digits = data[start:end] if end > 0 else b""
        if not digits.isdigit() or not data.startswith(behind, end):
            return None
        length = int(digits)
        start = end + len(behind)
        return data[start:] if len(data) - start == length <= self._shared.max_body_bytes else None

    def _learn(self, data: bytes) -> None:
        """Remember the bytes of a head, where `data` was one request on this way, and nothing else."""
        head = self._single
        if head is None or self._begun_count != 1:
            return
        end = data.find(b"\r\n\r\n") + 4
        places = list(_LENGTH.finditer(data, 0, end - 2)) if end >= 4 else []
        told = self._told
        if len(places) == 1 and places[0][1] == told and len(data) - end == int(told):
            self._before_length, self._behind_length = data[: places[0].start(1)], data[places[0].end(1) : end]

    def _begin(self, head: Head, caller: Caller, text: bytes) -> None:
        flight = self._flight
        if self.cycle is not self._flight_as_cycle:
            self._flight = flight = Flight()
            self.cycle = self._flight_as_cycle = cast(RequestResponseCycle, flight)
        flight.head = head
        flight.caller = caller
        flight.response_complete = False
        if self.limits.state.is_leaving:
            flight.keep_alive = False
        passage = head.passage
        if self._shared.core.is_shut_out(passage.package, caller):
            # Since its head came. What it is told is told as to everybody.
            self._hand_over(flight, self._app, text)
            return
        request, observer = passage.request, self._shared.observer
        if observer is not None:
            request.call = flight.call = Call(observer, passage.package.name, "", request.headers)
            flight.call.principal = caller.principal
        outcome = answer_now(passage.begin_now, request, passage.head, text, caller)
        request.call = None
        if isinstance(outcome, PendingReply):
            flight.pending = outcome
            outcome.deliver(self._reply)
        elif outcome is None:
            flight.call = None  # the way that goes on with it opens its own
            self._hand_over(flight, self._app, text)
        else:
            self._reply(outcome)

    # -- out ---------------------------------------------------------------------------------------------------------

    def _reply(self, answer: Answer) -> None:
        """Write the reply of the request in flight, or let uvicorn write one that has more to it."""
        shared, flight = self._shared, self._flight
        flight.pending = None
        if flight.caller is not None and flight.head is not None:
            package = flight.head.passage.package
            if isinstance(answer, HttpStream):
                answer.principal, answer.package = flight.caller.principal, package.name
            else:
                answer = shared.core.look_again(answer, package, flight.caller)
        begun, call = shared.begin_reply(answer, self.server_state.default_headers), flight.call
        flight.call = None
        if begun is None or isinstance(answer, HttpStream):
            self._hand_over(flight, _Sender(shared.streams, answer, call))
            return
        flight.response_complete = True
        if flight.disconnected or self._gentle.is_leaving or self._wire.is_closing():
            if call is not None:
                call.end(answer.status)
            return
        body = answer.body
        ending = b"\r\n\r\n" if flight.keep_alive else b"\r\nconnection: close\r\n\r\n"
        if call is not None:
            ending = b"".join((*(b"\r\n%b: %b" % field for field in call.headers), ending))
        if len(body) < _TWO_WRITES_FROM_BYTES:
            self._wire.write(b"%b%d%b%b" % (begun, len(body), ending, body))
        else:
            self._wire.write(b"%b%d%b" % (begun, len(body), ending))
            self._wire.write(body)
        if call is not None:
            call.end(answer.status)
        if not flight.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _hand_over(self, flight: Flight, app: Any, text: bytes = b"") -> None:
        """Let uvicorn go on with a request that has arrived whole: `app` makes its reply."""
        assert flight.head is not None
        url, headers = flight.head.url, flight.head.build_headers(len(text))
        scope: Any = {
            "type": "http",
            "asgi": {"version": self.config.asgi_version, "spec_version": "2.3"},
            "http_version": "1.1",
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": self.root_path,
            "headers": headers,
            "state": self.app_state.copy(),
            "method": "POST",
            "path": self.root_path + url.decode("latin-1"),
            "raw_path": self.root_path.encode("ascii") + url,
            "query_string": b"",
        }
        cycle = RequestResponseCycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=flight.keep_alive,
            on_response=self.on_response_complete,
        )
        cycle.body += text
        cycle.more_body = False
        cycle.message_event.set()
        cycle.disconnected = flight.disconnected
        flight.response_complete = True
        if self.cycle is self._flight_as_cycle:  # else it is that of a request behind this one
            self.cycle = cycle
        self.start_task(cycle.run_asgi(app))


class _Sender:
    """An ASGI application for one request, whose answer is known."""

    def __init__(self, streams: OpenStreams, answer: Answer, call: Call | None) -> None:
        self._streams = streams
        self._answer = answer
        self._call = call

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        await send_answer(self._answer, self._streams, RequestBody(receive, 0), send, self._call)


async def _read_nothing() -> bytes:
    raise RuntimeError("the body of a request on this way is handed over with it")


def _watch_nothing(callback: Callable[[], None]) -> Callable[[], None]:
    raise RuntimeError("the connection itself tells that its client is gone")
