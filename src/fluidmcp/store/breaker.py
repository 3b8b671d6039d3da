"""Nobody waits for what has just been waited for in vain."""

from collections.abc import Callable
from typing import Final

PAUSE_SECONDS: Final = 1.0
"""How long nobody tries after somebody's time was up."""


class Breaker:
    """After a time-out, nobody tries for PAUSE_SECONDS; then one does, and the others wait for how it ends.

    `longest_seconds` is how long a try may take. One that ends untold costs the others that time at most.
    """

    def __init__(self, *, longest_seconds: float, now: Callable[[], float]) -> None:
        self._longest_seconds = longest_seconds
        self._now = now
        self._pauses_until: float | None = None
        self._answered_at = float("-inf")

    def begin(self) -> float | None:
        """When this try begins; None: not now."""
        now = self._now()
        if self._pauses_until is not None:
            if now < self._pauses_until:
                return None
            self._pauses_until = now + self._longest_seconds
        return now

    def answer(self) -> None:
        """An answer came, of whatever kind."""
        self._answered_at = self._now()
        self._pauses_until = None

    def time_out(self, began_at: float) -> None:
        """None came to the try that began then. An answer since says more than that."""
        if began_at >= self._answered_at:
            self._pauses_until = self._now() + PAUSE_SECONDS
