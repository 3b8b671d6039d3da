"""How much memory a family of processes has: what it has written, each page once, and its memory files."""

from collections.abc import Collection
from typing import Final, NamedTuple

from fluidmcp.processes.starter_child.families import Stat

_TOO_MUCH_TO_ASK: Final = 16
"""Who has that many times the limit resident is not asked for details: the kernel takes long to tell them."""


class _Share(NamedTuple):
    """Bytes of one process; what it shares with others is divided among them (PSS)."""

    own: int
    shared_memory: int


def find_memory_excess(family: Collection[Stat], held: int, allowed: int) -> int | None:
    """The bytes in use where they are more than `allowed`. `held`: those in memory files, mapped or not.

    Pages of files on a disk do not count: the kernel drops them when it needs room.
    """
    resident = sum(stat.resident_bytes for stat in family)
    if held + resident <= allowed:
        return None
    if resident > allowed * _TOO_MUCH_TO_ASK:
        return resident
    # What several processes share counts once; asked only now, because it costs more to find out.
    shares = [_measure_share(stat) for stat in family]
    # A memory file is shared memory where it is mapped.
    used = sum(share.own for share in shares) + max(held, sum(share.shared_memory for share in shares))
    return used if used > allowed else None


def _measure_share(stat: Stat) -> _Share:
    sizes: dict[bytes, int] = {}
    try:
        with open(f"{stat.folder}/smaps_rollup", "rb") as file:
            for line in file:
                name, _, rest = line.partition(b":")
                if name.startswith(b"Pss_"):
                    sizes[name] = int(rest.split()[0]) * 1024
    except OSError:
        pass  # gone, or nobody may ask
    if b"Pss_Anon" not in sizes:
        return _Share(stat.resident_bytes, 0)
    return _Share(sizes[b"Pss_Anon"], sizes.get(b"Pss_Shmem", 0))
