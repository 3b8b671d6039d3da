"""Who uses how much: limits that the kernel does not keep for a family of processes are looked at from time to time.

One look reads `/proc/PID/stat` of every process, which tells parents and memory at once. Looking never takes more than
a twentieth of one core.
"""

import contextlib
import errno
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from fluidmcp.processes.starter_child.families import Stat, group_by_parent, list_family, read_table
from fluidmcp.processes.starter_child.held import Held, HeldFiles
from fluidmcp.processes.starter_child.keeper import END_NOW
from fluidmcp.processes.starter_child.order import THREADS_PER_PROCESS, Kept, Notice
from fluidmcp.processes.starter_child.priority import Priority
from fluidmcp.processes.starter_child.syscalls import CAP_SYS_NICE, has_capability

LOOK_SECONDS: Final = 0.5
_COST_FACTOR: Final = 20.0
_SLICE_SECONDS: Final = 0.005
_DISK_PAUSE_SECONDS: Final = 2.0
_MAX_FILES: Final = 200_000
"""Of one home; more files count as too much disk, however small they are."""
_BLOCK_BYTES: Final = 512


@dataclass(slots=True)
class _Watched:
    """One process that is watched, with all that it starts."""

    kept: Kept
    handle: int
    """A pidfd: its number may be given to another process meanwhile."""
    priority: Priority
    held: Held = Held()
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
        self._watched[kept.pid] = _Watched(kept, handle, Priority(can_raise=self._can_raise))
        self._turn.append(kept.pid)

    def pause_seconds(self) -> float | None:
        """How long nothing has to be looked at; None: until a process is added."""
        if not self._watched:
            return None
        return max(0.0, self._next_look - time.monotonic())

    def look(self) -> None:
        """End whatever is over a limit."""
        now = time.monotonic()
        if not self._watched or now < self._next_look:
            return
        # Processor time: on a busy machine a look takes longer and costs no more.
        began = time.process_time()
        seconds, self._looked_at = now - self._looked_at, now
        table = read_table()
        families = group_by_parent(table)
        for pid in [pid for pid in self._watched if pid not in table]:
            self._forget(pid)
        self._count_held(families)
        for pid, watched in self._watched.items():
            family = {member: table[member] for member in list_family(pid, families)}
            # An orphan leaves its time to the keeper.
            watched.priority.look({pid: table[pid], **family}, seconds)
            excess = _find_excess(watched, family) or _find_disk_excess(watched)
            if excess is not None:
                self._tell(excess)
                with contextlib.suppress(OSError):
                    signal.pidfd_send_signal(watched.handle, END_NOW)
        cost = time.process_time() - began
        self._next_look = time.monotonic() + max(LOOK_SECONDS, _COST_FACTOR * cost)

    def _forget(self, pid: int) -> None:
        os.close(self._watched.pop(pid).handle)
        self._turn.remove(pid)

    def _count_held(self, families: dict[int, list[int]]) -> None:
        """Count nameless files: of as many processes, in turn, as a few milliseconds allow."""
        began = time.monotonic()
        for _ in range(len(self._turn)):
            watched = self._watched[self._turn[0]]
            watched.held = self._held_files.measure(list_family(watched.kept.pid, families), watched.kept.home)
            self._turn.rotate(-1)
            if time.monotonic() > began + _SLICE_SECONDS:
                return


def _find_excess(watched: _Watched, family: Mapping[int, Stat]) -> Notice | None:
    pid, limits = watched.kept.pid, watched.kept.limits
    if len(family) > limits.processes:
        return Notice(pid, "processes", len(family), limits.processes)
    threads, threads_allowed = sum(stat.threads for stat in family.values()), limits.processes * THREADS_PER_PROCESS
    if threads > threads_allowed:
        return Notice(pid, "threads", threads, threads_allowed)
    allowed, held = limits.memory_bytes, watched.held.memory_bytes
    if held + sum(stat.resident_bytes for stat in family.values()) <= allowed:
        return None
    # What several processes share counts once; asked only now, because it costs more to find out.
    shares = [_measure_share(member, stat.resident_bytes) for member, stat in family.items()]
    # A memory file is shared memory where it is mapped.
    used = sum(share.other for share in shares) + max(held, sum(share.shared_memory for share in shares))
    return Notice(pid, "memory", used, allowed) if used > allowed else None


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


class _Share(NamedTuple):
    """Bytes of one process; what it shares with others is divided among them (PSS)."""

    other: int
    shared_memory: int


def _measure_share(pid: int, otherwise: int) -> _Share:
    sizes: dict[bytes, int] = {}
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            next(file)
            for line in file:
                name, _, rest = line.partition(b":")
                sizes[name] = int(rest.split()[0]) * 1024
    except (OSError, StopIteration):
        return _Share(otherwise, 0)
    shared_memory = sizes.get(b"Pss_Shmem", 0)
    return _Share(sizes.get(b"Pss", otherwise) - shared_memory, shared_memory)


def measure_folder(path: str, enough: int) -> Iterator[int | None]:
    """The bytes on disk below `path`, as the last value; None before that, once per folder, to pause at.

    Stops where `enough` is passed. Links are not followed.
    """
    used = files = 0
    waiting = [path]
    while waiting and used <= enough:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    files += 1
                    used += entry.stat(follow_symlinks=False).st_blocks * _BLOCK_BYTES
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
