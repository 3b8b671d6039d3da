"""How much processor time processes have used, each with all that it started. Read from /proc (proc(5))."""

import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Final

from fluidmcp.processes.starter_child.families import PROC, Stat, group_by_parent, list_pids, read_stat, read_table

MAX_TREE_PROCESSES: Final = 64
"""The time of a larger tree is not told: starting processes without end must not make looking expensive."""
MAX_THREADS: Final = 256
"""As above, for one process; each thread has its own list of children."""
MAX_PROCESSES: Final = 4096
"""As above, for the whole machine, where the kernel keeps no lists of children."""
_TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")


def processor_seconds(pids: Iterable[int], *, proc: Path = PROC) -> dict[int, float]:
    """Seconds of processor time of each process and its descendants, those that have ended included.

    Processes of which nothing is known are left out: those that are gone, those with too many descendants, and all
    where there is no /proc. The number falls when a descendant leaves the tree, as daemons do.
    """
    wanted = set(pids)
    if not wanted:
        return {}
    try:
        trees = _sum_trees(wanted, proc)
    except OSError:
        return {}
    return {pid: ticks / _TICKS_PER_SECOND for pid, ticks in trees.items() if ticks is not None}


def _sum_trees(wanted: set[int], proc: Path) -> dict[int, int | None]:
    if (proc / "thread-self" / "children").exists():
        list_children = partial(_read_children, proc)
        return {pid: _sum_tree(pid, partial(read_stat, proc=proc), list_children) for pid in wanted}
    # A kernel without CONFIG_PROC_CHILDREN: one pass over all processes serves all who are asked for.
    pids = list_pids(proc)
    if len(pids) > MAX_PROCESSES:
        return {}
    stats = read_table(pids, proc)
    children = group_by_parent(stats)
    return {pid: _sum_tree(pid, stats.get, lambda pid: children.get(pid, [])) for pid in wanted}


def _sum_tree(
    root: int, look_up: Callable[[int], Stat | None], list_children: Callable[[int], list[int] | None]
) -> int | None:
    total, waiting, seen = 0, [root], 0
    while waiting:
        pid = waiting.pop()
        stat, children = look_up(pid), list_children(pid)
        seen += 1
        if children is None or seen > MAX_TREE_PROCESSES:
            return None
        if stat is not None:
            total += stat.ticks
            waiting += children
        elif pid == root:
            return None
    return total


def _read_children(proc: Path, pid: int) -> list[int] | None:
    """None when it has too many threads to ask each."""
    children: list[int] = []
    try:
        threads = os.listdir(proc / str(pid) / "task")
        if len(threads) > MAX_THREADS:
            return None
        for thread in threads:
            children += map(int, (proc / str(pid) / "task" / thread / "children").read_bytes().split())
    except OSError:
        pass  # it ended meanwhile; its children have another parent now
    return children
