"""Runs a command as another user of this machine: `python tests/ordinary.py UID GID COMMAND ...`, as root.

Only for tests. The user needs no name. Where the interpreter, this repository or the command lies below a directory
that only root may enter (a Python in root's home), the way to it is opened in a mount namespace of the command's own:
the closed directory is covered by an empty one, into which the needed folders are mounted again. Nothing changes on
the machine, and nothing of it is left when the command ends. UID 0 stays root, and gets the same open way. Who is not
root can only stay who they are, and gets nothing of all this but the key.

`--session-key FILE` puts the text of the file into a new session keyring, as a login of the operator would, under the
description `fluidmcp-operator`.
"""

import ctypes
import os
import resource
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent

OPEN_FILES: Final = 1024
"""The soft limit that most systems begin with."""

_CLONE_NEWNS: Final = 0x00020000
_MS_REC: Final = 0x4000
_MS_PRIVATE: Final = 1 << 18
_AT_FDCWD: Final = -100
_AT_RECURSIVE: Final = 0x8000
_OPEN_TREE_CLONE: Final = 1
_MOVE_MOUNT_F_EMPTY_PATH: Final = 4
_SYS_OPEN_TREE: Final = 428
_SYS_MOVE_MOUNT: Final = 429
_SYS_ADD_KEY: Final = 248
_SYS_KEYCTL: Final = 250
_KEYCTL_JOIN_SESSION_KEYRING: Final = 1
_KEY_SPEC_SESSION_KEYRING: Final = -3
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def syscall(what: str, number: int, *arguments: int | bytes | None) -> int:
    values = [ctypes.c_long(a) if isinstance(a, int) else ctypes.c_char_p(a) for a in arguments]
    return check(_LIBC.syscall(ctypes.c_long(number), *values), what)


def find_closed(path: Path) -> Path | None:
    """The topmost directory on the way to `path` that others may not enter."""
    for directory in [*reversed(path.parents), path]:
        if directory.is_dir() and directory.stat().st_mode & 0o005 != 0o005:
            return directory
    return None


def open_the_way(paths: list[Path]) -> None:
    """Make `paths` reachable for everybody, in a mount namespace that ends with this process."""
    closed: dict[Path, list[Path]] = {}
    for path in paths:
        directory = find_closed(path)
        if directory is not None and path != directory and path not in closed.setdefault(directory, []):
            closed[directory].append(path)
    check(_LIBC.unshare(_CLONE_NEWNS), "unshare")
    check(_LIBC.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None), "mount private")
    for directory, wanted in closed.items():
        trees = [
            syscall("open_tree", _SYS_OPEN_TREE, _AT_FDCWD, os.fsencode(path), _OPEN_TREE_CLONE | _AT_RECURSIVE)
            for path in wanted
        ]
        check(_LIBC.mount(b"none", os.fsencode(directory), b"tmpfs", 0, b"mode=0755,size=1m"), "mount tmpfs")
        for path, tree in zip(wanted, trees, strict=True):
            path.mkdir(parents=True)
            target = os.fsencode(path)
            syscall("move_mount", _SYS_MOVE_MOUNT, tree, b"", _AT_FDCWD, target, _MOVE_MOUNT_F_EMPTY_PATH)
            os.close(tree)


def add_session_key(value: bytes) -> None:
    syscall("join session keyring", _SYS_KEYCTL, _KEYCTL_JOIN_SESSION_KEYRING, None)
    syscall("add_key", _SYS_ADD_KEY, b"user", b"fluidmcp-operator", value, len(value), _KEY_SPEC_SESSION_KEYRING)


def main() -> None:
    arguments = sys.argv[1:]
    key = b""
    if arguments[0] == "--session-key":
        key = Path(arguments[1]).read_bytes()
        arguments = arguments[2:]
    uid, gid, command = int(arguments[0]), int(arguments[1]), arguments[2:]
    if os.geteuid() == 0:
        open_the_way([Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), ROOT])
    # What a login gives: a machine of many containers may give more than any user has.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(OPEN_FILES, most), most))
    if uid != os.geteuid():
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    if key:
        add_session_key(key)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
