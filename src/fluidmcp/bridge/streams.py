"""The event streams of one handshake-era session: what waits for the client, and what it may ask for again.

A message goes onto exactly one stream (2025-11-25, "Multiple Connections"). Each stream numbers its events 1, 2, 3 ...
and keeps the newest ones within bounds: those that no reader has got yet, and those that a reader which lost its
connection may want once more ("Resumability and Redelivery"). In memory, for one event loop; no I/O and no tasks.
"""

import asyncio
import logging
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from fluidmcp.protocol.jsonrpc import Json

logger = logging.getLogger(__name__)

MAX_EVENTS: Final = 1000
"""Events kept per stream, waiting ones included."""

MAX_GENERAL_BYTES: Final = 1024 * 1024
"""Bytes kept by the general stream, which lives as long as its session and may never get a reader."""

MAX_REQUEST_BYTES: Final = 8 * 1024 * 1024
"""Bytes kept by the stream of one request while it is open."""

MAX_FINISHED_STREAMS: Final = 16
MAX_FINISHED_BYTES: Final = 4 * 1024 * 1024
"""What a session keeps of streams that have ended, in all."""

_EVENT_ID: Final = re.compile(r"(0|[1-9][0-9]{0,14})-(0|[1-9][0-9]{0,14})", re.ASCII)


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """Bounds on the memory of one session's streams. The newest event of a stream stays whatever its size."""

    max_events: int = MAX_EVENTS
    max_general_bytes: int = MAX_GENERAL_BYTES
    max_request_bytes: int = MAX_REQUEST_BYTES
    max_finished_streams: int = MAX_FINISHED_STREAMS
    max_finished_bytes: int = MAX_FINISHED_BYTES


DEFAULT_LIMITS: Final = StreamLimits()


ENOUGH_BYTES: Final = 65536
"""Of events that wait, for one write."""


class EventReader:
    """The one reader of a stream: iterates over (sequence number, message). Call `leave` when its client has gone.

    It finishes when the stream has ended and everything was read, when `leave` was called, and when a newer reader
    took its place.
    """

    __slots__ = ("_cursor", "_is_finished", "_stream", "_waiter")

    def __init__(self, stream: "EventStream", after: int) -> None:
        self._stream = stream
        self._cursor = after
        self._is_finished = False
        self._waiter: asyncio.Future[None] | None = None

    def __aiter__(self) -> "EventReader":
        return self

    async def __anext__(self) -> tuple[int, Json]:
        while not self._is_finished:
            event = self._stream.take_next(self, self._cursor)
            if event is not None:
                self._cursor = event[0]
                return event
            if not self._is_finished:
                self._waiter = asyncio.get_running_loop().create_future()
                try:
                    await self._waiter
                finally:
                    self._waiter = None
        raise StopAsyncIteration

    def take_waiting(self) -> list[tuple[int, Json]]:
        """What is there now, after what was read last; so much that one write of it is worth it, and not more."""
        taken: list[tuple[int, Json]] = []
        size = 0
        while size < ENOUGH_BYTES and not self._is_finished:
            event = self._stream.take_next(self, self._cursor)
            if event is None:
                break
            self._cursor = event[0]
            size += len(event[1])
            taken.append(event)
        return taken

    def leave(self) -> None:
        """Finish at once, without yielding more; a newer reader of the stream is not disturbed."""
        self._is_finished = True
        self._stream.forget_reader(self)
        self.wake()

    async def aclose(self) -> None:
        """`leave` under the name that `contextlib.aclosing` calls."""
        self.leave()

    def wake(self) -> None:
        """Look at the stream again: it has another event, or has ended."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class EventStream:
    """One stream of messages toward the client. `number` is unique within the session.

    It keeps at most `max_events` events and `max_bytes` bytes; beyond them the oldest go, whether read or not. The
    newest one always stays. `report` is called by `end`, and again when the stream has been read to its end.
    """

    def __init__(
        self, number: int, *, max_events: int, max_bytes: int, report: Callable[["EventStream"], None] | None = None
    ) -> None:
        self.number = number
        self.last_given = 0
        """The highest sequence number that a reader has got; 0 before the first."""
        self.dropped_count = 0
        """Events that went before any reader got them."""
        self.kept_bytes = 0
        self.is_ended = False
        self.is_read_to_end = False
        """A reader got everything that was kept, and came back to learn that there is no more."""
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._report = report
        self._kept: deque[Json] = deque()
        self._last_pushed = 0
        self._reader: EventReader | None = None

    @property
    def has_reader(self) -> bool:
        """Whether a reader stands by; one that waits for its client to take an event is one too."""
        return self._reader is not None

    @property
    def has_waiting(self) -> bool:
        """Whether something is kept that no reader has got."""
        return self._last_pushed > self.last_given

    def push(self, data: Json) -> None:
        """Add one JSON-RPC message on one line; after `end` it goes nowhere."""
        if self.is_ended:
            return
        self._last_pushed += 1
        self._kept.append(data)
        self.kept_bytes += len(data)
        self._drop_oldest()
        if self._reader is not None:
            self._reader.wake()

    def take_waiting(self) -> list[Json]:
        """Take out what no reader has got yet, oldest first, to send it another way; its numbers are given anew."""
        count = min(self._last_pushed - self.last_given, len(self._kept))
        taken = [self._kept.pop() for _ in range(count)]
        self._last_pushed -= count
        self.kept_bytes -= sum(map(len, taken))
        return taken[::-1]

    def end(self) -> None:
        """Nothing comes after: a reader finishes once it has read what is kept."""
        self.is_ended = True
        if self._reader is not None:
            self._reader.wake()
        if self._report is not None:
            self._report(self)

    def read(self, after: int | None = None) -> EventReader:
        """Read the events whose sequence number is above `after`, and wait for more; what is gone is passed over.

        Without `after`, begin with the first event that no reader has got. The reader takes the place of an earlier
        one from this call on, and holds it until it finishes or somebody calls its `leave`.

        Raises:
            ValueError: no event with the number `after` was ever given to a reader.
        """
        cursor = self.last_given if after is None else after
        if not 0 <= cursor <= self.last_given:
            raise ValueError(f"The stream has given {self.last_given} events; {after} is none of them.")
        self.leave()
        self._reader = EventReader(self, cursor)
        return self._reader

    def leave(self) -> None:
        """Make the current reader finish at once, without yielding more; nothing if there is none."""
        if self._reader is not None:
            self._reader.leave()

    def take_next(self, reader: EventReader, cursor: int) -> tuple[int, Json] | None:
        """The first kept event above `cursor`, or None. For the stream's reader, which finishes where none can come."""
        if cursor < self._last_pushed:
            first = self._last_pushed - len(self._kept) + 1
            sequence = max(cursor + 1, first)
            self.last_given = max(self.last_given, sequence)
            return sequence, self._kept[sequence - first]
        if self.is_ended:
            reader.leave()
            if not self.is_read_to_end:
                self.is_read_to_end = True
                if self._report is not None:
                    self._report(self)
        return None

    def forget_reader(self, reader: EventReader) -> None:
        """The reader has finished; nothing if another one has taken its place."""
        if self._reader is reader:
            self._reader = None

    def _drop_oldest(self) -> None:
        while len(self._kept) > 1 and (len(self._kept) > self._max_events or self.kept_bytes > self._max_bytes):
            sequence = self._last_pushed - len(self._kept) + 1
            self.kept_bytes -= len(self._kept.popleft())
            if sequence > self.last_given:
                self.dropped_count += 1
                if self.dropped_count == 1:
                    logger.warning("event stream %d is full and its client does not read; oldest dropped", self.number)


class SessionStreams:
    """All streams of one session. Those that have ended stay for a while, so that a client can resume them.

    Of the ended ones at most `max_finished_streams` with `max_finished_bytes` in all are kept; those that ended first
    go first. Only the one that ended last may stay beyond the bytes, until it has been read to its end.
    """

    def __init__(self, limits: StreamLimits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._last_number = 0
        self._is_closed = False
        self._open: dict[int, EventStream] = {}
        self._finished: dict[int, EventStream] = {}
        self._finished_bytes = 0
        self.general = self._make_stream(0, limits.max_general_bytes)
        """What belongs to no request, for the client's GET; it waits here until one comes."""

    def open_stream(self) -> EventStream:
        """A stream for what belongs to one request, its answer included; in a closed session one that has ended."""
        self._last_number += 1
        stream = self._make_stream(self._last_number, self._limits.max_request_bytes)
        if self._is_closed:
            stream.end()
        return stream

    def close_all(self) -> None:
        """The session has ended: readers finish with what is kept, and nothing can be resumed."""
        self._is_closed = True
        for stream in tuple(self._open.values()):
            stream.end()
        self._finished.clear()
        self._finished_bytes = 0

    def find(self, last_event_id: str) -> tuple[EventStream, int] | None:
        """The stream that gave an event this id, and its sequence number, for `EventStream.read`.

        None when the id is none, was never given in this session, or belongs to a stream that is no longer kept.
        """
        match = _EVENT_ID.fullmatch(last_event_id)
        if match is None:
            return None
        number, sequence = int(match[1]), int(match[2])
        stream = self._open.get(number) or self._finished.get(number)
        if stream is None or sequence > stream.last_given:
            return None
        return stream, sequence

    @staticmethod
    def encode_id(stream: EventStream, sequence: int) -> bytes:
        """The event id of one event, unique in the session; sequence number 0 stands before the first."""
        return b"%d-%d" % (stream.number, sequence)

    def _make_stream(self, number: int, max_bytes: int) -> EventStream:
        stream = EventStream(
            number, max_events=self._limits.max_events, max_bytes=max_bytes, report=self._receive_report
        )
        self._open[number] = stream
        return stream

    def _receive_report(self, stream: EventStream) -> None:
        """A stream has ended, or one that has ended was read."""
        if self._open.pop(stream.number, None) is not None and not self._is_closed:
            self._finished[stream.number] = stream
            self._finished_bytes += stream.kept_bytes
        while self._finished and self._has_too_much():
            oldest = next(iter(self._finished.values()))
            if len(self._finished) == 1 and not oldest.is_read_to_end:
                return
            del self._finished[oldest.number]
            self._finished_bytes -= oldest.kept_bytes

    def _has_too_much(self) -> bool:
        return (
            len(self._finished) > self._limits.max_finished_streams
            or self._finished_bytes > self._limits.max_finished_bytes
        )
