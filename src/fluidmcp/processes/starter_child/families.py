"""Who descends from whom, and what each uses: one look through `/proc/PID/stat` of every process (proc_pid_stat(5)).

Not the kernel's own lists of children (`/proc/PID/task/TID/children`): not every kernel has them.
"""

import os
from pathlib import Path
from typing import Final, NamedTuple

PROC: Final = Path("/proc")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_PARENT, _GROUP, _SESSION, _THREADS, _RSS = 1, 2, 3, 17, 21
_TIMES: Final = slice(11, 15)
"""Fields, counted behind the name: the manual's number of the parent is 4."""


class Stat(NamedTuple):
    """What `/proc/PID/stat` says of one process."""

    parent: int
    group: int
    session: int
    ticks: int
    """Processor time of the process itself, and of its children that have ended and were waited for."""
    threads: int
    resident_bytes: int


def read_stat(pid: int | str, proc: Path = PROC) -> Stat | None:
    """None when it is gone."""
    try:
        with open(f"{proc}/{pid}/stat", "rb") as file:
            # The name of the program stands in parentheses, and may hold some itself.
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    if len(fields) <= _RSS:
        return None
    parent, group, session = int(fields[_PARENT]), int(fields[_GROUP]), int(fields[_SESSION])
    ticks = sum(map(int, fields[_TIMES]))
    return Stat(parent, group, session, ticks, int(fields[_THREADS]), int(fields[_RSS]) * _PAGE_BYTES)


def read_table(proc: Path = PROC) -> dict[int, Stat]:
    """Every process that can be seen."""
    pids = [int(name) for name in os.listdir(proc) if name.isdecimal()]
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
