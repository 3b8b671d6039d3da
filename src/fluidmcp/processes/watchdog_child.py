"""The program of the watchdog process: it outlives the gateway by a second and leaves nothing of it behind.

It reads lines from its standard input and remembers them. When the gateway is gone, however it went, the pipe ends;
then every process group that is still registered, and every process whose environment carries the gateway's mark, is
asked to end, is killed a second later together with all that descends from it, and the private homes are deleted. Run
by its path with `-I -S`: it must not import anything but a few modules of the standard library.

Lines: `M hex` the mark (`NAME=value`, as hexadecimal), `G pgid` / `g pgid` remember / forget a process group,
`H hex` / `h hex` remember / forget a directory.
"""

import contextlib
import ctypes
import os
import signal
import stat
import sys
import time
from typing import BinaryIO

TERM_GRACE_SECONDS = 1.0
"""How long processes may take to end by themselves after the gateway is gone."""

PR_SET_DUMPABLE = 4
_POLL_SECONDS = 0.02
_DELETE_ATTEMPTS = 5
DELETE_SECONDS = 60.0
"""How long deleting one home may take."""
_PLACE = getattr(os, "O_PATH", os.O_RDONLY)
"""Opens a place without asking whether it may be read."""


def remove_tree(path: str) -> bool:
    """Delete a directory with all that is in it, whatever its owner made of it; True when nothing is left.

    Symbolic links are not followed, nor is any path: each directory is held by its descriptor, so that nobody can put
    another one in its place meanwhile. Depth costs neither stack nor descriptors: directories are moved up before they
    are emptied. A process that is just being killed may still create files, hence the attempts.
    """
    end = time.monotonic() + DELETE_SECONDS
    for attempt in range(_DELETE_ATTEMPTS):
        with contextlib.suppress(OSError):
            _remove_once(path, end)
        if not os.path.lexists(path):
            return True
        time.sleep(_POLL_SECONDS * attempt)
    return False


def _remove_once(path: str, end: float) -> None:
    parent, name = os.path.split(path)
    base = os.open(parent, _PLACE | os.O_DIRECTORY)
    try:
        top = _open_directory(name, base)
        if top is None:
            os.unlink(name, dir_fd=base)
            return
        try:
            _clear(top, end)
        finally:
            os.close(top)
        os.rmdir(name, dir_fd=base)
    finally:
        os.close(base)


def _clear(top: int, end: float) -> None:
    """Empty the directory: pass by pass the directories in it give theirs to it and go. What cannot go stays."""
    prefix = f".{os.urandom(8).hex()}"
    names: list[str] = []
    number = 0
    while (left := os.listdir(top)) and set(left) != set(names):
        names = left
        for name in names:
            if time.monotonic() > end:
                return
            number += 1
            with contextlib.suppress(OSError):
                _remove_entry(name, top, f"{prefix}-{number}")


def _remove_entry(name: str, top: int, prefix: str) -> None:
    """Delete it; a directory's own directories are moved to `top` under names that begin with `prefix`."""
    folder = _open_directory(name, top)
    if folder is None:
        os.unlink(name, dir_fd=top)
        return
    try:
        for number, inner in enumerate(os.listdir(folder)):
            with contextlib.suppress(OSError):
                if _is_directory(inner, folder):
                    _open_up(inner, folder)
                    os.rename(inner, f"{prefix}-{number}", src_dir_fd=folder, dst_dir_fd=top)
                else:
                    os.unlink(inner, dir_fd=folder)
    finally:
        os.close(folder)
    os.rmdir(name, dir_fd=top)


def _is_directory(name: str, folder: int) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)


def _open_up(name: str, folder: int) -> None:
    """What is moved has to be writable: its entry for the directory above changes."""
    descriptor = _open_directory(name, folder)
    if descriptor is not None:
        os.close(descriptor)


def _open_directory(name: str, folder: int) -> int | None:
    """A descriptor of the directory, which its owner can read and change from now on; None: it is something else."""
    place = os.open(name, _PLACE | os.O_NOFOLLOW, dir_fd=folder)
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            return None
        with contextlib.suppress(OSError):
            # Use its descriptor: a name could be a link by now.
            os.chmod(f"/proc/self/fd/{place}", 0o700)
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=place)
    finally:
        os.close(place)


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


def find_descendants(leaders: set[int]) -> set[int]:
    """All that the leaders started, whatever group or environment it has now: a keeper may not get to it in time."""
    children: dict[int, list[int]] = {}
    with contextlib.suppress(OSError):
        for name in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                # The name stands in parentheses, and may hold some itself; the parent is the second field behind it.
                parent = int(file.read().rpartition(b")")[2].split()[1])
                children.setdefault(parent, []).append(int(name))
    found: set[int] = set()
    waiting = list(leaders)
    while waiting:
        new = set(children.get(waiting.pop(), ())) - found
        found |= new
        waiting += new
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
    send(groups, find_marked(mark) | find_descendants(groups), signal.SIGKILL)


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
