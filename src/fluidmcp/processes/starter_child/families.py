"""Who descends from whom, and how much memory each has: one look through `/proc/PID/stat` of every process.

Not the kernel's own lists of children (`/proc/PID/task/TID/children`): not every kernel has them.
"""

import os
from typing import Final, NamedTuple

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_PARENT_FIELD, _RSS_FIELD = 1, 21
"""Of `/proc/PID/stat`, counted behind the name (proc_pid_stat(5): ppid is 4, rss 24)."""


class Usage(NamedTuple):
    parent: int
    resident_bytes: int


def read_table() -> dict[int, Usage]:
    """Parent and resident memory of every process that can be seen."""
    table: dict[int, Usage] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        if len(fields) > _RSS_FIELD:
            table[int(name)] = Usage(int(fields[_PARENT_FIELD]), int(fields[_RSS_FIELD]) * _PAGE_BYTES)
    return table


def group_by_parent(table: dict[int, Usage]) -> dict[int, list[int]]:
    children: dict[int, list[int]] = {}
    for pid, usage in table.items():
        children.setdefault(usage.parent, []).append(pid)
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
