"""Ways out of a wall: other users, other namespaces, other mounts, other endpoints of the kernel."""

import contextlib
import ctypes
import errno
import mmap
import os
import stat
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from . import system
from .orders import Finder, Order, Outcome, outcome_of, worked

_LANDLOCK_ALL: Final = (1 << 16) - 1
_CAPABILITY_VERSION: Final = 0x20080522
_IORING_OP_OPENAT: Final = 18
_IORING_OFF_SQES: Final = 0x10000000
_IORING_ENTER_GETEVENTS: Final = 1
_AT_EMPTY_PATH: Final = 0x1000
_TIOCSTI: Final = 0x5412


def _read(order: Order, where: str) -> Outcome:
    """The file that was told; with `markers` it has to hold one."""
    finder = Finder(order)
    finder.feed(Path(order.path).read_bytes(), where)
    return finder.outcome()


def new_user(order: Order) -> Outcome:
    """Root in a user namespace of its own, and then the other's file."""
    _become_root_of_a_namespace(0)
    return _read(order, "a user namespace")


def new_user_alone(order: Order) -> Outcome:
    _become_root_of_a_namespace(0)
    return worked("it is root in a namespace of its own")


def mount_in_namespace(order: Order) -> Outcome:
    """Mounts in a namespace of its own: the folder of the other once more, at another place."""
    _become_root_of_a_namespace(system.CLONE_NEWNS)
    return _bind_and_read(order)


def mount_here(order: Order) -> Outcome:
    """The same without a namespace of its own, as root can."""
    return _bind_and_read(order)


def _bind_and_read(order: Order) -> Outcome:
    place = Path(tempfile.gettempdir()) / f"mounted-{os.getpid()}"
    place.mkdir()
    target = os.fsencode(place)
    source = os.fsencode(os.path.dirname(order.path))
    try:
        system.call(system.MOUNT, source, target, 0, system.MS_BIND, 0)
        try:
            finder = Finder(order)
            finder.feed((place / os.path.basename(order.path)).read_bytes(), "a mount of its own")
            return finder.outcome()
        finally:
            system.call(system.UMOUNT2, target, system.MNT_DETACH)
    finally:
        place.rmdir()


def mount_proc(order: Order) -> Outcome:
    """A /proc of its own, as it has come from the system, in a mount namespace of its own."""
    if os.geteuid():
        _become_root_of_a_namespace(system.CLONE_NEWNS)
    else:
        system.call(system.UNSHARE, system.CLONE_NEWNS)
        system.call(system.MOUNT, b"none", b"/", 0, system.MS_REC | system.MS_PRIVATE, 0)
    place = Path(tempfile.gettempdir()) / f"proc-{os.getpid()}"
    place.mkdir()
    system.call(system.MOUNT, b"proc", os.fsencode(place), b"proc", 0, 0)
    finder = Finder(order)
    finder.feed((place / str(order.pid) / "environ").read_bytes(), "a /proc of its own")
    return finder.outcome()


def new_processes(order: Order) -> Outcome:
    """A process namespace of its own, from which nothing looks as if it belonged to this server."""
    _become_root_of_a_namespace(system.CLONE_NEWPID)
    return worked("it has a process namespace of its own")


def leave_root(order: Order) -> Outcome:
    """The way out of a changed root that is as old as chroot itself."""
    if os.geteuid():
        _become_root_of_a_namespace(system.CLONE_NEWNS)
    jail = Path(tempfile.gettempdir()) / f"jail-{os.getpid()}"
    jail.mkdir()
    system.call(system.CHROOT, os.fsencode(jail))
    for _ in range(64):
        os.chdir("..")
    system.call(system.CHROOT, b".")
    return _read(order, "the root above")


def pivot(order: Order) -> Outcome:
    """Makes a root of its own and looks into the old one."""
    _become_root_of_a_namespace(system.CLONE_NEWNS)
    system.call(system.MOUNT, b"none", b"/", 0, system.MS_REC | system.MS_PRIVATE, 0)
    root = Path(tempfile.gettempdir()) / f"root-{os.getpid()}"
    (root / "old").mkdir(parents=True)
    target = os.fsencode(root)
    system.call(system.MOUNT, target, target, 0, system.MS_BIND, 0)
    system.call(system.PIVOT_ROOT, target, os.fsencode(root / "old"))
    finder = Finder(order)
    finder.feed(Path("/old" + order.path).read_bytes(), "the old root")
    return finder.outcome()


def enter(order: Order) -> Outcome:
    """Goes into a namespace of the other (`extra["kind"]`)."""
    descriptor = os.open(f"/proc/{order.pid}/ns/{order.extra['kind']}", os.O_RDONLY)
    system.call(system.SETNS, descriptor, 0)
    return _read(order, "the other's namespace") if order.path else worked("it is in the other's namespace")


def second_ruleset(order: Order) -> Outcome:
    """A Landlock ruleset of its own that allows everything, and then the other's file."""
    attributes = (ctypes.c_uint64 * 3)(_LANDLOCK_ALL, 0, 0)
    ruleset = system.call(system.LANDLOCK_CREATE_RULESET, system.address(attributes), 8, 0)
    descriptor = os.open("/", os.O_PATH)
    rule = ctypes.create_string_buffer(struct.pack("=Qi", _LANDLOCK_ALL, descriptor))
    system.call(system.LANDLOCK_ADD_RULE, ruleset, 1, system.address(rule), 0)
    system.control(system.PR_SET_NO_NEW_PRIVS, 1)
    system.call(system.LANDLOCK_RESTRICT_SELF, ruleset, 0)
    return _read(order, "a ruleset of its own")


def map_users(order: Order) -> Outcome:
    """Writes its own user map without a namespace of its own."""
    Path("/proc/self/uid_map").write_text("0 0 4294967295", encoding="ascii")
    return worked("its map was written")


def change_user(order: Order) -> Outcome:
    """Becomes root; who is root already becomes somebody else."""
    wanted = 1 if os.geteuid() == 0 else 0
    os.setresuid(wanted, wanted, wanted)
    return worked(f"it is user {os.geteuid()}")


def become_other(order: Order) -> Outcome:
    """Takes the user of the other process, and reads their file."""
    owner = os.stat(f"/proc/{order.pid}").st_uid
    os.setresgid(owner, owner, owner)
    os.setresuid(owner, owner, owner)
    return _read(order, f"being user {owner}")


def raise_capabilities(order: Order) -> Outcome:
    """Asks for every capability that there is."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    data = (ctypes.c_uint32 * 6)()
    system.call(system.CAPGET, system.address(header), system.address(data))
    if data[1] | data[4]:
        return worked(f"it is permitted {data[4]:08x}{data[1]:08x} already")
    for index in range(6):
        data[index] = 0xFFFFFFFF if index < 3 else 0x1FF
    system.call(system.CAPSET, system.address(header), system.address(data))
    return worked("every capability was given")


def regain_by_exec(order: Order) -> Outcome:
    """What a program that it starts anew may do."""
    text = subprocess.run(["/bin/cat", "/proc/self/status"], capture_output=True, check=True, text=True).stdout
    effective = next(line.split()[1] for line in text.splitlines() if line.startswith("CapEff"))
    return worked(f"the program has {effective}") if int(effective, 16) else Outcome("refused", "none at all")


def setuid_program(order: Order) -> Outcome:
    """Runs a program that belongs to root and says so in its mode: `cat`, which shows what it became."""
    done = subprocess.run([order.path, "/proc/self/status"], capture_output=True, text=True, timeout=3)
    if done.returncode:
        return Outcome("refused", f"it ended with {done.returncode}: {done.stderr.strip()}")
    fields = {line.partition(":")[0]: line.split()[1:] for line in done.stdout.splitlines()}
    became = f"user {fields['Uid'][1]} with capabilities {fields['CapEff'][0]}"
    return worked(became) if int(fields["CapEff"][0], 16) else Outcome("refused", became)


def ring_open(order: Order) -> Outcome:
    """Opens the file through io_uring, which does its work elsewhere in the kernel."""
    parameters = ctypes.create_string_buffer(120)
    ring = system.call(system.IO_URING_SETUP, 4, system.address(parameters))
    entries, completions = struct.unpack_from("=II", parameters.raw, 0)
    sq_tail, sq_array = (struct.unpack_from("=I", parameters.raw, 40 + offset)[0] for offset in (4, 24))
    cq_entries = struct.unpack_from("=I", parameters.raw, 80 + 20)[0]
    size = max(sq_array + entries * 4, cq_entries + completions * 16)
    queue = mmap.mmap(ring, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
    slots = mmap.mmap(ring, entries * 64, mmap.MAP_SHARED, offset=_IORING_OFF_SQES)
    path = ctypes.create_string_buffer(os.fsencode(order.path))
    slots[0:64] = struct.pack(
        "=BBHiQQIIQ24x", _IORING_OP_OPENAT, 0, 0, system.AT_FDCWD, 0, system.address(path), 0, os.O_RDONLY, 1
    )
    struct.pack_into("=I", queue, sq_array, 0)
    struct.pack_into("=I", queue, sq_tail, 1)
    system.call(system.IO_URING_ENTER, ring, 1, 1, _IORING_ENTER_GETEVENTS, 0, 0)
    result = struct.unpack_from("=i", queue, cq_entries + 8)[0]
    if result < 0:
        return outcome_of(OSError(-result, os.strerror(-result)))
    finder = Finder(order)
    finder.feed(os.read(result, 65536), "io_uring")
    return finder.outcome()


def memory_program(order: Order) -> Outcome:
    """A program that is in no file system, started from memory, reads the file."""
    program = os.memfd_create("program")
    os.write(program, Path("/bin/cat").read_bytes())
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writing, 1)
        arguments = (ctypes.c_char_p * 3)(b"cat", os.fsencode(order.path), None)
        environment = (ctypes.c_char_p * 1)(None)
        place = (program, b"", system.address(arguments), system.address(environment), _AT_EMPTY_PATH)
        try:
            system.call(system.EXECVEAT, *place)
        finally:
            os._exit(99)
    os.close(writing)
    with open(reading, "rb") as output:
        finder = Finder(order)
        finder.feed(output.read(), "a program in memory")
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return finder.outcome() if finder.found else Outcome("refused", f"it ended with {code}")


def open_special(order: Order) -> Outcome:
    """Opens something that belongs to the whole machine (`extra["flags"]`: r or w), and does nothing with it."""
    flags = os.O_WRONLY if order.extra.get("flags") == "w" else os.O_RDONLY
    os.close(os.open(order.path, flags | os.O_NONBLOCK))
    return worked("it can be opened")


def make_device(order: Order) -> Outcome:
    """Makes a device of the machine a second time, in its own home."""
    device = os.stat(order.path)
    path = Path(tempfile.gettempdir()) / f"device-{os.getpid()}"
    os.mknod(path, stat.S_IFMT(device.st_mode) | 0o600, device.st_rdev)
    try:
        os.close(os.open(path, os.O_RDONLY))
    finally:
        path.unlink()
    return worked("the device can be read")


def type_for_operator(order: Order) -> Outcome:
    """Puts a character into the operator's terminal, as if they had typed it."""
    descriptor = os.open(order.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        result = system.LIBC.ioctl(descriptor, ctypes.c_ulong(_TIOCSTI), ctypes.c_char_p(b"x"))
        if result < 0:
            raise OSError(ctypes.get_errno(), "TIOCSTI")
    finally:
        os.close(descriptor)
    return worked("typed")


def restart_machine(order: Order) -> Outcome:
    """Whether the machine would be restarted: the numbers that it has to be told are wrong, so it will not."""
    return _is_allowed(system.REBOOT, 0, 0, 0, 0)


def rename_machine(order: Order) -> Outcome:
    """Gives the machine the name that it has."""
    name = os.uname().nodename.encode()
    return _is_allowed(system.SETHOSTNAME, name, len(name))


def swap_to_file(order: Order) -> Outcome:
    """Whether the memory of the machine would be written to a file: there is no such file."""
    return _is_allowed(system.SWAPON, b"/nonexistent", 0)


def _is_allowed(number: int, *arguments: int | bytes) -> Outcome:
    """Nobody says no: the call works, or fails because of what it was given."""
    try:
        system.call(number, *arguments)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES, errno.ENOSYS):
            return outcome_of(error)
        return worked(f"allowed; then {error}")
    return worked("done")


def _become_root_of_a_namespace(more: int) -> None:
    uid, gid = os.geteuid(), os.getegid()
    system.call(system.UNSHARE, system.CLONE_NEWUSER | more)
    # Where these may not be written it is nobody there, and has every capability all the same.
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with contextlib.suppress(OSError):
            Path(f"/proc/self/{name}").write_text(text, encoding="ascii")
