"""Many waits of one length: one timer for all of them, and two steps in a dictionary for each."""

import asyncio
import time
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

T = TypeVar("T", bound=Hashable)

MIN_TIMER_SECONDS: Final = 0.01
"""Not less than the resolution of the event loop's timers, or a timer would turn in place."""


class Delays(Generic[T]):
    """Calls `on_due` with whatever has been in here for `seconds`, once; it is not in here any more then.

    All waits are equally long, so the one that began first ends first. For one event loop; `on_due` must not raise.
    """

    __slots__ = ("_begun_at", "_on_due", "_timer", "seconds")

    def __init__(self, seconds: float, on_due: Callable[[T], None]) -> None:
        self.seconds = seconds
        self._on_due = on_due
        self._begun_at: dict[T, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._begun_at)

    def __contains__(self, item: T) -> bool:
        return item in self._begun_at

    def begin(self, item: T) -> None:
        """Let the wait of `item` begin now; one that had begun before begins anew."""
        self._begun_at.pop(item, None)  # the order is that of the beginnings
        self._begun_at[item] = time.monotonic()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self.seconds, self._ring)

    def end(self, item: T) -> None:
        """Forget `item`, whether it waits or not."""
        self._begun_at.pop(item, None)

    def begun_at(self, item: T) -> float | None:
        """When the wait of `item` began, by the monotonic clock; None where it does not wait."""
        return self._begun_at.get(item)

    def take_oldest(self) -> T | None:
        """Remove and return what has waited longest; None where nothing waits."""
        item = next(iter(self._begun_at), None)
        if item is not None:
            del self._begun_at[item]
        return item

    def clear(self) -> None:
        """Forget everything: the event loop holds nothing of it any more."""
        self._begun_at.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        """Rings while something waits, moved on to the oldest; what ended meanwhile costs nothing."""
        self._timer = None
        now = time.monotonic()
        while self._begun_at:
            item, begun_at = next(iter(self._begun_at.items()))
            remaining_seconds = begun_at + self.seconds - now
            if remaining_seconds > 0:
                if self._timer is not None:  # `on_due` has begun a wait
                    self._timer.cancel()
                delay = max(remaining_seconds, MIN_TIMER_SECONDS)
                self._timer = asyncio.get_running_loop().call_later(delay, self._ring)
                return
            del self._begun_at[item]
            self._on_due(item)
