"""From a fork of the starter to the server's program: limits, namespaces, user, Landlock, proof, exec."""

import os
import resource
import signal
from typing import Final

from fluidmcp.processes.starter_child import landlock
from fluidmcp.processes.starter_child.mounts import DEVICES, SHARED_MEMORY
from fluidmcp.processes.starter_child.order import (
    FAILED_TO_CONFINE,
    FAILED_TO_ENTER,
    FAILED_TO_EXECUTE,
    THREADS_PER_PROCESS,
    Order,
    Report,
)
from fluidmcp.processes.starter_child.syscalls import (
    FILE_CAPABILITIES,
    PR_GET_NO_NEW_PRIVS,
    PR_SET_DUMPABLE,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    clear_user_keyring,
    keep_capabilities,
    leave_session_keyring,
    prctl,
)

OUT_OF_MEMORY_SCORE: Final = 500
"""Where memory runs out, server processes go before the gateway."""
_CHANGED_SIGNALS: Final = (
    signal.SIGPIPE,
    signal.SIGXFSZ,
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
)


class ConfinementError(OSError):
    """A step of the confinement failed, or did not do what it has to."""


def become_server(order: Order, keeper: int) -> Report:
    """Confine this process, and turn it into the server's program; returns only where that fails, with the reason.

    `keeper` is the parent's number as this process sees it.
    """
    try:
        _confine(order, keeper)
    except OSError as error:
        return Report(failed_at=FAILED_TO_CONFINE, errno=error.errno or 0, detail=str(error.filename or error.strerror))
    try:
        os.chdir(order.directory)
    except OSError as error:
        return Report(failed_at=FAILED_TO_ENTER, errno=error.errno or 0)
    try:
        os.execve(order.program, order.argv, order.environment)
    except OSError as error:
        return Report(failed_at=FAILED_TO_EXECUTE, errno=error.errno or 0)


def _confine(order: Order, keeper: int) -> None:
    restore_signals()
    _set_limits(order)
    leave_session_keyring()
    # As root it would otherwise keep what makes every wall pointless: kernel modules, raw devices, packet capture.
    kept = FILE_CAPABILITIES if order.keeps_capabilities else ()
    if order.user_id is not None:
        os.setgroups([])
        os.setresgid(order.user_id, order.user_id, order.user_id)
        os.setresuid(order.user_id, order.user_id, order.user_id)
        clear_user_keyring()
    keep_capabilities(kept)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    # After the change of user, which clears it: whoever kills the keeper ends the server.
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    prctl(PR_SET_DUMPABLE, 0)
    if order.has_landlock:
        landlock.restrict(_rules(order), keeps_files=order.reach.keeps_files)
    _prove(order, keeper)


def _rules(order: Order) -> list[tuple[int, str]]:
    reach = order.reach
    rules = [(landlock.READ, path) for path in reach.read]
    rules += [(landlock.LIST, path) for path in reach.listed]
    rules += [(landlock.WRITE, path) for path in reach.write]
    rules += [(landlock.DEVICE, path) for path in DEVICES]
    if order.home is not None:
        rules.append((landlock.WRITE, order.home))
        if order.has_namespaces:
            rules.append((landlock.WRITE, SHARED_MEMORY))
    return rules


def _set_limits(order: Order) -> None:
    limits = order.limits
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _lower(resource.RLIMIT_NOFILE, limits.open_files)
    if order.home is not None:
        # A process that works with the operator's files may write large ones.
        _lower(resource.RLIMIT_FSIZE, limits.disk_bytes)
    if order.user_id is not None or order.has_namespaces:
        # Counts threads, of all processes of a user (namespace).
        _lower(resource.RLIMIT_NPROC, limits.processes * THREADS_PER_PROCESS)
    write_own("oom_score_adj", str(OUT_OF_MEMORY_SCORE))


def write_own(name: str, text: str) -> None:
    """Write to a file of `/proc/self`: those of a process that is not dumpable belong to root."""
    prctl(PR_SET_DUMPABLE, 1)
    try:
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)
    finally:
        prctl(PR_SET_DUMPABLE, 0)


def _lower(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))


def restore_signals() -> None:
    """What Python, starter and keeper changed: programs expect the system's own dispositions, and nothing blocked."""
    for signum in _CHANGED_SIGNALS:
        signal.signal(signum, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _prove(order: Order, keeper: int) -> None:
    """Try what must not work. Whoever asks for confinement twice from two threads gets it in one of them only."""
    if prctl(PR_GET_NO_NEW_PRIVS) != 1:
        raise ConfinementError(0, "no_new_privs is not in force")
    if order.user_id is not None and os.getresuid() != (order.user_id,) * 3:
        raise ConfinementError(0, "the user is another one")
    if not order.has_landlock:
        return
    if not order.reach.keeps_files and _may_list("/"):
        raise ConfinementError(0, "Landlock is not in force for files")
    if landlock.abi() >= landlock.SCOPES_ABI and _may_signal(keeper):
        raise ConfinementError(0, "Landlock is not in force for signals")


def _may_list(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except PermissionError:
        return False
    return True


def _may_signal(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return False
    return True
