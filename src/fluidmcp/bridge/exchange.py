"""One request in flight on a channel, seen as a stream of events that ends with the answer."""

import asyncio
from collections import deque
from typing import Final

from fluidmcp.errors import FluidMCPError, ServerProcessError
from fluidmcp.protocol.jsonrpc import Envelope, Json

MAX_WAITING_EVENTS: Final = 1000
"""Notifications kept for a client that reads slowly; beyond them the request fails instead of the gateway's memory."""


class SlowReaderError(ServerProcessError):
    code = "slow_reader"


class Exchange:
    """Events of one request: notifications, then the answer. Fed by the channel, read by one reader."""

    __slots__ = (
        "_events",
        "_failure",
        "_waiter",
        "client_token",
        "deadline",
        "is_done",
        "wants_notifications",
        "wire_id",
    )

    def __init__(self, wire_id: int, *, client_token: Json | None, wants_notifications: bool) -> None:
        self.wire_id = wire_id
        self.client_token = client_token
        """The progress token the client chose; on the wire ours stands in its place."""
        self.wants_notifications = wants_notifications
        self.is_done = False
        self.deadline: asyncio.TimerHandle | None = None
        self._events: deque[Envelope] = deque()
        self._failure: FluidMCPError | None = None
        self._waiter: asyncio.Future[None] | None = None

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
        self._events.append(event)
        self._wake()

    def fail(self, failure: FluidMCPError) -> None:
        """End the exchange without an answer; what came before is still read first."""
        if not self.is_done:
            self.is_done = True
            self._failure = failure
            self._wake()

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

    async def answer(self) -> Envelope:
        """The answer, passing over notifications."""
        while True:
            event = await self.next_event()
            if event.is_answer:
                return event

    def _wake(self) -> None:
        if self.deadline is not None and self.is_done:
            self.deadline.cancel()
            self.deadline = None
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
