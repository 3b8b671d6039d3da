"""The parent of one server process: it sees every descendant, and leaves none behind.

It is what the gateway knows as the server's process: the leader of the process group, and in a PID namespace its first
process. What a server starts, and what those start, falls to it when their parents end; so whoever leaves the group or
the session is still found. It lives outside of the server's confinement, is not dumpable, and ends as its server did:
with its exit code, or by the same signal.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from typing import Final, NoReturn

from fluidmcp.processes.starter_child.confine import become_server, restore_signals, write_own
from fluidmcp.processes.starter_child.families import group_by_parent, list_family, list_pids, read_table
from fluidmcp.processes.starter_child.mounts import enter_own_view
from fluidmcp.processes.starter_child.order import (
    FAILED_TO_CONFINE,
    FAILED_TO_FORK,
    Order,
    Report,
    encode,
)
from fluidmcp.processes.starter_child.syscalls import (
    PR_SET_CHILD_SUBREAPER,
    PR_SET_DUMPABLE,
    PR_SET_PDEATHSIG,
    prctl,
)

END_NOW: Final = signal.SIGUSR1
"""Asks a keeper to kill all that it keeps."""
_GATEWAY_GONE: Final = signal.SIGUSR2
"""What the kernel sends when the gateway ends, however it ends."""
TERM_GRACE_SECONDS: Final = 0.5
"""How long processes may take to end by themselves after the gateway is gone."""
KILL_SECONDS: Final = 4.0
"""How long a keeper goes on killing what is born faster than it dies."""
SIGNAL_EXIT_CODE: Final = 128
"""Added to a signal's number where a process cannot end by it: the first one of a PID namespace."""
_POLL_SECONDS: Final = 0.02
_NOT_STARTED: Final = 127
_WAITED_FOR: Final = frozenset(
    {signal.SIGCHLD, END_NOW, _GATEWAY_GONE, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT}
)


def keep(order: Order, pipes: tuple[int, int, int], report: int, ids: tuple[int, int] | None) -> NoReturn:
    """Start the server of `order` with `pipes` as its standard streams, and wait until it and all of its family end.

    `report` gets a `Report` where something fails, and is closed when the program runs. `ids`: our user and group
    outside of the new user namespace in which this runs; None: there is no new one.
    """
    # The gateway's thread that started the starter is its main one, so this comes when the gateway ends.
    prctl(PR_SET_PDEATHSIG, _GATEWAY_GONE)
    prctl(PR_SET_DUMPABLE, 0)
    signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED_FOR)
    try:
        os.setsid()
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        if order.has_namespaces:
            if ids is not None:
                map_ids(ids)
            enter_own_view(order)
        server = os.fork()
    except OSError as error:
        detail = str(error.filename or "namespaces")
        at = FAILED_TO_CONFINE if order.has_namespaces else FAILED_TO_FORK
        os.write(report, encode(Report(failed_at=at, errno=error.errno or 0, detail=detail)))
        os._exit(_NOT_STARTED)
    if server == 0:
        _run_server(order, pipes, report)
    _close_all()
    _end_as(_supervise(server), is_first=os.getpid() == 1)


def map_ids(ids: tuple[int, int]) -> None:
    """In a new user namespace: be who we were outside, and nobody else (user_namespaces(7))."""
    user, group = ids
    write_own("setgroups", "deny")
    write_own("uid_map", f"{user} {user} 1")
    write_own("gid_map", f"{group} {group} 1")


def _run_server(order: Order, pipes: tuple[int, int, int], report: int) -> NoReturn:
    for number, descriptor in enumerate(pipes):
        os.dup2(descriptor, number)
    # Nothing but the three streams goes on into the program, and the report only as far as the exec.
    os.closerange(3, report)
    os.closerange(report + 1, os.sysconf("SC_OPEN_MAX"))
    failure = Report(failed_at=FAILED_TO_CONFINE, detail="an unexpected error")
    try:
        failure = become_server(order, os.getppid())
    finally:
        # Never back into the starter's own code, whatever happened.
        os.write(report, encode(failure))
        os._exit(_NOT_STARTED)


def _close_all() -> None:
    """Close every descriptor: while the server's pipes are open here too, nobody sees their end."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))


def _supervise(server: int) -> int:
    """Reap until the server is dead, end what is left of its family; the server's wait status."""
    status: int | None = None
    while status is None:
        received = signal.sigwait(_WAITED_FOR)
        if received == END_NOW:
            _kill_family()
            return signal.SIGKILL
        if received == _GATEWAY_GONE:
            _end_family()
            return signal.SIGKILL
        for pid, ended in _reap():
            if pid == server:
                status = ended
    # The server is dead: so are its descendants from now on.
    _kill_family()
    return status


def _reap() -> Iterator[tuple[int, int]]:
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            yield pid, status


def _end_family() -> None:
    family = find_family()
    for pid in family:
        _send(pid, signal.SIGTERM)
    deadline = time.monotonic() + TERM_GRACE_SECONDS
    while _has_children() and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    _kill_family()


def _kill_family() -> None:
    """Kill and reap until there is nobody: those that are born meanwhile too."""
    if os.getpid() == 1:
        # The kernel ends them all together with the first process of their namespace.
        return
    deadline = time.monotonic() + KILL_SECONDS
    while _has_children() and time.monotonic() < deadline:
        for pid in find_family():
            _send(pid, signal.SIGKILL)
        time.sleep(0)


def _has_children() -> bool:
    for _ in _reap():
        pass
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def find_family() -> list[int]:
    """All our descendants; those that die meanwhile may be in it."""
    with contextlib.suppress(OSError):
        return list_family(os.getpid(), group_by_parent(read_table(list_pids())))
    return []  # nothing can be read now; whoever asks asks again


def _send(pid: int, signum: int) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, signum)


def _end_as(status: int, *, is_first: bool) -> NoReturn:
    """End with the exit code of the server, or by the signal that ended it."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        os._exit(code)
    if not is_first:
        restore_signals()
        if -code not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(SIGNAL_EXIT_CODE - code)
