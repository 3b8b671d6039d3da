"""How long a package that keeps failing is left alone. Pure bookkeeping: the clock and the dice are passed in."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass

MAX_DELAY_SECONDS = 60.0
JITTER = 0.25
"""The part of a delay that chance takes off, so that many keys do not start again in step."""
FORGET_AFTER_SECONDS = 300.0
MAX_ENTRIES = 4096


@dataclass(slots=True)
class _Failures:
    count: int
    blocked_until: float
    reason: str


class Backoff:
    """Counts failures in a row per key: the first restart is immediate, then 1, 2, 4 ... 60 seconds."""

    def __init__(self, *, now: Callable[[], float], random: Callable[[], float]) -> None:
        self._now = now
        self._random = random
        self._failures: dict[Hashable, _Failures] = {}

    def __len__(self) -> int:
        return len(self._failures)

    def record_failure(self, key: Hashable, reason: str) -> None:
        previous = self._failures.pop(key, None)
        now = self._now()
        count = 1
        if previous is not None and now < previous.blocked_until + FORGET_AFTER_SECONDS:
            count = previous.count + 1
        delay = 0.0
        if count > 1:
            # The exponent is bounded so that the power cannot grow without end.
            delay = min(MAX_DELAY_SECONDS, 2.0 ** min(count - 2, 16)) * (1 - JITTER * self._random())
        self._failures[key] = _Failures(count, now + delay, reason)
        if len(self._failures) > MAX_ENTRIES:
            self._forget_oldest()

    def record_success(self, key: Hashable) -> None:
        self._failures.pop(key, None)

    def remaining_seconds(self, key: Hashable) -> tuple[float, str]:
        """Seconds until the next start is allowed (0.0: now) and why the last one failed."""
        failures = self._failures.get(key)
        if failures is None:
            return 0.0, ""
        return max(0.0, failures.blocked_until - self._now()), failures.reason

    def _forget_oldest(self) -> None:
        """Entries are in the order of their last failure; the first one has waited longest."""
        del self._failures[next(iter(self._failures))]
