"""Which server processes may start at the same time: few enough that each comes up in time, and fair.

Many interpreters that start at once on few processors would all time out, so there is a number of *places*. What a
place stands for is processor time: a start that uses none for a while (it waits for a download, for a remote, for ever)
gives its place back and goes on without one, and counts again from when it computes again.

Nobody waits long because of somebody else:

- An *owner* is a person, or a package whose callers nobody knows. However many places one owner has, or all owners of
  one package together, the others count at most half of all places as taken by it (one, of the usual two). So a single
  owner may have all places; whoever comes next starts at once beside it, which makes up to half as many starts again.
- Owners take turns (start-time fair queueing): one person's eight starts do not delay another person's one.

Pure scheduling: what a start is, it does not know; clock and measuring are passed in. It looks at the processes only
while a start waits, a few times a second, and spends no more than a twentieth of the time on it.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, Protocol

from fluidmcp.processes.pool.usage import processor_seconds

QUIET_SECONDS: Final = 1.5
"""A start that computes nothing for so long gives its place back."""
BUSY_SHARE: Final = 0.05
"""A start computes if it uses more than this part of one processor; one that only polls while it waits does not."""
LOOK_SECONDS: Final = 0.25
MAX_LOOKING_SHARE: Final = 0.05
SLOW_START_SECONDS: Final = 5.0
"""A start that goes on for so long is worth a word."""
MOVING_SECONDS: Final = 3.0
"""A process that has written to stderr within this time is at work, as far as anybody can tell."""

Measure = Callable[[Iterable[int]], Mapping[int, float]]
"""The processor time that processes and their descendants have used so far, in seconds; see processes/pool/usage."""


StartState = Literal["waiting", "starting", "installing"]
"""In the queue; on its way; on its way for a while, and it downloads, or says something."""


class StartProgress(NamedTuple):
    """How far a start is."""

    state: StartState
    seconds: float = 0.0
    """Since it got its place."""
    runner: str = ""
    """The command that downloads what it runs, such as `uvx`; empty where it is none."""


class Watched(Protocol):
    """A process as far as a start that goes on looks at it."""

    @property
    def pid(self) -> int: ...

    @property
    def stderr_reads(self) -> int: ...

    def stderr_tail(self) -> tuple[str, ...]: ...


@dataclass(slots=True, eq=False)
class StartReport:
    """What a start tells of itself while it goes on. Filled in by whoever makes a worker ready.

    Times are those of the event loop.
    """

    pid: int | None = None
    """The current process, whose processor time counts as that of the start; a start may try several."""
    stderr_tail: tuple[str, ...] = ()
    """The last lines of the process that was given up, redacted, from before it was told to end."""
    runner: str = ""
    """The command, where it is one that downloads what it runs: its work may take minutes and say nothing."""
    process: Watched | None = None
    """That of `pid`."""
    began_at: float | None = None
    """When it got its place; None while it waits for one."""
    wrote_at: float | None = None
    """When the process has last been seen to write to stderr."""

    def watch(self, process: Watched) -> None:
        """From here on the start is this process: the server, or a runner that installs it first."""
        self.process = process
        self.pid = process.pid

    def describe(self, now: float) -> StartProgress:
        if self.began_at is None:
            return StartProgress("waiting", runner=self.runner)
        seconds = now - self.began_at
        is_writing = self.wrote_at is not None and now - self.wrote_at < MOVING_SECONDS
        is_installing = seconds >= SLOW_START_SECONDS and (bool(self.runner) or is_writing)
        return StartProgress("installing" if is_installing else "starting", seconds, self.runner)


@dataclass(slots=True, eq=False)
class _Start:
    owner: Hashable
    package: str
    report: StartReport
    turn: int
    granted: asyncio.Future[None]
    has_place: bool = True
    pid: int | None = None
    used_seconds: float = 0.0
    looked_at: float = field(init=False, default=0.0)
    quiet_since: float = field(init=False, default=0.0)

    def begin(self, now: float) -> None:
        self.looked_at = self.quiet_since = now

    def look(self, used_seconds: float | None, now: float) -> None:
        """Decide whether it needs a place, from what its process has used so far; None: that is not known."""
        is_same = self.report.pid == self.pid
        before = self.used_seconds if is_same else 0.0
        # After a long time without a look nobody knows when it computed: little in all means little lately.
        allowance = BUSY_SHARE * min(now - self.looked_at, QUIET_SECONDS)
        # Less than before: a descendant has left the tree, and something goes on.
        if used_seconds is None or abs(used_seconds - before) > allowance or not (is_same or self.pid is None):
            self.has_place = True
            self.quiet_since = now
        elif now - self.quiet_since >= QUIET_SECONDS:
            self.has_place = False
        self.pid = self.report.pid
        self.used_seconds = used_seconds or 0.0
        self.looked_at = now


class StartGate:
    """Gives `places` to starts. For one event loop; `now` is monotonic."""

    def __init__(
        self, places: int, *, now: Callable[[], float] = time.monotonic, measure: Measure = processor_seconds
    ) -> None:
        self._places = places
        self._share = max(1, places // 2)
        self._now = now
        self._measure = measure
        self._waiting: dict[_Start, None] = {}
        self._running: dict[_Start, None] = {}
        self._turn = 0
        self._last_turns: dict[Hashable, int] = {}
        """The turn of each owner's last start, where that one is still to come or has just been."""
        self._timer: asyncio.TimerHandle | None = None
        self._next_look_at = 0.0

    @property
    def waiting_count(self) -> int:
        return len(self._waiting)

    @contextlib.asynccontextmanager
    async def place(self, owner: Hashable, package: str, report: StartReport) -> AsyncGenerator[None]:
        """A place to start something in, waited for as long as it takes; `report` says which process it is about."""
        granted = asyncio.get_running_loop().create_future()
        start = _Start(owner, package, report, self._take_turn(owner), granted)
        self._waiting[start] = None
        try:
            self._admit()
            await granted
            yield
        finally:
            self._waiting.pop(start, None)
            self._running.pop(start, None)
            self._admit()

    def change_owner(self, report: StartReport, owner: Hashable) -> None:
        """Somebody else waits for a start as well: if it still waits for a place, it is theirs from now on."""
        for start in self._waiting:
            if start.report is report:
                start.owner = owner
                start.turn = self._take_turn(owner)
        self._admit()

    def _take_turn(self, owner: Hashable) -> int:
        """One more than the owner's last start has, and not less than the one that was let in last."""
        turn = max(self._turn, self._last_turns.get(owner, -1) + 1)
        self._last_turns = {other: last for other, last in self._last_turns.items() if last >= self._turn}
        self._last_turns[owner] = turn
        return turn

    def _admit(self) -> None:
        """Let in whoever may start now, and look after the others later."""
        while admissible := [start for start in self._waiting if self._count_places_before(start) < self._places]:
            start = min(admissible, key=lambda start: start.turn)
            del self._waiting[start]
            self._running[start] = None
            self._turn = max(self._turn, start.turn)
            start.begin(self._now())
            if not start.granted.done():
                start.granted.set_result(None)
        if self._waiting and self._timer is None:
            delay = max(0.0, self._next_look_at - self._now())
            self._timer = asyncio.get_running_loop().call_later(delay, self._look)
        elif not self._waiting and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _count_places_before(self, start: _Start) -> int:
        """The places that count as taken for this start: of other owners and packages no more than their share."""
        owners: Counter[Hashable] = Counter()
        packages: Counter[str] = Counter()
        for other in self._running:
            if not other.has_place:
                continue
            if other.owner != start.owner and owners[other.owner] >= self._share:
                continue
            if other.package != start.package and packages[other.package] >= self._share:
                continue
            owners[other.owner] += 1
            packages[other.package] += 1
        return owners.total()

    def _look(self) -> None:
        """Find out which starts compute, and let in those for whom there is a place now."""
        self._timer = None
        began_at = self._now()
        used = self._measure([start.report.pid for start in self._running if start.report.pid is not None])
        now = self._now()
        for start in self._running:
            pid = start.report.pid
            start.look(None if pid is None else used.get(pid), now)
        self._next_look_at = now + max(LOOK_SECONDS, (now - began_at) / MAX_LOOKING_SHARE)
        self._admit()
