"""One HTTP connection whose client may be slow, for a while: uvicorn's httptools protocol with limits.

The parser of uvicorn says where in a request the connection is; `ConnectionLimits` says how long it may be there.
A reply that comes before the request is complete is read by its client: what still arrives is thrown away for a while
before the connection is closed, as a close with unread bytes would take the reply back (RFC 9112 section 9.6).
"""

import asyncio
import logging
import select
import sys
from collections.abc import Callable, Coroutine, Sized
from typing import Any, Final, NamedTuple, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from fluidmcp.gateway.calls.observer import ANSWERED, NOT_ANSWERED, Call, CallObserver
from fluidmcp.gateway.front.limits import ConnectionLimits

LINGER_SECONDS: Final = 5.0
"""How long, at most, a client that has its reply may go on sending what nobody wants."""

MAX_HEAD_BYTES: Final = 65536
"""What a head may have that is not complete: the parser of uvicorn keeps any length of it."""

_CLOSING: Final = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"


class Refusal(NamedTuple):
    """A reply that is the last one of its connection."""

    status: int
    head: bytes
    """The status line, and header fields of its own."""
    body: bytes


_TIMED_OUT: Final = Refusal(
    408,
    b"HTTP/1.1 408 Request Timeout\r\n",
    b'{"error":"request_timeout","message":"The request did not arrive in time.",'
    b'"hint":"Send it at once, or let the operator raise FMCP_HEADER_SECONDS or lower FMCP_MIN_BODY_RATE."}',
)
_BROKEN: Final = Refusal(
    500,
    b"HTTP/1.1 500 Internal Server Error\r\n",
    b'{"error":"internal_error","message":"Something went wrong inside the gateway."}',
)
_MALFORMED: Final = Refusal(
    400,
    b"HTTP/1.1 400 Bad Request\r\n",
    b'{"error":"malformed_request","message":"Invalid HTTP request received."}',
)
_HEAD_TOO_LARGE: Final = Refusal(
    431,
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n",
    b'{"error":"head_too_large","message":"The header fields of the request are too large."}',
)
_NO_ROOM: Final = Refusal(
    503,
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\n",
    b'{"error":"too_many_connections","message":"The gateway has as many connections as it may."}',
)


logger = logging.getLogger(__name__)


class _GentleTransport:
    """The transport as uvicorn's request cycle sees it: `close` lets the client read its reply first."""

    __slots__ = ("_close", "_transport", "is_leaving", "write")

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self._transport = transport
        self._close = close
        self.write = transport.write
        self.is_leaving = False

    def close(self) -> None:
        self._close()

    def is_closing(self) -> bool:
        return self.is_leaving or self._transport.is_closing()


class _PipelineFlow(FlowControl):
    """Reads nothing more while requests wait behind another one: whoever reads slowly could pile them up."""

    def __init__(self, transport: asyncio.Transport, pipeline: Sized) -> None:
        super().__init__(transport)
        self._pipeline = pipeline

    def resume_reading(self) -> None:
        if not self._pipeline:
            super().resume_reading()


class LimitedProtocol(HttpToolsProtocol):
    """A connection that `limits` may close."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: ConnectionLimits,
        observer: CallObserver | None = None,
    ) -> None:
        """`observer` is told of requests that are refused here."""
        super().__init__(config, server_state, app_state, _loop)
        self.limits = limits
        self._observer = observer
        self.address = ""
        self.is_between = True
        """Whether the parser is between two requests."""
        self._has_head = False
        """Whether the head of the request that arrives is complete."""
        self._has_cycle = False
        """Whether uvicorn's cycle is that of the request that arrives."""
        self._head_bytes = 0
        """What came since the piece of data in which a request began; of its head, as long as that is not complete."""
        self._is_thrown_away = False
        """Whether nothing that still comes is looked at."""
        self._is_refused = False
        """Whether a request was refused here; it is the last one that is looked at."""
        self._body_bytes = 0
        """What came of a body since it was looked at."""
        self.is_expected = False
        """Whether the end of the server waits for a request that may be on its way."""

    @property
    def is_answering(self) -> bool:
        """Whether a request has no complete reply yet."""
        # uvicorn's annotation leaves out that there is none before the first request.
        return bool(self.cycle) and not self.cycle.response_complete

    @property
    def is_waiting(self) -> bool:
        """As `WaitingConnection`. A request whose body still arrives waits for its client, whatever it is told."""
        return not self.is_between or not self.is_answering

    # -- what uvicorn calls ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wire = transport
        self.flow = _PipelineFlow(transport, self.pipeline)
        self._gentle = _GentleTransport(transport, self._close_gently)
        self.transport = cast(asyncio.Transport, self._gentle)
        self.address = self.client[0] if self.client else ""
        if self.limits.admit(self):
            self.limits.heads.begin(self)
        else:
            self._break_off(_NO_ROOM)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_expected = False
        self.limits.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_thrown_away:
            return
        self._head_bytes += len(data)
        super().data_received(data)
        limits = self.limits
        if self._is_thrown_away or self.transport.is_closing():
            return
        if self.is_between:
            if self._has_head:  # else nothing came but empty lines, before the first request
                limits.heads.end(self)
                limits.bodies.end(self)
                if not self.is_answering and self not in limits.idle:  # it had its reply long before it was complete
                    limits.idle.begin(self)
        elif not self._has_head:
            if self not in limits.heads:
                limits.idle.end(self)
                limits.heads.begin(self)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._reply_early(_HEAD_TOO_LARGE)
                self._close_gently()
        else:
            limits.heads.end(self)
            if self not in limits.bodies:
                limits.idle.end(self)
                self._body_bytes = 0
                limits.bodies.begin(self)
            self._body_bytes += len(data)

    def on_message_begin(self) -> None:
        self.is_between = self._has_head = self._has_cycle = self.is_expected = False
        self._head_bytes = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._has_head:  # else it is a trailer, which must not be taken for a header (RFC 9110 section 6.5.1)
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._has_head = True
        super().on_headers_complete()
        self._has_cycle = True
        if self.limits.state.is_leaving:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        self.is_between = True
        super().on_message_complete()

    def shutdown(self) -> None:
        """As uvicorn's: the reply that is being made is the last one. A request that arrives is answered too.

        So is one that has come and was not read yet, and the first one of a new connection, which its client may have
        sent before it could know: a balancer does not send those anew that it cannot tell to have no effect.
        """
        if self.is_answering:
            self.cycle.keep_alive = False
        elif self.is_between and self.limits.state.is_leaving and (not self.cycle or self._has_unread()):
            self.is_expected = True
            self.loop.call_later(self.limits.settings.expected_seconds, self._stop_expecting)
        elif self.is_between or not self.limits.state.is_leaving:
            self._wire.close()

    def _has_unread(self) -> bool:
        """Whether the system has something of the client, if only its end, that the event loop has not read."""
        opened = self._wire.get_extra_info("socket")
        if opened is None or opened.fileno() < 0:
            return False
        poll = select.poll()
        poll.register(opened.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def _stop_expecting(self) -> None:
        self.is_expected = False
        self.give_up_idle()

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self.start_task(cycle.run_asgi(app))
        else:
            self.limits.idle.begin(self)
        if self.flow.read_paused:
            self.flow.resume_reading()

    def send_400_response(self, msg: str) -> None:
        """As uvicorn's, where it cannot be taken for the reply to a request before, which may still be made.

        uvicorn takes a fault of ours in one of the parser's calls for a fault of the client, too.
        """
        fault = sys.exception()
        if isinstance(fault, httptools.HttpParserCallbackError) and not isinstance(
            fault.__context__, httptools.HttpParserError
        ):
            logger.exception("unexpected error while a request was read")
            self._break_off(_BROKEN)
            return
        is_free, is_in_body = self._is_next_reply_free, self._has_cycle and not self.is_between
        self._reply_early(_MALFORMED)
        if is_free or is_in_body:
            self.transport.close()
        else:
            self._is_thrown_away = True
            self.limits.heads.end(self)
            self.cycle.keep_alive = False

    # -- what the limits call ----------------------------------------------------------------------------------------

    def give_up_idle(self) -> None:
        """As `WaitingConnection`."""
        if self.is_between and not self.is_answering:
            self._wire.close()

    def give_up_head(self) -> None:
        """As `WaitingConnection`. Who sent nothing gets no answer; what the gateway does not read is not late."""
        if self.is_between:
            self._wire.close()
        elif self.flow.read_paused:
            self.limits.heads.begin(self)
        else:
            self._break_off(_TIMED_OUT)

    def check_body(self) -> None:
        """As `WaitingConnection`. While the gateway itself does not read, nobody is slow."""
        if self.is_between or self._is_thrown_away:
            return
        settings = self.limits.settings
        if not self.flow.read_paused and self._body_bytes < settings.min_body_rate * settings.body_seconds:
            self._break_off(_TIMED_OUT)
            return
        self._body_bytes = 0
        self.limits.bodies.begin(self)

    def make_room(self) -> None:
        """As `WaitingConnection`."""
        self._wire.close()

    # -- ends --------------------------------------------------------------------------------------------------------

    def start_task(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run something of this connection as uvicorn runs requests: its end waits for it."""
        task = self.loop.create_task(coroutine)
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    @property
    def _is_next_reply_free(self) -> bool:
        """Whether a reply that is written now is taken for that of the request that arrives: nothing else is owed."""
        if self._has_cycle and not self.is_between:
            return not self.cycle.response_started and not self.pipeline
        return not self.is_answering

    def _break_off(self, refusal: Refusal) -> None:
        """Close the connection in the midst of a request, with a reply where none has begun."""
        self._is_thrown_away = True
        self._reply_early(refusal)
        self._wire.close()

    def _reply_early(self, refusal: Refusal) -> None:
        is_free = self._is_next_reply_free and not self.transport.is_closing()
        fields = self._note_refusal(refusal.status if is_free else NOT_ANSWERED)
        if is_free:
            self._wire.write(refusal.head + fields + _CLOSING % (len(refusal.body), refusal.body))

    def _note_refusal(self, status: int) -> bytes:
        """Tell whoever looks on of the request that arrives, which is refused; the header fields that the reply gets.

        A request that the application has ends there: it is the application that tells of it.
        """
        if self._is_refused:
            return b""
        self._is_refused = True
        if self._has_cycle and not self.is_between and not (self.pipeline and self.pipeline[0][0] is self.cycle):
            if status != NOT_ANSWERED:
                cast(dict[str, Any], self.cycle.scope)[ANSWERED] = status
            return b""
        call = None if self._observer is None else self._open_refused(self._observer)
        if call is None:
            return b""
        call.refuse(status)
        return b"".join([b"%b: %b\r\n" % field for field in call.headers])

    def _open_refused(self, observer: CallObserver) -> Call:
        """What is known of the request that arrives. Its head is not read: it may be half of one, or anything."""
        return Call(observer, None, "", {})

    def _close_gently(self) -> None:
        """Close the connection, but not in the face of a client that still sends: it would not see its reply."""
        if self._gentle.is_leaving:
            return
        self._gentle.is_leaving = True
        if self.is_between or self._wire.is_closing() or not self._wire.can_write_eof():
            self._wire.close()
            return
        self._is_thrown_away = True
        self._gentle.write = _write_nothing  # the reply to another request of it may still be made
        self._wire.write_eof()
        self.pipeline.clear()
        self.flow.resume_reading()
        self.loop.call_later(LINGER_SECONDS, self._wire.close)


def _write_nothing(data: bytes | bytearray | memoryview) -> None:
    pass
