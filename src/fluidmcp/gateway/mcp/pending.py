"""Requests in flight: from an exchange to its one reply, without a task and without a future.

Whatever carries the HTTP gives a function to `deliver`, which gets the reply from the event loop's turn that read the
server's answer; or it awaits `wait`, which does the same with a future.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import TypeAlias

from msgspec import UNSET

from fluidmcp.bridge.exchange import Event, Exchange
from fluidmcp.bridge.session import encode_event_message
from fluidmcp.delays import Delays
from fluidmcp.errors import FluidMCPError
from fluidmcp.gateway.errors import answer_now, encode_rpc_error, rpc_error_reply
from fluidmcp.gateway.http import HttpReply, HttpRequest, HttpStream
from fluidmcp.protocol.jsonrpc import Envelope, Json, encode_answer
from fluidmcp.protocol.sse import encode_event

Answer: TypeAlias = HttpReply | HttpStream
OnReply: TypeAlias = Callable[[Answer], None]


class PendingReply:
    """The reply to a request whose first event decides its form: JSON for the answer, else an event stream.

    `finish` runs exactly once: when the request has its reply, when the stream that the reply is has ended, or when
    nobody waits any more.
    """

    __slots__ = ("_finish", "_on_reply", "_patience", "exchange", "request_id", "show_stderr")

    def __init__(
        self,
        exchange: Exchange,
        request_id: Json,
        finish: Callable[[], None],
        *,
        patience: "Patience | None" = None,
    ) -> None:
        """`patience`: how long the client may stay without a reply, where it takes an event stream."""
        self.exchange = exchange
        self.request_id = request_id
        self.show_stderr = False
        """The caller owns the process, so its last lines on stderr are the caller's to see."""
        self._finish = finish
        self._patience = patience
        self._on_reply: OnReply | None = None

    def deliver(self, on_reply: OnReply) -> None:
        """Call `on_reply` once with the reply: at once if it is there already. It must not raise."""
        self._on_reply = on_reply
        if self._patience is not None:
            self._patience.begin(self)
        self.exchange.take_next(self._receive)

    async def wait(self, request: HttpRequest) -> Answer:
        """The reply. A client that goes away meanwhile cancels the request, where its era says so."""
        waiter: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def settle(answer: Answer) -> None:
            if not waiter.done():
                waiter.set_result(answer)

        self.deliver(settle)
        if waiter.done():
            return waiter.result()
        end_watch = self._watch(request)
        try:
            return await waiter
        except asyncio.CancelledError:
            self.abandon()
            raise
        finally:
            if end_watch is not None:
                end_watch()

    def cancel(self) -> None:
        """The client went away. Nothing, unless its era says that this cancels the request."""

    def abandon(self) -> None:
        """Nobody waits for the reply any more."""
        if self._on_reply is not None:
            self._on_reply = None
            self._end_wait()
            self.exchange.take_next(None)
            self._finish()

    def lose_patience(self) -> None:
        """Begin an event stream, although nothing has been said."""
        self.exchange.take_next(None)
        on_reply, self._on_reply = self._on_reply, None
        if on_reply is not None:
            on_reply(answer_now(self._build, None))

    def _receive(self, event: Event) -> None:
        if self._patience is not None:
            self._patience.end(self)
        on_reply = self._on_reply
        if on_reply is not None:
            self._on_reply = None
            on_reply(answer_now(self._build, event))

    def _build(self, event: Event | None) -> Answer:
        if isinstance(event, FluidMCPError):
            reply = self.describe_failure(event)
        elif event is not None and event.method is UNSET:
            reply = self.describe_answer(event)
            if reply is None:
                return self.open_stream(event)
        else:
            return self.open_stream(event)
        self._finish()
        return reply

    def describe_answer(self, answer: Envelope) -> HttpReply | None:
        """The reply that an answer is; None where it is the only event of a stream."""
        return HttpReply(200, encode_answer(self.request_id, answer))

    def describe_failure(self, failure: FluidMCPError) -> HttpReply:
        return rpc_error_reply(failure, self.request_id, show_stderr=self.show_stderr)

    def open_stream(self, first: Envelope | None) -> HttpStream:
        """The stream that begins with an event, or with none yet."""
        return HttpStream(stream_exchange(self.exchange, self.request_id, first, self._finish))

    def _watch(self, request: HttpRequest) -> Callable[[], None] | None:
        return None

    def _end_wait(self) -> None:
        if self._patience is not None:
            self._patience.end(self)


Outcome: TypeAlias = HttpReply | HttpStream | PendingReply
"""What is known of a reply once its request is on its way."""

Patience: TypeAlias = Delays[PendingReply]
"""The requests that get an event stream when nothing has come for a while."""


def build_patience(seconds: float) -> Patience:
    return Delays(seconds, PendingReply.lose_patience)


async def stream_exchange(
    exchange: Exchange, request_id: Json, first: Envelope | None, finish: Callable[[], None]
) -> AsyncGenerator[bytes, None]:
    """Events until the answer; a failure becomes a JSON-RPC error, so that the stream always ends with one."""
    try:
        events = await exchange.next_events() if first is None else [first]
        while not events[-1].is_answer:  # nothing comes after it
            yield b"".join(encode_event(encode_event_message(event)) for event in events)
            events = await exchange.next_events()
        *notifications, answer = events
        texts = [encode_event_message(event) for event in notifications]
        yield b"".join(map(encode_event, (*texts, encode_answer(request_id, answer))))
    except FluidMCPError as error:
        yield encode_event(encode_rpc_error(error, request_id))
    finally:
        finish()
