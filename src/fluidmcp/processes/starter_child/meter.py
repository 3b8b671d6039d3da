"""Who uses how much: limits that the kernel does not keep for a family of processes are looked at from time to time.

One look reads `/proc/PID/stat` of every process, which tells parents and memory at once. Looking never takes more than
a twentieth of one core.
"""

import contextlib
import errno
import os
import select
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from fluidmcp.processes.starter_child.families import Stat, group_by_parent, list_family, list_pids, read_table
from fluidmcp.processes.starter_child.held import BLOCK_BYTES, Held, HeldFiles
from fluidmcp.processes.starter_child.keeper import END_NOW
from fluidmcp.processes.starter_child.memory import find_memory_excess
from fluidmcp.processes.starter_child.order import THREADS_PER_PROCESS, Kept, Notice
from fluidmcp.processes.starter_child.priority import Priority
from fluidmcp.processes.starter_child.syscalls import CAP_SYS_NICE, has_capability

LOOK_SECONDS: Final = 0.5
_COST_FACTOR: Final = 20.0
_SLICE_SECONDS: Final = 0.005
_DISK_PAUSE_SECONDS: Final = 2.0
_MAX_FILES: Final = 200_000
"""Of one home; more files count as too much disk, however small they are."""
_PAUSE_FILES: Final = 256
MAX_PAUSE_SECONDS: Final = 5.0
"""Between two looks, whatever a look costs."""


@dataclass(slots=True)
class _Watched:
    """One process that is watched, with all that it starts."""

    kept: Kept
    handle: int
    """A pidfd: its number may be given to another process meanwhile."""
    priority: Priority
    held: Held = Held()
    count: Iterator[Held | None] | None = None
    is_over_memory: bool = False
    walk: Iterator[int | None] | None = None
    walked_at: float = -_DISK_PAUSE_SECONDS


class Meter:
    """The processes whose limits are watched. `tell` hears of one that went over a limit before it is ended."""

    def __init__(self, tell: Callable[[Notice], None]) -> None:
        self._tell = tell
        self._watched: dict[int, _Watched] = {}
        self._held_files = HeldFiles()
        self._turn: deque[int] = deque()
        """Whose nameless files are counted next."""
        self._can_raise = has_capability(CAP_SYS_NICE)
        self._looked_at = time.monotonic()
        self._next_look = 0.0

    def add(self, kept: Kept) -> None:
        """Watch a process, unless it is gone already.

        Raises:
            OSError: there is no descriptor left for it.
        """
        try:
            handle = os.pidfd_open(kept.pid)
        except ProcessLookupError:
            return
        if kept.pid in self._watched:
            # The one of before has ended, and its number was given anew.
            self._forget(kept.pid)
        self._watched[kept.pid] = _Watched(kept, handle, Priority(can_raise=self._can_raise))
        self._turn.append(kept.pid)

    def pause_seconds(self) -> float | None:
        """How long nothing has to be looked at; None: until a process is added."""
        if not self._watched:
            return None
        return max(0.0, self._next_look - time.monotonic())

    def look(self) -> None:
        """End whatever is over a limit. Where nothing can be read now, the next look is for it."""
        now = time.monotonic()
        if not self._watched or now < self._next_look:
            return
        # Processor time: on a busy machine a look takes longer and costs no more.
        began = time.process_time()
        seconds, self._looked_at = now - self._looked_at, now
        with contextlib.suppress(OSError):
            self._look_at_all(read_table(list_pids()), seconds)
        cost = time.process_time() - began
        self._next_look = time.monotonic() + min(MAX_PAUSE_SECONDS, max(LOOK_SECONDS, _COST_FACTOR * cost))

    def _look_at_all(self, table: dict[int, Stat], seconds: float) -> None:
        children = group_by_parent(table)
        families: dict[int, dict[int, Stat]] = {}
        for pid in list(self._watched):
            if pid in table:
                families[pid] = {member: table[member] for member in list_family(pid, children)}
            elif _has_ended(self._watched[pid].handle):
                self._forget(pid)
        for pid, family in families.items():
            watched = self._watched[pid]
            # The keeper inherits the processor time of orphans that ended.
            watched.priority.look({pid: table[pid], **family}, seconds)
            excess = _find_excess(watched, family) or _find_disk_excess(watched)
            if excess is not None:
                self._tell(excess)
                with contextlib.suppress(OSError):
                    signal.pidfd_send_signal(watched.handle, END_NOW)
        self._count_held(families)

    def _forget(self, pid: int) -> None:
        os.close(self._watched.pop(pid).handle)
        self._turn.remove(pid)

    def _count_held(self, families: dict[int, dict[int, Stat]]) -> None:
        """Count nameless files: of as many processes, in turn, as a few milliseconds allow."""
        began = time.monotonic()
        for _ in range(len(self._turn)):
            pid = self._turn[0]
            self._turn.rotate(-1)
            watched = self._watched[pid]
            if watched.count is None:
                folders = [stat.folder for stat in families.get(pid, {}).values()]
                watched.count = self._held_files.measure(folders, watched.kept.home)
            for held in watched.count:
                if held is not None:
                    watched.held, watched.count = held, None
                    break
                if time.monotonic() > began + _SLICE_SECONDS:
                    # A family with very many descriptors goes on at its next turn.
                    return


def _has_ended(handle: int) -> bool:
    """Whether a process has ended, by its pidfd; one that /proc does not show may run."""
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(0))


def _find_excess(watched: _Watched, family: Mapping[int, Stat]) -> Notice | None:
    pid, limits = watched.kept.pid, watched.kept.limits
    if len(family) > limits.processes:
        return Notice(pid, "processes", len(family), limits.processes)
    threads, threads_allowed = sum(stat.threads for stat in family.values()), limits.processes * THREADS_PER_PROCESS
    if threads > threads_allowed:
        return Notice(pid, "threads", threads, threads_allowed)
    used = find_memory_excess(family.values(), watched.held.memory_bytes, limits.memory_bytes)
    was_over, watched.is_over_memory = watched.is_over_memory, used is not None
    # Twice: between fork and exec a child shows all of its parent's memory as its own (vfork).
    return Notice(pid, "memory", used, limits.memory_bytes) if used is not None and was_over else None


def _find_disk_excess(watched: _Watched) -> Notice | None:
    """A few milliseconds of a walk through the home at each look; the outcome when it is at its end."""
    kept = watched.kept
    if kept.home is None:
        return None
    allowed, held = kept.limits.disk_bytes, watched.held.disk_bytes
    if held > allowed:
        return Notice(kept.pid, "disk", held, allowed)
    now = time.monotonic()
    if watched.walk is None:
        if now < watched.walked_at + _DISK_PAUSE_SECONDS:
            return None
        watched.walk = measure_folder(kept.home, allowed)
    for used in watched.walk:
        if used is not None:
            watched.walk, watched.walked_at = None, now
            used += held
            return Notice(kept.pid, "disk", used, allowed) if used > allowed else None
        if time.monotonic() > now + _SLICE_SECONDS:
            return None
    return None


def measure_folder(path: str, enough: int) -> Iterator[int | None]:
    """The bytes on disk below `path`, as the last value; None before that, now and then, to pause at.

    Stops where `enough` is passed. Links are not followed, and a file with several names counts once.
    """
    used = files = 0
    linked: set[tuple[int, int]] = set()
    waiting = [path]
    while waiting and used <= enough:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    files += 1
                    status = entry.stat(follow_symlinks=False)
                    if status.st_nlink == 1 or (status.st_dev, status.st_ino) not in linked:
                        used += status.st_blocks * BLOCK_BYTES
                    if status.st_nlink > 1:
                        linked.add((status.st_dev, status.st_ino))
                    if files % _PAUSE_FILES == 0:
                        yield None
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    if files > _MAX_FILES:
                        used = max(used, enough + 1)
                        break
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                # Deeper than a path can name: nobody has reason to, and what lies there cannot be counted.
                used = enough + 1
            continue
        yield None
    yield used
