"""What the gateway remembers for minutes: what every store does, and the one that is in this process only."""

import asyncio
import heapq
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from fluidmcp.errors import StoreUnavailableError

T = TypeVar("T")


class StoreFullError(Exception):
    """The store holds as many entries as it may; nothing was written."""


class LockLostError(Exception):
    """The lock ended before the work under it did, and somebody else may have it; nothing was written."""


@dataclass(frozen=True, slots=True)
class Fence:
    """Whose turn it is: what the holder of the lock of `key` writes with. `holder` is of one turn alone."""

    key: str
    holder: str = field(repr=False)


class Store(Protocol):
    """Small values under keys that are digests, each with a time to live in seconds.

    A store that several gateways share raises StoreUnavailableError, from every method, when it does not answer.
    """

    async def put(self, key: str, value: bytes, *, ttl_seconds: float, fence: Fence | None = None) -> None:
        """Write or replace. A time to live that is not positive removes the key.

        Raises:
            StoreFullError: the store is full of entries that still live.
            LockLostError: the lock that `fence` stands for is over.
        """
        ...

    async def get(self, key: str) -> bytes | None: ...

    async def take(self, key: str) -> bytes | None:
        """Remove and return the value; if several callers take it at once, exactly one gets it."""
        ...

    async def count(self, key: str, *, window_seconds: float) -> int:
        """Count one event under `key`; the number of events since the window of this key opened.

        Raises StoreFullError when as many keys are being counted as the store may hold.
        """
        ...

    def lock(self, key: str, *, ttl_seconds: float, wait_seconds: float) -> AbstractAsyncContextManager[Fence]:
        """Be the only one who works under `key`, in all gateways that share the store.

        A holder who does not come back loses the lock after `ttl_seconds`; what it still writes with its fence is then
        refused.

        Raises:
            StoreUnavailableError: others had the lock all the time, for `wait_seconds`.
            StoreFullError: there is no room for the lock.
        """
        ...


class _Expiring(Generic[T]):
    """A bounded dictionary whose entries end. Each entry costs a few steps in its whole life, never one per call."""

    def __init__(self, *, max_entries: int, now: Callable[[], float]) -> None:
        self._max_entries = max_entries
        self._now = now
        self._entries: dict[str, tuple[float, T]] = {}
        self._ends: list[tuple[float, str]] = []

    def __len__(self) -> int:
        self._drop_expired()
        return len(self._entries)

    def get(self, key: str) -> tuple[float, T] | None:
        entry = self._entries.get(key)
        return None if entry is None or entry[0] <= self._now() else entry

    def pop(self, key: str) -> tuple[float, T] | None:
        entry = self._entries.pop(key, None)
        return None if entry is None or entry[0] <= self._now() else entry

    def set(self, key: str, value: T, *, ends_at: float) -> None:
        self._drop_expired()
        old = self._entries.get(key)
        if old is None and len(self._entries) >= self._max_entries:
            raise StoreFullError
        self._entries[key] = (ends_at, value)
        if old is None or old[0] != ends_at:
            heapq.heappush(self._ends, (ends_at, key))
            # Taken and replaced entries leave their old ends behind; do not let these outgrow what lives.
            if len(self._ends) > 2 * len(self._entries) + 64:
                self._ends = [(end, name) for name, (end, _) in self._entries.items()]
                heapq.heapify(self._ends)

    def _drop_expired(self) -> None:
        now = self._now()
        while self._ends and self._ends[0][0] <= now:
            _, key = heapq.heappop(self._ends)
            entry = self._entries.get(key)
            if entry is not None and entry[0] <= now:
                del self._entries[key]


class MemoryStore:
    """A bounded dictionary with times to live. Lost at restart, which is what its users are promised."""

    def __init__(self, *, max_entries: int, now: Callable[[], float] = time.monotonic) -> None:
        self.change_count = 0
        """How often a value was written or removed."""
        self._now = now
        self._values = _Expiring[bytes](max_entries=max_entries, now=now)
        self._counts = _Expiring[int](max_entries=max_entries, now=now)
        self._locks: dict[str, _Lock] = {}

    def __len__(self) -> int:
        return len(self._values)

    async def put(self, key: str, value: bytes, *, ttl_seconds: float, fence: Fence | None = None) -> None:
        # Locks of this process end with their holders only: a fence always holds.
        self.change_count += 1
        if ttl_seconds <= 0:
            self._values.pop(key)
            return
        self._values.set(key, value, ends_at=self._now() + ttl_seconds)

    async def get(self, key: str) -> bytes | None:
        entry = self._values.get(key)
        return None if entry is None else entry[1]

    async def take(self, key: str) -> bytes | None:
        self.change_count += 1
        entry = self._values.pop(key)
        return None if entry is None else entry[1]

    async def count(self, key: str, *, window_seconds: float) -> int:
        ends_at, number = self._counts.get(key) or (self._now() + window_seconds, 0)
        self._counts.set(key, number + 1, ends_at=ends_at)
        return number + 1

    @asynccontextmanager
    async def lock(self, key: str, *, ttl_seconds: float, wait_seconds: float) -> AsyncGenerator[Fence]:
        lock = self._locks.setdefault(key, _Lock())
        lock.users += 1
        try:
            try:
                async with asyncio.timeout(wait_seconds):
                    await lock.turn.acquire()
            except TimeoutError:
                raise busy() from None
            try:
                yield Fence(key, "")
            finally:
                lock.turn.release()
        finally:
            lock.users -= 1
            if not lock.users:
                del self._locks[key]


class _Lock:
    """`users` have it or wait for it."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.users = 0


def busy() -> StoreUnavailableError:
    """What is raised to who waited for a lock too long."""
    return StoreUnavailableError(
        "Somebody else is at this already", why="Their turn takes longer than expected.", hint="Try again in a moment."
    )
