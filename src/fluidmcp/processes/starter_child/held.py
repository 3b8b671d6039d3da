"""What processes hold without a name: memory files, and files that were deleted and are still open.

Neither belongs to a process's memory or to a folder's contents, so whoever counts only these misses them.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from fluidmcp.processes.starter_child.mounts import SHARED_MEMORY

BLOCK_BYTES: Final = 512
"""The unit of `st_blocks`, whatever the file system."""
_DELETED: Final = " (deleted)"


class Held(NamedTuple):
    memory_bytes: int = 0
    """In memory files, mapped or not."""
    disk_bytes: int = 0
    """On the file system of the home."""


class HeldFiles:
    """Counts the nameless files of processes, each file once."""

    def __init__(self) -> None:
        self._memory_devices: set[int] = set()
        try:
            probe = os.memfd_create("probe")
        except OSError:
            return  # a kernel without memory files has none to count
        self._memory_devices.add(os.fstat(probe).st_dev)
        os.close(probe)
        if os.path.isdir(SHARED_MEMORY):
            self._memory_devices.add(os.stat(SHARED_MEMORY).st_dev)

    def measure(self, folders: Iterable[str], home: str | None) -> Iterator[Held | None]:
        """What processes hold, as the last value; None before that, once per process, to pause at.

        `folders` are theirs in /proc. Nothing is counted of a process whose descriptors may not be seen.
        """
        disk_device = _device(home)
        sizes: dict[tuple[int, int], int] = {}
        for folder in folders:
            for status in _nameless_files(f"{folder}/fd"):
                sizes[status.st_dev, status.st_ino] = status.st_blocks * BLOCK_BYTES
            yield None
        disk = sum(size for (device, _), size in sizes.items() if device == disk_device)
        memory = sum(
            size for (device, _), size in sizes.items() if device in self._memory_devices and device != disk_device
        )
        yield Held(memory, disk)


def _device(path: str | None) -> int | None:
    try:
        return None if path is None else os.stat(path).st_dev
    except OSError:
        return None


def _nameless_files(folder: str) -> Iterable[os.stat_result]:
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        try:
            # The link tells without asking a file system, which may be a slow one.
            if not os.readlink(f"{folder}/{name}").endswith(_DELETED):
                continue
            status = os.stat(f"{folder}/{name}")
        except OSError:
            continue  # closed meanwhile
        if stat.S_ISREG(status.st_mode) and status.st_nlink == 0:
            yield status
