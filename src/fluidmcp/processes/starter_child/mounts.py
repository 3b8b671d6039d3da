"""A root of its own for a process in a mount namespace: what a rule of Landlock allows is there, and the rest is not.

Rules of files do not cover connecting to sockets that others have in the file system, so what is not there cannot be
reached either way.
"""

import os
import stat
from typing import Final

from fluidmcp.processes.starter_child.home_files import write_files
from fluidmcp.processes.starter_child.order import Order
from fluidmcp.processes.starter_child.syscalls import (
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_REC,
    MS_SLAVE,
    detach,
    make_read_only,
    mount,
    open_place,
    pivot_root,
)

DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_DEVICE_LINKS: Final = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
)
SHARED_MEMORY: Final = "/dev/shm"
_OWN: Final = "/.own"
_SAFE: Final = MS_NOSUID | MS_NODEV
_ROOT_OPTIONS: Final = "mode=0755,size=1m"
_MAX_FILES_OF_A_HOME: Final = 200_000


def enter_own_view(order: Order) -> None:
    """`/proc` with the processes of this namespace only, and for a known person a root with nothing but their reach.

    For the first process of new PID and mount namespaces.

    Raises:
        OSError: the kernel refuses a mount.
    """
    mount(None, "/", None, MS_REC | MS_SLAVE)
    if order.home is None:
        _mount_proc("/proc")
        # A root process could otherwise set what the kernel runs outside of every namespace (core_pattern).
        mount("/proc/sys", "/proc/sys", None, MS_BIND)
        make_read_only("/proc/sys")
        return
    # The folder of the home is hidden by the new root, and there again in it.
    root = order.home
    mount("tmpfs", root, "tmpfs", _SAFE, _ROOT_OPTIONS)
    for path in _outermost((*order.reach.read, *order.reach.listed, *order.reach.write)):
        _bind(root, path)
        # Rules of files do not cover modes: root's process could make the system's programs setuid.
        if os.path.exists(root + path):
            make_read_only(root + path, only_safe=_is_written(path, order.reach.write))
    for path, target in order.reach.links:
        _link(root + path, target)
    _make_home(root, order.home, order)
    for path in DEVICES:
        _bind(root, path)
    for name, target in _DEVICE_LINKS:
        _link(f"{root}/dev/{name}", target)
    os.makedirs(root + "/proc", exist_ok=True)
    _mount_proc(root + "/proc")
    os.chdir(root)
    pivot_root(".", ".")
    detach(".")
    os.chdir("/")


def _is_written(path: str, written: tuple[str, ...]) -> bool:
    """Whether something at or below `path` may be written."""
    return any((place + "/").startswith(path.rstrip("/") + "/") for place in written)


def _mount_proc(path: str) -> None:
    mount("proc", path, "proc", _SAFE | MS_NOEXEC)


def _outermost(paths: tuple[str, ...]) -> list[str]:
    """The paths without those that lie below another one. `/proc` and `/dev` come by other ways."""
    kept: list[str] = []
    for path in sorted(set(paths)):
        if path.startswith(("/proc/", "/dev/")) or path in ("/proc", "/dev"):
            continue
        if not kept or not (path == kept[-1] or path.startswith(kept[-1].rstrip("/") + "/")):
            kept.append(path)
    return kept


def _bind(root: str, path: str) -> None:
    target = root + path
    try:
        source = open_place(path)
    except OSError:
        return
    try:
        if stat.S_ISDIR(os.fstat(source).st_mode):
            os.makedirs(target, exist_ok=True)
        else:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        mount(f"/proc/self/fd/{source}", target, None, MS_BIND | MS_REC)
    finally:
        os.close(source)


def _link(path: str, target: str) -> None:
    if os.path.lexists(path):
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    os.symlink(target, path)


def _make_home(root: str, home: str, order: Order) -> None:
    """Home, temporary folder and shared memory: one file system in memory, of a bounded size."""
    own = root + _OWN
    os.mkdir(own, 0o700)
    options = f"mode=0755,size={order.limits.disk_bytes},nr_inodes={_MAX_FILES_OF_A_HOME}"
    mount("tmpfs", own, "tmpfs", _SAFE, options)
    folders = (own + "/home", *(f"{own}/home/{name}" for name in order.home_folders), own + "/shm")
    for folder in folders:
        os.mkdir(folder, 0o700)
    made = (*folders, *write_files(own + "/home", order.home_files))
    if order.user_id is not None:
        for path in made:
            os.chown(path, order.user_id, order.user_id, follow_symlinks=False)
    os.chmod(own + "/shm", 0o1777)
    for source, target in ((own + "/home", root + home), (own + "/shm", root + SHARED_MEMORY)):
        os.makedirs(target, exist_ok=True)
        mount(source, target, None, MS_BIND)
    detach(own)
    os.rmdir(own)
