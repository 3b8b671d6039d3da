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

    def __init__(self, wire_id: int, method: str, client_token: Json | None, wants_notifications: bool) -> None:
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
        self._on_event: Callable[[Event], None] | None = None
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
        if self.is_done and self.clock is not None:
            self.clock.end(self)
            self.clock = None
        if self._sink is not None:
            self._sink(event)
            return
        on_event = self._on_event
        if on_event is not None:
            self._on_event = None
            on_event(event)
            return
        if self._events is None:
            self._events = deque()
        self._events.append(event)

    def fail(self, failure: FluidMCPError) -> None:
        """End the exchange without an answer; what came before is still read first."""
        if self.is_done:
            return
        self.is_done = True
        if self._sink is not None:
            self._stop_clock()
            self._sink(failure)
            return
        self._stop_clock()
        on_event, self._on_event = self._on_event, None
        if on_event is not None:
            on_event(failure)
        else:
            self._failure = failure

    def divert(self, sink: Callable[[Event], None]) -> None:
        """From here on hand every event to `sink`, waiting ones first; nobody may await this exchange any more."""
        self._sink = sink
        events, self._events = self._events, None
        for event in events or ():
            sink(event)
        if self._failure is not None:
            failure, self._failure = self._failure, None
            sink(failure)

    def take_next(self, on_event: Callable[[Event], None] | None) -> None:
        """Call `on_event` once with the next event, or the failure that ends it: now if it is there. None: no more.

        It is called by whatever the server said, in the midst of reading it: it must not raise.
        """
        self._on_event = None
        if on_event is None:
            return
        if self._events:
            on_event(self._events.popleft())
        elif self._failure is not None:
            on_event(self._failure)
        else:
            self._on_event = on_event

    async def next_event(self) -> Envelope:
        """The next event. After the answer (`event.is_answer`) there is none.

        Raises:
            FluidMCPError: the server process went away, or did not answer in time.
        """
        waiter: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        self.take_next(partial(self._settle, waiter))
        try:
            event = await waiter
        except asyncio.CancelledError:
            self._on_event = None
            if waiter.done() and not waiter.cancelled():
                self._keep(waiter.result())
            raise
        if isinstance(event, FluidMCPError):
            raise event
        return event

    async def next_events(self) -> list[Envelope]:
        """The next event and all that wait behind it; raises like `next_event`."""
        events = [await self.next_event()]
        if self._events:
            events += self._events
            self._events = None
        return events

    async def answer(self) -> Envelope:
        """The answer, passing over notifications."""
        while True:
            event = await self.next_event()
            if event.is_answer:
                return event

    def _settle(self, waiter: "asyncio.Future[Event]", event: Event) -> None:
        if waiter.done():  # whoever waited was cancelled in the same turn of the event loop
            self._keep(event)
        else:
            waiter.set_result(event)

    def _keep(self, event: Event) -> None:
        """Put back what nobody took."""
        if isinstance(event, FluidMCPError):
            self._failure = event
        else:
            self._events = deque((event, *(self._events or ())))

    def _stop_clock(self) -> None:
        if self.clock is not None and self.is_done:
            self.clock.end(self)
            self.clock = None
