"""Which process holds a TCP port, read from /proc; on other systems, and for processes of others, nobody is found."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_LISTENING: Final = "0A"
_OWN_SCRIPTS: Final = frozenset({"fluidmcp", "fmcp", "fluidai-mcp"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PortHolder:
    """A process that listens on a port; `is_certain` is false when that is only the likely explanation."""

    pid: int
    command: str
    is_certain: bool = True

    def __str__(self) -> str:
        probably = "" if self.is_certain else "probably "
        return f"{probably}{self.command} (process {self.pid})"


def find_port_holder(port: int, *, proc: Path = Path("/proc")) -> PortHolder | None:
    """The process that listens on `port`, on whichever address.

    A gateway hides its descriptors from other processes of the same user (PR_SET_DUMPABLE), so where no descriptor
    matches and exactly one gateway runs, it is named as the probable holder.
    """
    inodes = _find_listening_inodes(port, proc)
    if not inodes:
        return None
    links = {f"socket:[{inode}]" for inode in inodes}
    hidden: list[PortHolder] = []
    for pid in _list_pids(proc):
        try:
            descriptors = os.listdir(proc / str(pid) / "fd")
        except PermissionError:
            command = _read_command(proc, pid)
            if command in _OWN_SCRIPTS:
                hidden.append(PortHolder(pid=pid, command=command, is_certain=False))
            continue
        except OSError:
            continue
        for descriptor in descriptors:
            with contextlib.suppress(OSError):
                if os.readlink(proc / str(pid) / "fd" / descriptor) in links:
                    return PortHolder(pid=pid, command=_read_command(proc, pid))
    return hidden[0] if len(hidden) == 1 else None


def _find_listening_inodes(port: int, proc: Path) -> set[str]:
    inodes: set[str] = set()
    for name in ("tcp", "tcp6"):
        try:
            lines = (proc / "net" / name).read_text("ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            # sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode (man 5 proc)
            fields = line.split()
            if len(fields) > 9 and fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    return inodes


def _list_pids(proc: Path) -> list[int]:
    try:
        return sorted(int(name) for name in os.listdir(proc) if name.isdigit())
    except OSError:
        return []


def _read_command(proc: Path, pid: int) -> str:
    try:
        return (proc / str(pid) / "comm").read_text("utf-8", "replace").strip()
    except OSError:
        return "a process"
