"""What the gateway remembers for minutes, in this process only."""

import heapq
import time
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")


class StoreFullError(Exception):
    """The store holds as many entries as it may; nothing was written."""


class Store(Protocol):
    """Small values under keys that are digests, each with a time to live in seconds."""

    async def put(self, key: str, value: bytes, *, ttl_seconds: float) -> None:
        """Write or replace. A time to live that is not positive removes the key.

        Raises StoreFullError when the store is full of entries that still live.
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

    def __len__(self) -> int:
        return len(self._values)

    async def put(self, key: str, value: bytes, *, ttl_seconds: float) -> None:
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
