"""Whether a process was hindered: what could be seen of it before and after."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.isolation.world import is_well

HARM_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Condition:
    """Everything about a process that somebody else could change."""

    is_well: bool
    values: tuple[object, ...] = ()


def look_at(process: psutil.Process) -> Condition:
    with suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
        if is_well(process):
            folder = Path(f"/proc/{process.pid}")
            # Not `prlimit`: root may have lost the capability that it needs for another user's process.
            names = ("oom_score_adj", "coredump_filter", "limits")
            files = tuple((folder / name).read_text(encoding="ascii") for name in names)
            return Condition(True, (*files, process.nice(), process.ionice(), process.cpu_affinity()))
    return Condition(False)


async def wait_harmed(process: psutil.Process, before: Condition) -> bool:
    """Whether it becomes another one than it was, within the limit."""
    with suppress(TimeoutError):
        async with asyncio.timeout(HARM_SECONDS):
            while look_at(process) == before:
                await asyncio.sleep(0.02)
            return True
    return False
