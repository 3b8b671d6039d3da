"""Who uses how much: limits that the kernel does not keep for a family of processes are looked at from time to time.

One look reads `/proc/PID/stat` of every process, which tells parents and memory at once. Looking never takes more than
a twentieth of one core.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Final

from fluidmcp.processes.starter_child.families import Usage, group_by_parent, list_family, read_table
from fluidmcp.processes.starter_child.keeper import END_NOW
from fluidmcp.processes.starter_child.order import Kept, Notice

LOOK_SECONDS: Final = 0.5
_COST_FACTOR: Final = 20.0
_DISK_SLICE_SECONDS: Final = 0.005
_DISK_PAUSE_SECONDS: Final = 2.0
_MAX_FILES: Final = 200_000
"""Of one home; more files count as too much disk, however small they are."""
_BLOCK_BYTES: Final = 512


class Meter:
    """The processes whose limits are watched. `tell` hears of one that went over a limit before it is ended."""

    def __init__(self, tell: Callable[[Notice], None]) -> None:
        self._tell = tell
        self._kept: dict[int, Kept] = {}
        self._handles: dict[int, int] = {}
        self._walks: dict[int, Iterator[int | None]] = {}
        self._walked_at: dict[int, float] = {}
        self._next_look = 0.0

    def add(self, kept: Kept) -> None:
        """Watch a process, unless it is gone already. Its number may not have been given to another one yet."""
        with contextlib.suppress(OSError):
            self._handles[kept.pid] = os.pidfd_open(kept.pid)
            self._kept[kept.pid] = kept

    def pause_seconds(self) -> float | None:
        """How long nothing has to be looked at; None: until a process is added."""
        if not self._kept:
            return None
        return max(0.0, self._next_look - time.monotonic())

    def look(self) -> None:
        """End whatever is over a limit."""
        if not self._kept or time.monotonic() < self._next_look:
            return
        # Processor time: on a busy machine a look takes longer and costs no more.
        began = time.process_time()
        table = read_table()
        families = group_by_parent(table)
        for pid, kept in list(self._kept.items()):
            if pid not in table:
                self._forget(pid)
                continue
            excess = _find_excess(pid, kept, table, families) or self._find_disk_excess(pid, kept)
            if excess is not None:
                self._tell(excess)
                with contextlib.suppress(OSError):
                    signal.pidfd_send_signal(self._handles[pid], END_NOW)
        cost = time.process_time() - began
        self._next_look = time.monotonic() + max(LOOK_SECONDS, _COST_FACTOR * cost)

    def _forget(self, pid: int) -> None:
        del self._kept[pid]
        os.close(self._handles.pop(pid))
        self._walks.pop(pid, None)
        self._walked_at.pop(pid, None)

    def _find_disk_excess(self, pid: int, kept: Kept) -> Notice | None:
        """A few milliseconds of a walk through the home at each look; the outcome when it is at its end."""
        if kept.home is None:
            return None
        now = time.monotonic()
        if pid not in self._walks:
            if now < self._walked_at.get(pid, 0.0) + _DISK_PAUSE_SECONDS:
                return None
            self._walks[pid] = measure_folder(kept.home, kept.limits.disk_bytes)
        for used in self._walks[pid]:
            if used is not None:
                del self._walks[pid]
                self._walked_at[pid] = now
                if used > kept.limits.disk_bytes:
                    return Notice(pid, "disk", used, kept.limits.disk_bytes)
                return None
            if time.monotonic() > now + _DISK_SLICE_SECONDS:
                return None
        return None


def _find_excess(pid: int, kept: Kept, table: dict[int, Usage], families: dict[int, list[int]]) -> Notice | None:
    family = list_family(pid, families)
    if len(family) > kept.limits.processes:
        return Notice(pid, "processes", len(family), kept.limits.processes)
    allowed = kept.limits.memory_bytes
    if sum(table[member].resident_bytes for member in family) <= allowed:
        return None
    # What several processes share counts once; asked only now, because it costs more to find out.
    used = sum(_proportional_bytes(member, table[member].resident_bytes) for member in family)
    return Notice(pid, "memory", used, allowed) if used > allowed else None


def _proportional_bytes(pid: int, otherwise: int) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return otherwise


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
        except OSError:
            continue
        yield None
    yield used
