"""What a server can leave in its home so that whoever deletes it fails, or deletes something else."""

import array
import fcntl
import os
import socket
from pathlib import Path
from typing import Final

from .orders import Order, Outcome, worked

_DEPTH: Final = 3000
_FILES: Final = 3000
_FS_IOC_GETFLAGS: Final = 0x80086601
_FS_IOC_SETFLAGS: Final = 0x40086602
_IMMUTABLE: Final = 0x10


def deep(order: Order) -> Outcome:
    """More directories in one another than a path can name, or a recursion can follow."""
    os.chdir(_home())
    for _ in range(_DEPTH):
        os.mkdir("d" * 20)
        os.chdir("d" * 20)
    Path("last").touch()
    return worked("it is deep")


def wide(order: Order) -> Outcome:
    """Many files, links among them."""
    folder = _home() / "wide"
    folder.mkdir()
    for number in range(_FILES):
        (folder / f"link-{number}").symlink_to(order.path)
    return worked("it is wide")


def linked(order: Order) -> Outcome:
    """Links out of it, under the names that a home has, to what is told: a directory of the operator."""
    for name in ("data", "folder"):
        (_home() / name).symlink_to(order.path)
    (_home() / ".config").rmdir()
    (_home() / ".config").symlink_to(order.path)
    locked = _home() / "locked"
    locked.mkdir()
    (locked / "out").symlink_to(order.path)
    locked.chmod(0o500)
    return worked("it leads out")


def locked(order: Order) -> Outcome:
    """Directories that nobody may enter or change, in one another, and files in them."""
    folder = _home() / "a" / "b" / "c"
    folder.mkdir(parents=True)
    (folder / "file").touch(mode=0)
    for place in (folder, folder.parent, folder.parent.parent, _home()):
        place.chmod(0)
    return worked("it is locked")


def strange(order: Order) -> Outcome:
    """Names and kinds of files that programs trip over."""
    home = os.fsencode(_home())
    for name in (b"-rf", b"\xff\xfe", b"a\nb", b" ", b"*", b"x" * 255, b"..."):
        os.mkdir(os.path.join(home, name))
        os.close(os.open(os.path.join(home, name, name), os.O_CREAT | os.O_WRONLY))
    os.mkfifo(_home() / "fifo")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(_home() / "socket"))
    return worked("it is strange")


def immutable(order: Order) -> Outcome:
    """A file that not even root may delete, where this server may make one."""
    path = _home() / "immutable"
    path.touch()
    descriptor = os.open(path, os.O_RDONLY)
    flags = array.array("l", [0])
    fcntl.ioctl(descriptor, _FS_IOC_GETFLAGS, flags)
    flags[0] |= _IMMUTABLE
    fcntl.ioctl(descriptor, _FS_IOC_SETFLAGS, flags)
    return worked("it stays")


def replaced(order: Order) -> Outcome:
    """A link in the place of the home itself, to what is told."""
    os.rename(_home(), f"{_home()}-moved")
    os.symlink(order.path, _home())
    return worked("the home is another place now")


def _home() -> Path:
    return Path(os.environ["HOME"])
