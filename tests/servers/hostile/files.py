"""Files of others: by a path that was told, by looking around, by another name, by their metadata."""

import contextlib
import ctypes
import os
import re
import select
import stat
import tempfile
from pathlib import Path
from typing import Final

from . import system
from .orders import Finder, Order, Outcome, worked

_HOME_NAME: Final = re.compile(r"fluidmcp-[0-9a-f]{32}")
_MAX_FILE_BYTES: Final = 1024 * 1024
_MAX_FILES: Final = 2000
_IN_ALL: Final = 0xFFF
_AT_HANDLE_FID: Final = 0
_PATIENCE_SECONDS: Final = 1.5


def read(order: Order) -> Outcome:
    finder = Finder(order)
    finder.feed(Path(order.path).read_bytes(), order.path)
    return finder.outcome()


def look_around(order: Order) -> Outcome:
    """Lists the temporary directories of the machine and reads every home of ours that is in one."""
    finder, errors = Finder(order), list[OSError]()
    own, temporary = Path(os.path.expanduser("~")), Path(tempfile.gettempdir())
    for base in {own.parent, temporary, Path("/tmp"), Path("/var/tmp")}:
        try:
            names = os.listdir(base)
        except OSError as error:
            errors.append(error)
            continue
        for name in names:
            if _HOME_NAME.fullmatch(name) and base / name != own:
                _read_tree(base / name, finder, errors)
    return finder.outcome(errors)


def read_shared_memory(order: Order) -> Outcome:
    """Every file of /dev/shm."""
    finder, errors = Finder(order), list[OSError]()
    _read_tree(Path("/dev/shm"), finder, errors)
    return finder.outcome(errors)


def _read_tree(top: Path, finder: Finder, errors: list[OSError]) -> None:
    count = 0
    for folder, _, names in os.walk(top, onerror=errors.append):
        for name in names:
            path = Path(folder) / name
            count += 1
            with contextlib.suppress(FileNotFoundError):
                try:
                    if stat.S_ISREG(path.lstat().st_mode) and path.lstat().st_size <= _MAX_FILE_BYTES:
                        finder.feed(path.read_bytes(), str(path))
                except OSError as error:
                    errors.append(error)
            if count > _MAX_FILES:
                return


def read_by_symlink(order: Order) -> Outcome:
    """A link of its own in its own home, which leads to the other's file."""
    link = _own_folder() / f"link-{os.getpid()}"
    link.symlink_to(order.path)
    try:
        finder = Finder(order)
        finder.feed(link.read_bytes(), str(link))
        return finder.outcome()
    finally:
        link.unlink()


def read_by_hardlink(order: Order) -> Outcome:
    """The other's file under a name in its own home."""
    link = _own_folder() / f"hardlink-{os.getpid()}"
    os.link(order.path, link)
    try:
        finder = Finder(order)
        finder.feed(link.read_bytes(), str(link))
        return finder.outcome()
    finally:
        link.unlink()


def read_by_renaming(order: Order) -> Outcome:
    """The other's file is moved into its own home; the test plants it again."""
    target = _own_folder() / f"stolen-{os.getpid()}"
    os.rename(order.path, target)
    try:
        finder = Finder(order)
        finder.feed(target.read_bytes(), str(target))
        return finder.outcome()
    finally:
        target.unlink()


def read_by_handle(order: Order) -> Outcome:
    """The number of the file instead of its path."""
    handle = ctypes.create_string_buffer(128)
    handle[0:4] = (120).to_bytes(4, "little")  # type: ignore[assignment]
    mount = ctypes.c_int()
    path = os.fsencode(order.path)
    system.call(system.NAME_TO_HANDLE_AT, system.AT_FDCWD, path, system.address(handle), system.address(mount), 0)
    base = os.open(order.extra["mount"], os.O_RDONLY | os.O_DIRECTORY)
    try:
        descriptor = system.call(system.OPEN_BY_HANDLE_AT, base, system.address(handle), os.O_RDONLY)
    finally:
        os.close(base)
    finder = Finder(order)
    finder.feed(os.read(descriptor, 65536), "its handle")
    return finder.outcome()


def read_by_path_descriptor(order: Order) -> Outcome:
    """Opened as a mere place (O_PATH), then again through /proc/self/fd."""
    descriptor = os.open(order.path, os.O_PATH)
    finder = Finder(order)
    finder.feed(Path(f"/proc/self/fd/{descriptor}").read_bytes(), order.path)
    return finder.outcome()


def read_link(order: Order) -> Outcome:
    """The text of a symbolic link."""
    finder = Finder(order)
    finder.feed(os.fsencode(os.readlink(order.path)), order.path)
    return finder.outcome()


def read_attribute(order: Order) -> Outcome:
    """An extended attribute of the file."""
    finder = Finder(order)
    finder.feed(os.getxattr(order.path, "user.token"), order.path)
    return finder.outcome()


def look_at(order: Order) -> Outcome:
    """Size, owner and times of the file."""
    return worked(f"{os.stat(order.path).st_size} bytes")


def close_off(order: Order) -> Outcome:
    """Takes the permissions of the directory or file away; the test looks whether its owner can still use it."""
    os.chmod(order.path, 0)
    return worked("nobody may use it any more")


def open_up(order: Order) -> Outcome:
    """Lets everybody on the machine in; the test looks and puts it right."""
    os.chmod(order.path, 0o777)
    return worked("everybody may use it now")


def age(order: Order) -> Outcome:
    os.utime(order.path, (1, 1))
    return worked("its times were changed")


def write(order: Order) -> Outcome:
    """Adds a line to the file, and takes it away again."""
    descriptor = os.open(order.path, os.O_WRONLY | os.O_APPEND)
    try:
        size = os.fstat(descriptor).st_size
        os.write(descriptor, b"\n# a hostile server was here\n")
        os.ftruncate(descriptor, size)
    finally:
        os.close(descriptor)
    return worked("it was written")


def create(order: Order) -> Outcome:
    """Makes a file in the directory and deletes it again."""
    path = Path(order.path) / f"hostile-{os.getpid()}"
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    path.unlink()
    return worked("a file could be made in it")


def create_nameless(order: Order) -> Outcome:
    """Whether a file could be made in a directory of the machine, without making one: it never has a name."""
    os.close(os.open(order.path, os.O_TMPFILE | os.O_WRONLY, 0o600))
    return worked("a file could be made in it")


def watch(order: Order) -> Outcome:
    """Hears of everything that happens in the other's home."""
    descriptor = system.LIBC.inotify_init1(0)
    try:
        system.call(system.INOTIFY_ADD_WATCH, descriptor, os.fsencode(order.path), _IN_ALL)
    finally:
        os.close(descriptor)
    return worked("it can be watched")


def watch_machine(order: Order) -> Outcome:
    """Gets a descriptor of every file that anybody opens."""
    os.close(system.call(system.FANOTIFY_INIT, 4, os.O_RDONLY))
    return worked("every file that is opened can be had")


def listen_at_terminal(order: Order) -> Outcome:
    """Reads what the operator types: `path` is their terminal."""
    descriptor = os.open(order.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    finder = Finder(order)
    try:
        if select.select([descriptor], [], [], _PATIENCE_SECONDS)[0]:
            finder.feed(os.read(descriptor, 4096), order.path)
    finally:
        os.close(descriptor)
    return finder.outcome()


def inherited(order: Order) -> Outcome:
    """What the server had open when it started, beyond its three pipes; `extra["descriptors"]` was noted then."""
    finder = Finder(order)
    names: list[str] = []
    for number, target in dict(order.extra["descriptors"]).items():
        if int(number) > 2 and target != "gone":
            names.append(f"{number} -> {target}")
            with contextlib.suppress(OSError):
                finder.feed(os.pread(int(number), 65536, 0), f"descriptor {number}")
    return worked(", ".join(names)) if names else Outcome("absent", "nothing but its three pipes")


def _own_folder() -> Path:
    return Path(tempfile.gettempdir())
