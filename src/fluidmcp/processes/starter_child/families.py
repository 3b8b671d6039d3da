"""Who descends from whom, and what each uses: one look through `/proc/PID/stat` of every process (proc_pid_stat(5)).

Not the kernel's own lists of children (`/proc/PID/task/TID/children`): not every kernel has them.
"""

import contextlib
import os
from pathlib import Path
from typing import Final, NamedTuple

PROC: Final = Path("/proc")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_STATE, _PARENT, _GROUP, _SESSION, _THREADS, _RSS = 0, 1, 2, 3, 17, 21
_TIMES: Final = slice(11, 15)
"""Fields, counted behind the name: the manual's number of the parent is 4."""
_ZOMBIE: Final = b"Z"


class Stat(NamedTuple):
    """What `/proc/PID/stat` says of one process."""

    parent: int
    group: int
    session: int
    ticks: int
    """Processor time of the process itself, and of its children that have ended and were waited for."""
    threads: int
    resident_bytes: int
    folder: str
    """Where `/proc` tells of its memory and descriptors: that of a thread, where the first one has ended."""


def read_stat(pid: int | str, proc: Path = PROC) -> Stat | None:
    """None when it is gone, or may not be seen.

    Raises:
        OSError: it cannot be read now, because there are too many open files for example.
    """
    folder = f"{proc}/{pid}"
    try:
        fields = _read_fields(folder)
        if fields[_STATE] == _ZOMBIE and int(fields[_THREADS]) > 1:
            # The first thread has ended, and the others go on: it has no memory and no files to be seen.
            folder, fields[_RSS] = _find_living_thread(folder, fields)
    except (FileNotFoundError, ProcessLookupError, PermissionError, IndexError):
        return None
    return Stat(
        parent=int(fields[_PARENT]),
        group=int(fields[_GROUP]),
        session=int(fields[_SESSION]),
        ticks=sum(map(int, fields[_TIMES])),
        threads=int(fields[_THREADS]),
        resident_bytes=int(fields[_RSS]) * _PAGE_BYTES,
        folder=folder,
    )


def _read_fields(folder: str) -> list[bytes]:
    with open(f"{folder}/stat", "rb") as file:
        # The name of the program stands in parentheses, and may hold some itself.
        return file.read().rpartition(b")")[2].split()


def _find_living_thread(folder: str, fields: list[bytes]) -> tuple[str, bytes]:
    """Its folder, and the resident memory that it tells of."""
    for thread in os.listdir(f"{folder}/task"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            told = _read_fields(f"{folder}/task/{thread}")
            if told[_STATE] != _ZOMBIE:
                return f"{folder}/task/{thread}", told[_RSS]
    return folder, fields[_RSS]


def list_pids(proc: Path = PROC) -> list[int]:
    return [int(name) for name in os.listdir(proc) if name.isdecimal()]


def read_table(pids: list[int], proc: Path = PROC) -> dict[int, Stat]:
    """Those of `pids` that can be seen.

    Raises:
        OSError: as `read_stat`.
    """
    stats = ((pid, read_stat(pid, proc)) for pid in pids)
    return {pid: stat for pid, stat in stats if stat is not None}


def group_by_parent(table: dict[int, Stat]) -> dict[int, list[int]]:
    children: dict[int, list[int]] = {}
    for pid, stat in table.items():
        children.setdefault(stat.parent, []).append(pid)
    return children


def list_family(pid: int, families: dict[int, list[int]]) -> list[int]:
    """The descendants of `pid`, without itself."""
    found = dict.fromkeys(families.get(pid, ()))
    waiting = list(found)
    while waiting:
        # A number may have been given anew while the table was read: no circle is walked twice.
        more = [child for child in families.get(waiting.pop(), ()) if child not in found and child != pid]
        found.update(dict.fromkeys(more))
        waiting += more
    return list(found)
