"""One request in flight on a channel, seen as a stream of events that ends with the answer."""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, TypeAlias

from fluidmcp.delays import Delays
from fluidmcp.errors import FluidMCPError, ServerProcessError
from fluidmcp.protocol.jsonrpc import Envelope, Json

MAX_WAITING_EVENTS: Final = 1000
"""Events kept for a client that reads slowly; beyond them the request fails instead of the gateway's memory."""

Event: TypeAlias = Envelope | FluidMCPError
"""A notification, a question of the server, the answer, or the failure that takes the answer's place."""


class SlowReaderError(ServerProcessError):
    code = "slow_reader"


class Exchange:
    """Events of one request: notifications and questions, then the answer. Fed by the channel, read by one reader.

    It is read in one of two ways: taken event by event, or after `divert` pushed into a function.
    """

    __slots__ = (
        "_events",
        "_failure",
        "_on_event",
        "_sink",
        "client_token",
        "clock",
        "is_done",
        "method",
        "subscription_id",
        "translate",
        "wants_notifications",
        "wire_id",
    )

    def __init__(self, wire_id: int, method: str, *, client_token: Json | None, wants_notifications: bool) -> None:
        self.wire_id = wire_id
        """The id on the wire; another one takes its place when the request is sent again with answers in it."""
        self.method = method
        self.client_token = client_token
        """The progress token the client chose; on the wire ours stands in its place."""
        self.subscription_id: Json | None = None
        """For `subscriptions/listen`: the client's id of the request, which marks every message of the stream."""
        self.wants_notifications = wants_notifications
        self.translate: Callable[[Envelope], Envelope | None] | None = None
        """Turns the server's answer into the client's. None as its outcome: there is no answer yet."""
        self.is_done = False
        self.clock: Delays[Exchange] | None = None
        """Where its request timeout is counted, from the last sign of life; None while it does not count."""
        self._events: deque[Envelope] | None = None
        self._failure: FluidMCPError | None = None
        self._on_event: Callable[[], None] | None = None
        self._sink: Callable[[Event], None] | None = None

    def feed(self, event: Envelope) -> None:
        """Add an event; the answer is the last one."""
        if self.is_done:
            return
        if event.is_answer:
            self.is_done = True
        elif not self.wants_notifications:
            return
        elif self._events is not None and len(self._events) >= MAX_WAITING_EVENTS:
            self.fail(SlowReaderError("The client reads more slowly than the server writes.", hint="Read faster."))
            return
        if self._sink is not None:
            self._stop_clock()
            self._sink(event)
            return
        if self._events is None:
            self._events = deque()
        self._events.append(event)
        self._wake()

    def fail(self, failure: FluidMCPError) -> None:
        """End the exchange without an answer; what came before is still read first."""
        if self.is_done:
            return
        self.is_done = True
        if self._sink is not None:
            self._stop_clock()
            self._sink(failure)
            return
        self._failure = failure
        self._wake()

    def divert(self, sink: Callable[[Event], None]) -> None:
        """From here on hand every event to `sink`, waiting ones first; nobody may await this exchange any more."""
        self._sink = sink
        events, self._events = self._events, None
        for event in events or ():
            sink(event)
        if self._failure is not None:
            failure, self._failure = self._failure, None
            sink(failure)

    def take(self) -> Event | None:
        """The next event, or the failure that ends it; None when nothing has come."""
        return self._events.popleft() if self._events else self._failure

    def notify(self, on_event: Callable[[], None] | None) -> None:
        """Call `on_event` once when there is something to take, now if there is; None: nobody any more.

        It is called by whatever the server said, in the midst of reading it: it must not raise.
        """
        self._on_event = on_event
        if self._events or self._failure is not None:
            self._wake()

    async def next_event(self) -> Envelope:
        """The next event. After the answer (`event.is_answer`) there is none.

        Raises:
            FluidMCPError: the server process went away, or did not answer in time.
        """
        while True:
            event = self.take()
            if isinstance(event, FluidMCPError):
                raise event
            if event is not None:
                return event
            waiter = asyncio.get_running_loop().create_future()
            self._on_event = partial(_settle, waiter)
            try:
                await waiter
            finally:
                self._on_event = None

    async def answer(self) -> Envelope:
        """The answer, passing over notifications."""
        while True:
            event = await self.next_event()
            if event.is_answer:
                return event

    def _wake(self) -> None:
        self._stop_clock()
        on_event, self._on_event = self._on_event, None
        if on_event is not None:
            on_event()

    def _stop_clock(self) -> None:
        if self.clock is not None and self.is_done:
            self.clock.end(self)
            self.clock = None


def _settle(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
