"""The program of the watchdog process: it outlives the gateway by a second and leaves nothing of it behind.

It reads lines from its standard input and remembers them. When the gateway is gone, however it went, the pipe ends;
then every process group that is still registered, and every process whose environment carries the gateway's mark, is
asked to end, is killed a second later, and the private homes are deleted. Run by its path with `-I -S`: it must not
import anything but a few modules of the standard library.

Lines: `M hex` the mark (`NAME=value`, as hexadecimal), `G pgid` / `g pgid` remember / forget a process group,
`H hex` / `h hex` remember / forget a directory.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from typing import BinaryIO

TERM_GRACE_SECONDS = 1.0
"""How long processes may take to end by themselves after the gateway is gone."""

PR_SET_DUMPABLE = 4
_POLL_SECONDS = 0.02
_DELETE_ATTEMPTS = 5


def remove_tree(path: str) -> bool:
    """Delete a directory with all that is in it, also what was made read-only; True when nothing is left.

    A process that is just being killed may still create files, hence the attempts. Symbolic links are not followed.
    """

    def make_writable(function: Callable[..., object], name: str, _error: object) -> None:
        parent = os.path.dirname(name)
        try:
            if not os.path.islink(parent):
                os.chmod(parent, 0o700)
            if not os.path.islink(name) and os.path.isdir(name):
                os.chmod(name, 0o700)
            elif function in (os.unlink, os.remove):
                os.unlink(name)
        except OSError:
            return

    for attempt in range(_DELETE_ATTEMPTS):
        shutil.rmtree(path, onerror=make_writable)
        if not os.path.lexists(path):
            return True
        time.sleep(_POLL_SECONDS * attempt)
    return False


def read_lines(source: BinaryIO) -> tuple[set[int], set[str], bytes]:
    """Read until the gateway is gone; the groups to kill, the directories to delete, and the mark."""
    groups: set[int] = set()
    homes: set[str] = set()
    mark = b""
    for line in source:
        verb, _, value = line.rstrip(b"\n").partition(b" ")
        if verb == b"G":
            groups.add(int(value))
        elif verb == b"g":
            groups.discard(int(value))
        elif verb == b"H":
            homes.add(os.fsdecode(bytes.fromhex(value.decode())))
        elif verb == b"h":
            homes.discard(os.fsdecode(bytes.fromhex(value.decode())))
        elif verb == b"M":
            mark = bytes.fromhex(value.decode())
    return groups, homes, mark


def find_marked(mark: bytes) -> set[int]:
    """Processes that were started with the mark in their environment: those that left their group as well."""
    found: set[int] = set()
    if not mark:
        return found
    try:
        names = os.listdir("/proc")
    except OSError:
        return found
    for name in names:
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                if mark in file.read().split(b"\0"):
                    found.add(int(name))
        except OSError:
            continue
    return found


def send(groups: set[int], processes: set[int], signum: int) -> bool:
    """Signal them all (0: just look); True while any of them is there."""
    any_left = False
    for kill, targets in ((os.killpg, groups), (os.kill, processes)):
        for target in targets:
            try:
                kill(target, signum)
                any_left = True
            except OSError:
                continue
    return any_left


def end_all(groups: set[int], mark: bytes) -> None:
    processes = find_marked(mark)
    send(groups, processes, signal.SIGTERM)
    deadline = time.monotonic() + TERM_GRACE_SECONDS
    while send(groups, processes, 0) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    # Looking again: whoever forked meanwhile is found too.
    send(groups, find_marked(mark), signal.SIGKILL)


def main() -> None:
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        # What ends the gateway may be sent to everything around it as well; this process ends with its pipe.
        signal.signal(signum, signal.SIG_IGN)
    # Out of reach of the processes that it ends. Another system than Linux has no such call.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    # Whatever was inherited by accident is not held open for as long as the gateway lives.
    os.closerange(3, 65536)
    groups, homes, mark = read_lines(sys.stdin.buffer)
    end_all(groups, mark)
    for home in homes:
        remove_tree(home)


if __name__ == "__main__":
    main()
