"""Ways to be there after the server has ended. What stays carries `extra["tag"]` on its command line."""

import contextlib
import ctypes
import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Final

from . import system
from .orders import Order, Outcome, worked

_PROGRAM: Final = "import time; time.sleep(100)"
"""It ends by itself, should nobody end it."""
_COMET: Final = """
import os, sys, time
end = time.monotonic() + 20
while time.monotonic() < end:
    time.sleep(float(sys.argv[2]))
    if os.fork():
        os._exit(0)
    os.setsid()
"""


def leave(order: Order) -> Outcome:
    """A grandchild in a session of its own."""
    return _leave(order, lambda: os.execv(sys.executable, _command(order)))


def leave_without_environment(order: Order) -> Outcome:
    """The same, with nothing in its environment by which it could be found."""
    return _leave(order, lambda: os.execve(sys.executable, _command(order), {}))


def leave_with_erased_environment(order: Order) -> Outcome:
    """The same, without a new program: it writes zeros over its own environment, where /proc reads it."""

    def stay() -> None:
        fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
        start, end = int(fields[47]), int(fields[48])
        ctypes.memset(start, 0, end - start)
        system.control(system.PR_SET_NAME, str(order.extra["tag"])[-15:].encode() + b"\0")
        signal.alarm(100)
        while True:
            signal.pause()

    return _leave(order, stay)


def leave_through_namespace(order: Order) -> Outcome:
    """The same, as the first process of a process namespace of its own."""

    def stay() -> None:
        uid = os.geteuid()
        system.call(system.UNSHARE, system.CLONE_NEWUSER | system.CLONE_NEWPID)
        with contextlib.suppress(OSError):
            Path("/proc/self/uid_map").write_text(f"0 {uid} 1", encoding="ascii")
        if os.fork() == 0:
            os.execve(sys.executable, _command(order), {})
        os._exit(0)

    return _leave(order, stay)


def race(order: Order) -> Outcome:
    """Processes that are others all the time: each starts the next one and ends, one after no time at all."""
    for seconds in ("0", "0.002", "0.005"):
        program = [sys.executable, "-c", _COMET, str(order.extra["tag"]), seconds]
        _leave(order, partial(os.execve, sys.executable, program, dict[str, str]()))
    return worked("they run")


def _leave(order: Order, stay: object) -> Outcome:
    assert callable(stay)
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            # Nothing of the server's is held open: its pipes end when it does.
            null = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(null, descriptor)
            os.closerange(3, 256)
            try:
                stay()
            finally:
                os._exit(98)
        os._exit(0)
    os.wait()
    return worked("it runs")


def _command(order: Order) -> list[str]:
    return [sys.executable, "-c", _PROGRAM, str(order.extra["tag"])]
