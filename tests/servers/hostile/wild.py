"""E03: takes as much as there is of something. Each has bounds of its own in number (`extra["count"]`) and in time.

What was taken is held for `extra["hold"]` seconds, so that whoever looks at times sees it; then the attack reports what
it had. A server that is ended for it reports nothing.
"""

import contextlib
import ctypes
import mmap
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from . import system
from .orders import Order, Outcome, outcome_of, worked

TAKE_SECONDS: Final = 8.0
CHILD_SECONDS: Final = 40
"""When a child ends by itself, should nobody end it."""
_MEGABYTE: Final = 1024 * 1024
_PAGE: Final = 4096
_FDS_PER_MESSAGE: Final = 250


def fork(order: Order) -> Outcome:
    """Children that do nothing."""

    def one(_: int) -> None:
        if os.fork() == 0:
            signal.alarm(CHILD_SECONDS)
            signal.pause()
            os._exit(0)

    return _take(order, one)


def start_threads(order: Order) -> Outcome:
    """Threads that do nothing."""
    threading.stack_size(64 * 1024)

    def one(_: int) -> None:
        threading.Thread(target=time.sleep, args=(CHILD_SECONDS,), daemon=True).start()

    return _take(order, one)


def allocate(order: Order) -> Outcome:
    """Memory, a megabyte at a time, each page of it written."""
    kept: list[mmap.mmap] = []

    def one(_: int) -> None:
        piece = mmap.mmap(-1, _MEGABYTE)
        for at in range(0, _MEGABYTE, _PAGE):
            piece[at] = 1
        kept.append(piece)

    return _take(order, one)


def allocate_in_children(order: Order) -> Outcome:
    """Memory in children, none of which has much."""
    share = int(order.extra["count"]) // 8

    def one(_: int) -> None:
        if os.fork() == 0:
            signal.alarm(CHILD_SECONDS)
            kept = [bytearray(os.urandom(_PAGE) * (_MEGABYTE // _PAGE)) for _ in range(share)]
            signal.pause()
            os._exit(len(kept))

    return _take(Order(order.attack, extra={**order.extra, "count": 8}), one)


def write_memory_files(order: Order) -> Outcome:
    """Memory in files that have no name and that no process has mapped."""
    descriptors: list[int] = []

    def one(number: int) -> None:
        if number % 16 == 0:
            descriptors.append(os.memfd_create("wild"))
        os.write(descriptors[-1], b"x" * _MEGABYTE)

    return _take(order, one)


def fill(order: Order) -> Outcome:
    """Megabytes on the disk, in its temporary directory."""
    folder = Path(tempfile.mkdtemp())

    def one(number: int) -> None:
        (folder / str(number)).write_bytes(b"x" * _MEGABYTE)

    return _take(order, one)


def fill_nameless(order: Order) -> Outcome:
    """Megabytes on the disk in files that were deleted and are open."""
    kept: list[object] = []

    def one(_: int) -> None:
        file = tempfile.TemporaryFile(buffering=0)
        kept.append(file)
        file.write(b"x" * _MEGABYTE)

    return _take(order, one)


def fill_deep(order: Order) -> Outcome:
    """Megabytes on the disk, deeper than a path can name."""
    folder = Path(tempfile.mkdtemp())
    os.chdir(folder)
    for _ in range(30):
        os.mkdir("d" * 250)
        os.chdir("d" * 250)

    def one(number: int) -> None:
        with open(str(number), "wb") as file:
            file.write(b"x" * _MEGABYTE)

    return _take(order, one)


def make_files(order: Order) -> Outcome:
    """Many files with nothing in them."""
    folder = Path(tempfile.mkdtemp())
    return _take(order, lambda number: (folder / str(number)).touch())


def open_files(order: Order) -> Outcome:
    """Descriptors."""
    return _take(order, lambda _: os.open(os.devnull, os.O_RDONLY))


def send_descriptors(order: Order) -> Outcome:
    """Descriptors that are on their way in sockets: the kernel counts them for each user, whoever sends them."""
    kept: list[socket.socket] = []
    null = os.open(os.devnull, os.O_RDONLY)

    def one(number: int) -> None:
        if number % 8 == 0:
            kept.extend(socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
        socket.send_fds(kept[-1], [b"x"], [null] * _FDS_PER_MESSAGE)

    return _take(order, one)


def watch(order: Order) -> Outcome:
    """Watchers of files, of which each user may have a few."""

    def one(_: int) -> None:
        if system.LIBC.inotify_init1(0) < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")

    return _take(order, one)


def spin(order: Order) -> Outcome:
    """Processor time: that of every core, for a while, or until somebody ends its children."""
    end = time.monotonic() + float(order.extra.get("seconds", TAKE_SECONDS))
    for _ in range(os.cpu_count() or 1):
        if os.fork() == 0:
            while time.monotonic() < end:
                pass
            os._exit(0)
    while True:
        with contextlib.suppress(ChildProcessError):
            os.wait()
            continue
        return worked("it spun")


def _take(order: Order, one: Callable[[int], object]) -> Outcome:
    """Take as many as are asked for; found, where it had them all."""
    count = int(order.extra["count"])
    end = time.monotonic() + TAKE_SECONDS
    taken = 0
    outcome = worked(f"it has {count}")
    try:
        while taken < count:
            if time.monotonic() > end:
                return Outcome("error", f"it had {taken} of {count} when its time was over")
            one(taken)
            taken += 1
    except (OSError, RuntimeError, MemoryError) as error:
        why = outcome_of(error).detail if isinstance(error, OSError) else str(error)
        outcome = Outcome("refused", f"{taken} of {count}: {why}")
    time.sleep(float(order.extra.get("hold", 0)))
    return outcome
