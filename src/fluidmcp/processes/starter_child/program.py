"""The program of the starter: takes orders from the gateway, forks, and watches the limits of what it started.

Small and with one thread, because it forks: a fork of the gateway would cost more, and code that runs between fork and
exec in a process of several threads may hang. It holds no secret longer than a start takes, and ends with the gateway.
"""

import array
import contextlib
import gc
import os
import resource
import select
import signal
import socket
from typing import Final, NoReturn

from fluidmcp.processes.starter_child import syscalls
from fluidmcp.processes.starter_child.keeper import keep, map_ids
from fluidmcp.processes.starter_child.meter import Meter
from fluidmcp.processes.starter_child.mounts import enter_own_view
from fluidmcp.processes.starter_child.order import (
    DESCRIPTORS,
    FAILED_TO_FORK,
    KEEP,
    START,
    Kept,
    Limits,
    Machine,
    Notice,
    Order,
    Reach,
    Report,
    decode_kept,
    decode_order,
    encode,
)

_PROBE_FOLDERS: Final = ("/tmp", "/dev/shm", "/var/tmp")
_CAPABILITIES_FOR_USERS: Final = {
    "CAP_CHOWN": 0,
    "CAP_DAC_OVERRIDE": 1,
    "CAP_KILL": 5,
    "CAP_SETGID": 6,
    "CAP_SETUID": 7,
}


def main() -> None:
    """Serve the socket that is our standard input until the gateway closes it."""
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        # What ends the gateway may be sent to everything around it as well; this process ends with its socket.
        signal.signal(signum, signal.SIG_IGN)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    # Once here and not in every child, because it costs a millisecond.
    syscalls.bound_capabilities(syscalls.FILE_CAPABILITIES)
    # Two descriptors for every process that is watched.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    control = socket.socket(fileno=0)
    control.send(encode(_probe()))
    # A collection in a fork would copy the pages that it only looks at.
    gc.collect()
    gc.freeze()
    gc.disable()
    meter = Meter(lambda notice: _tell(control, notice))
    poll = select.poll()
    poll.register(control, select.POLLIN)
    while True:
        pause = meter.pause_seconds()
        if poll.poll(None if pause is None else pause * 1000) and not _take_message(control, meter):
            return
        meter.look()


def _take_message(control: socket.socket, meter: Meter) -> bool:
    """One message; false when the gateway is gone."""
    kind, descriptors = _receive(control)
    if not kind:
        return False
    try:
        if len(descriptors) != DESCRIPTORS.get(kind):
            return True
        text = os.pread(descriptors[0], os.fstat(descriptors[0]).st_size, 0)
        if kind == START:
            _start(decode_order(text), descriptors[1:], meter)
        elif kind == KEEP:
            with contextlib.suppress(OSError):
                # Without a descriptor for it, it runs on as it did; nobody new is started unwatched.
                meter.add(decode_kept(text))
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    return True


def _receive(control: socket.socket) -> tuple[bytes, list[int]]:
    """A message and its descriptors, which no program inherits (`socket.recv_fds` would not see to that)."""
    size = array.array("i").itemsize
    space = socket.CMSG_SPACE(max(DESCRIPTORS.values()) * size)
    kind, controls, _, _ = control.recvmsg(1, space, socket.MSG_CMSG_CLOEXEC)
    descriptors = array.array("i")
    for level, control_type, data in controls:
        if level == socket.SOL_SOCKET and control_type == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % size])
    return kind, list(descriptors)


def _start(order: Order, descriptors: list[int], meter: Meter) -> None:
    stdin, stdout, stderr, report = descriptors
    flags = _namespace_flags() if order.has_namespaces else _ipc_flag(order)
    ids = _ids_to_map(flags)
    try:
        pid = syscalls.fork(flags | syscalls.CLONE_PARENT)
    except OSError as error:
        os.write(report, encode(Report(failed_at=FAILED_TO_FORK, errno=error.errno or 0, detail="namespaces")))
        return
    if pid == 0:
        keep(order, (stdin, stdout, stderr), report, ids)
    try:
        # Before the gateway knows the number, and may wait for it.
        meter.add(Kept(pid, order.limits, None if order.has_namespaces else order.home))
    except OSError as error:
        # The gateway ends it.
        failed = Report(pid=pid, failed_at=FAILED_TO_FORK, errno=error.errno or 0, detail="watching its limits")
        os.write(report, encode(failed))
        return
    os.write(report, encode(Report(pid=pid)))


def _ipc_flag(order: Order) -> int:
    """A process that gets a used user id must not find the shared memory that the previous one left."""
    has_other_user = order.user_id is not None and syscalls.has_capability(syscalls.CAP_SYS_ADMIN)
    return syscalls.CLONE_NEWIPC if has_other_user else 0


def _namespace_flags() -> int:
    """A user namespace only where we may not make the others without: in it, other people's files belong to nobody."""
    flags = syscalls.CLONE_NEWPID | syscalls.CLONE_NEWNS | syscalls.CLONE_NEWIPC
    return flags if syscalls.has_capability(syscalls.CAP_SYS_ADMIN) else flags | syscalls.CLONE_NEWUSER


def _ids_to_map(flags: int) -> tuple[int, int] | None:
    return (os.getuid(), os.getgid()) if flags & syscalls.CLONE_NEWUSER else None


def _tell(control: socket.socket, notice: Notice) -> None:
    with contextlib.suppress(OSError):
        control.send(encode(notice), socket.MSG_DONTWAIT)


def _probe() -> Machine:
    lacking = [name for name, number in _CAPABILITIES_FOR_USERS.items() if not syscalls.has_capability(number)]
    no_landlock = ""
    call = "landlock_create_ruleset"
    try:
        version = syscalls.landlock_create_ruleset(b"", 1)
        # Its rules name places that are opened so; a filter may refuse the one call and allow the other.
        call = "openat2"
        os.close(syscalls.open_place("/"))
    except OSError as error:
        version, no_landlock = 0, f"{call}: {os.strerror(error.errno or 0)}"
    return Machine(
        landlock_abi=version,
        no_landlock=no_landlock,
        no_namespaces=_try_namespaces(),
        no_user_ids=f"it has no {', '.join(lacking)}" if lacking else "",
    )


def _try_namespaces() -> str:
    """Make them once, with all that a server process gets; what failed, or nothing."""
    folder = next((path for path in _PROBE_FOLDERS if os.path.isdir(path)), "")
    reach = Reach(read=("/usr",))
    limits = Limits(1 << 30, 1, 64, 1 << 20)
    order = Order("", (), {}, "/", False, True, None, False, folder, ("tmp",), reach, limits)
    flags = _namespace_flags()
    ids = _ids_to_map(flags)
    read_end, write_end = os.pipe()
    try:
        pid = syscalls.fork(flags)
    except OSError as error:
        return f"clone: {os.strerror(error.errno or 0)}"
    if pid == 0:
        _try_own_view(order, ids, write_end)
    os.close(write_end)
    os.waitpid(pid, 0)
    with open(read_end, "rb") as file:
        return file.read().decode()


def _try_own_view(order: Order, ids: tuple[int, int] | None, write_end: int) -> NoReturn:
    try:
        if ids is not None:
            map_ids(ids)
        enter_own_view(order)
    except OSError as error:
        os.write(write_end, f"mount: {os.strerror(error.errno or 0)}".encode())
    os._exit(0)
