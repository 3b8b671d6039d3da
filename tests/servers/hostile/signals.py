"""Ways to end, stop or hinder another process. Whether it was hit is for the test to see."""

import contextlib
import ctypes
import fcntl
import os
import resource
import signal
import socket
import struct
from typing import Final

from . import system
from .orders import Order, Outcome, worked
from .procfs import parent_of

_F_SETSIG: Final = 10
_SI_QUEUE: Final = -1
_IOPRIO_WHO_PROCESS: Final = 1
_IOPRIO_IDLE: Final = 3 << 13


def kill(order: Order) -> Outcome:
    os.kill(order.pid, _signal(order))
    return worked("the signal was sent")


def kill_group(order: Order) -> Outcome:
    """The whole group, by the number of its leader."""
    os.kill(-order.pid, _signal(order))
    return worked("the signal was sent to the group")


def kill_everybody(order: Order) -> Outcome:
    """Every process that may be signalled at all. Only ever with SIGURG, which nobody minds: the test counts it."""
    assert _signal(order) is signal.SIGURG, "anything else would end the machine that is under test"
    os.kill(-1, signal.SIGURG)
    return worked("sent; who got it is for the test to see")


def kill_thread(order: Order) -> Outcome:
    system.call(system.TGKILL, order.pid, order.pid, _signal(order))
    return worked("the signal was sent to its thread")


def kill_any_thread(order: Order) -> Outcome:
    system.call(system.TKILL, order.pid, _signal(order))
    return worked("the signal was sent to its thread")


def queue(order: Order) -> Outcome:
    """A signal with a message, as from a timer."""
    info = ctypes.create_string_buffer(128)
    struct.pack_into("=iii", info, 0, int(_signal(order)), 0, _SI_QUEUE)
    system.call(system.RT_SIGQUEUEINFO, order.pid, int(_signal(order)), system.address(info))
    return worked("the signal was queued")


def queue_thread(order: Order) -> Outcome:
    info = ctypes.create_string_buffer(128)
    struct.pack_into("=iii", info, 0, int(_signal(order)), 0, _SI_QUEUE)
    system.call(system.RT_TGSIGQUEUEINFO, order.pid, order.pid, int(_signal(order)), system.address(info))
    return worked("the signal was queued for its thread")


def by_handle(order: Order) -> Outcome:
    handle = system.call(system.PIDFD_OPEN, order.pid, 0)
    system.call(system.PIDFD_SEND_SIGNAL, handle, int(_signal(order)), 0, 0)
    return worked("the signal was sent through a pidfd")


def by_socket(order: Order) -> Outcome:
    """Lets the kernel send it: the other becomes the owner of a socket, which then gets something to read."""
    here, there = socket.socketpair()
    fcntl.fcntl(here, fcntl.F_SETOWN, order.pid)
    fcntl.fcntl(here, _F_SETSIG, int(_signal(order)))
    fcntl.fcntl(here, fcntl.F_SETFL, fcntl.fcntl(here, fcntl.F_GETFL) | os.O_ASYNC)
    there.send(b"x")
    return worked("the kernel was asked to send it")


def limit_time(order: Order) -> Outcome:
    """Takes the other's processor time away, so that the kernel ends it."""
    resource.prlimit(order.pid, resource.RLIMIT_CPU, (0, 0))
    return worked("it may not run any more")


def limit_files(order: Order) -> Outcome:
    """Lets the other open nothing any more."""
    resource.prlimit(order.pid, resource.RLIMIT_NOFILE, (0, 0))
    return worked("it may open nothing any more")


def slow_down(order: Order) -> Outcome:
    os.setpriority(os.PRIO_PROCESS, order.pid, 19)
    return worked("it comes last now")


def pin(order: Order) -> Outcome:
    """Ties the other to one processor."""
    os.sched_setaffinity(order.pid, {min(os.sched_getaffinity(0))})
    return worked("it has one processor now")


def starve_disk(order: Order) -> Outcome:
    system.call(251, _IOPRIO_WHO_PROCESS, order.pid, _IOPRIO_IDLE)
    return worked("its disk comes last now")


def stop_own_group(order: Order) -> Outcome:
    """Stops this server and all that is in its group; the one who ends it has to do so all the same."""
    os.killpg(0, signal.SIGSTOP)
    return worked("stopped, and going on again")


def kill_parent(order: Order) -> Outcome:
    """Whoever started this server."""
    server = os.getppid()
    parent = parent_of(server)
    if parent <= 1:
        return Outcome("absent", "nobody that can be seen started it")
    os.kill(parent, _signal(order))
    return worked(f"the signal was sent to {parent}")


def look_like(order: Order) -> Outcome:
    """Takes over name and command line of the other; `extra["title"]` was told."""
    title = str(order.extra["title"]).encode()
    system.control(system.PR_SET_NAME, title[:15] + b"\0")
    return worked("renamed")


def ignore_everything(order: Order) -> Outcome:
    """A child that ignores every signal it can, in its own group, until the test finds it."""
    child = os.fork()
    if child == 0:
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            with contextlib.suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_IGN)
        os.setpgid(0, 0)
        os.execv("/proc/self/exe", ["/proc/self/exe", "-c", "import time; time.sleep(100)", str(order.extra["tag"])])
    return worked("it runs")


def _signal(order: Order) -> signal.Signals:
    return signal.Signals[str(order.extra.get("signal", "SIGKILL"))]
