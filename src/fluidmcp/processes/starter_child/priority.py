"""A family that computes for long gives way to others: its priority falls, and rises again when it has been calm.

Linux shares processor time between sessions (sched(7), "The autogroup feature") where that is on, else between threads.
So both are lowered: the nice value of each session of the family, and that of its processes. Only where somebody else
wants the processor does either make a difference.
"""

import os
from collections.abc import Mapping
from typing import Final

from fluidmcp.processes.starter_child.families import Stat

FREE_SHARE: Final = 0.25
"""Part of one core; a family that uses no more than that on average is never lowered."""
SHORT_SECONDS: Final = 1.0
"""Processor time beyond its share after which a family is lowered, where that can be undone."""
LONG_SECONDS: Final = 20.0
"""As above, for what cannot: an ordinary user may not raise the priority of a process again."""
_MOST_SECONDS: Final = 2.5
"""What is remembered at most: after ten calm seconds a lowered family is as before."""
LOW_SESSION: Final = 19
LOW_PROCESS: Final = 10
_NORMAL_SESSION: Final = 0
_TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")


class Priority:
    """That of one family. `can_raise`: we may raise the priority of a process again (CAP_SYS_NICE)."""

    def __init__(self, *, can_raise: bool) -> None:
        self._can_raise = can_raise
        self._usual = os.getpriority(os.PRIO_PROCESS, 0)
        """Servers begin with the nice value that we have."""
        self._ticks: int | None = None
        self._beyond = self._long_beyond = 0.0
        self._is_low = False

    def look(self, members: Mapping[int, Stat], seconds: float) -> None:
        """`members`: the whole family as it is now, `seconds` after the last time."""
        beyond = self._count(members) - FREE_SHARE * seconds
        self._beyond = _add(self._beyond, beyond, _MOST_SECONDS)
        self._long_beyond = _add(self._long_beyond, beyond, LONG_SECONDS)
        if self._beyond >= SHORT_SECONDS or (self._is_low and self._beyond > 0):
            # Again at each look: new sessions begin as usual ones, and the kernel grants ordinary users few changes.
            self._is_low = True
            _set_sessions(members, LOW_SESSION)
            if self._can_raise:
                _set_processes(members, max(LOW_PROCESS, self._usual))
        elif self._is_low:
            self._is_low = not _set_sessions(members, _NORMAL_SESSION)
            if self._can_raise:
                _set_processes(members, self._usual)
        if not self._can_raise and self._long_beyond >= LONG_SECONDS:
            _set_processes(members, max(LOW_PROCESS, self._usual))

    def _count(self, members: Mapping[int, Stat]) -> float:
        """Seconds of processor time since the last time."""
        before, self._ticks = self._ticks, sum(stat.ticks for stat in members.values())
        # A process that leaves the family takes its time along.
        return 0.0 if before is None else max(0, self._ticks - before) / _TICKS_PER_SECOND


def _add(total: float, more: float, most: float) -> float:
    return min(most, max(0.0, total + more))


def _set_sessions(members: Mapping[int, Stat], nice: int) -> bool:
    """Whether every session has it now. Asked by any process of it: some do not let themselves be touched."""
    left = {stat.session for stat in members.values()}
    for pid, stat in members.items():
        if stat.session in left and _set_session_of(pid, nice):
            left.discard(stat.session)
    return not left


def _set_session_of(pid: int, nice: int) -> bool:
    """Only a change is written: the kernel takes ten in a second from all ordinary users together."""
    path = f"/proc/{pid}/autogroup"
    try:
        with open(path, encoding="ascii") as file:
            if file.read().split()[-1:] == [str(nice)]:
                return True
        with open(path, "w", encoding="ascii") as file:
            file.write(str(nice))
    except FileNotFoundError:
        return True  # gone, or a kernel without autogroups
    except OSError:
        return False
    return True


def _set_processes(members: Mapping[int, Stat], nice: int) -> None:
    for group in {stat.group for stat in members.values()}:
        try:
            os.setpriority(os.PRIO_PGRP, group, nice)
        except OSError:
            continue  # gone, or it may not be raised any more
