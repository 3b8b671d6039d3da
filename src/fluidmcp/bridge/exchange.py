"""One request in flight on a channel, seen as a stream of events that ends with the answer."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, TypeAlias

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

    It is read in one of two ways: awaited event by event, or after `divert` pushed into a function.
    """

    __slots__ = (
        "_events",
        "_failure",
        "_sink",
        "_waiter",
        "client_token",
        "deadline",
        "is_done",
        "last_heard_at",
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
        self.deadline: asyncio.TimerHandle | None = None
        self.last_heard_at = 0.0
        """The event loop's time at the last sign of life; the time-out counts from it."""
        self._events: deque[Envelope] = deque()
        self._failure: FluidMCPError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._sink: Callable[[Event], None] | None = None

    def feed(self, event: Envelope) -> None:
        """Add an event; the answer is the last one."""
        if self.is_done:
            return
        if event.is_answer:
            self.is_done = True
        elif not self.wants_notifications:
            return
        elif len(self._events) >= MAX_WAITING_EVENTS:
            self.fail(SlowReaderError("The client reads more slowly than the server writes.", hint="Read faster."))
            return
        if self._sink is not None:
            self._stop_clock()
            self._sink(event)
            return
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
        events, self._events = self._events, deque()
        for event in events:
            sink(event)
        if self._failure is not None:
            failure, self._failure = self._failure, None
            sink(failure)

    async def next_event(self) -> Envelope:
        """The next event. After the answer (`event.is_answer`) there is none.

        Raises:
            FluidMCPError: the server process went away, or did not answer in time.
        """
        while not self._events:
            if self._failure is not None:
                raise self._failure
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._events.popleft()

    async def first_event(self, seconds: float) -> Envelope | None:
        """The next event, or None when nothing has come within `seconds`; raises like `next_event`."""
        if self._events or self._failure is not None:
            return await self.next_event()
        loop = asyncio.get_running_loop()
        self._waiter = waiter = loop.create_future()
        timer = loop.call_later(seconds, _settle, waiter)
        try:
            await waiter
        finally:
            self._waiter = None
            timer.cancel()
        return await self.next_event() if self._events or self._failure is not None else None

    async def answer(self) -> Envelope:
        """The answer, passing over notifications."""
        while True:
            event = await self.next_event()
            if event.is_answer:
                return event

    def _wake(self) -> None:
        self._stop_clock()
        if self._waiter is not None:
            _settle(self._waiter)

    def _stop_clock(self) -> None:
        if self.deadline is not None and self.is_done:
            self.deadline.cancel()
            self.deadline = None


def _settle(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
