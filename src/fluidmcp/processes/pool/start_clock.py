"""How long a start may take: a process that neither says nor does anything hangs, and one that is at work may go on.

Each start has two limits. It is given up when nothing has moved for the start time-out, and at the latest after the
install time-out. What moves is what can be seen from outside: bytes on stderr; where the command is a runner, which
may download without a word, processor time of its process tree too (another server that computes and says nothing has
only the start time-out). Network is not seen by itself: who downloads computes.

One timer looks at all starts, about once a second, and spends no more than a twentieth of the time on it.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Final

from fluidmcp.errors import ServerTimeoutError
from fluidmcp.processes.pool.starts import MAX_LOOKING_SHARE, Measure, StartReport

LOOK_SECONDS: Final = 1.0
MIN_LOOK_SECONDS: Final = 0.02
LOOKS: Final = 20
"""How often a start is looked at within its start time-out, at least."""
WORK_SECONDS: Final = 0.1
"""So much processor time is work: what only waits uses less within a start time-out."""


@dataclass(slots=True, eq=False)
class _Watch:
    report: StartReport
    limit: asyncio.Timeout
    quiet_seconds: float
    total_seconds: float
    began_at: float
    moved_at: float
    has_moved: bool = False
    is_over: bool = False
    """Whether it is being ended, which takes a moment."""
    is_quiet: bool = False
    """Whether nothing has moved for too long."""
    pid: int | None = None
    stderr_reads: int = 0
    used_seconds: float = 0.0
    """At the last movement."""

    def look(self, used_seconds: float | None, now: float) -> None:
        """See what has moved, and end the start when that was too long ago. `used_seconds` is known of runners only."""
        if self.is_over:
            return
        report = self.report
        if report.pid != self.pid:
            if self.pid is not None:  # another process after the first one
                self._note_movement(now)
            self.pid, self.stderr_reads, self.used_seconds = report.pid, 0, 0.0
        reads = 0 if report.process is None else report.process.stderr_reads
        if reads != self.stderr_reads:
            self.stderr_reads = reads
            self._note_movement(now)
            report.wrote_at = now
        # It falls when a descendant leaves the tree: then something goes on too.
        if used_seconds is not None and abs(used_seconds - self.used_seconds) >= WORK_SECONDS:
            self.used_seconds = used_seconds
            self._note_movement(now)
        self.is_quiet = now >= self.moved_at + self.quiet_seconds
        self.is_over = self.is_quiet or now >= self.began_at + self.total_seconds
        if self.is_over:
            self.limit.reschedule(now)

    def build_error(self, package: str, setting: str) -> ServerTimeoutError:
        report = self.report
        tail = report.stderr_tail or (() if report.process is None else report.process.stderr_tail())
        if not self.is_quiet:
            return ServerTimeoutError(
                f"The server of '{package}' was still installing or loading after {self.total_seconds:g} seconds.",
                why="Something moved, but it did not answer the handshake.",
                hint="Try again: what is downloaded is kept. Or raise FMCP_INSTALL_TIMEOUT_SECONDS.",
                stderr_tail=tail,
            )
        why = f"It had {self.quiet_seconds:g} seconds to start and answer the handshake."
        if self.has_moved:
            why = f"It neither said nor did anything for {self.quiet_seconds:g} seconds, and has not answered."
        return ServerTimeoutError(
            f"The server of '{package}' did not become ready in time.",
            why=why,
            hint=f"Start it once by hand to see what it waits for, or raise {setting}.",
            stderr_tail=tail,
        )

    def _note_movement(self, now: float) -> None:
        self.moved_at = now
        self.has_moved = True


class StartClock:
    """Ends starts in which nothing moves. For one event loop; `now` is monotonic, to see what looking costs."""

    def __init__(self, *, now: Callable[[], float], measure: Measure) -> None:
        self._now = now
        self._measure = measure
        self._watches: dict[_Watch, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._look_at = 0.0

    @contextlib.asynccontextmanager
    async def limit(
        self, package: str, report: StartReport, *, quiet_seconds: float, total_seconds: float, setting: str
    ) -> AsyncGenerator[None]:
        """Bound what happens inside: by `quiet_seconds` without movement, and by `total_seconds`, if that is more.

        `setting` is what an operator raises to have more of the first.

        Raises:
            ServerTimeoutError: one of them is over; the block has been cancelled.
        """
        loop = asyncio.get_running_loop()
        report.began_at = now = loop.time()
        limit = asyncio.timeout(None)
        watch = _Watch(report, limit, quiet_seconds, max(quiet_seconds, total_seconds), now, now)
        try:
            async with limit:
                self._watches[watch] = None
                self._arm(0.0)
                yield
        except TimeoutError as exc:
            if not limit.expired():
                raise
            raise watch.build_error(package, setting) from exc
        finally:
            self._watches.pop(watch, None)
            if not self._watches and self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def _arm(self, cost_seconds: float) -> None:
        """Look again soon: earlier than was meant where a start has come that has little time."""
        loop = asyncio.get_running_loop()
        shortest = min(watch.quiet_seconds for watch in self._watches)
        delay = max(min(LOOK_SECONDS, shortest / LOOKS), MIN_LOOK_SECONDS, cost_seconds / MAX_LOOKING_SHARE)
        look_at = loop.time() + delay
        if self._timer is not None:
            if self._look_at <= look_at:
                return
            self._timer.cancel()
        self._look_at = look_at
        self._timer = loop.call_later(delay, self._look)

    def _look(self) -> None:
        self._timer = None
        began_at = self._now()
        runners = [watch.report.pid for watch in self._watches if watch.report.runner and watch.report.pid is not None]
        used = self._measure(runners)
        cost_seconds = self._now() - began_at
        now = asyncio.get_running_loop().time()
        for watch in self._watches:
            pid = watch.report.pid
            watch.look(None if pid is None else used.get(pid), now)
        if self._watches:
            self._arm(cost_seconds)
