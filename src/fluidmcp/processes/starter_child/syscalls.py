"""The system calls that Python has no function for, each raising OSError as `os` does. Linux on x86_64 and aarch64.

For the starter, which has one thread: a call here holds the interpreter's lock.
"""

import ctypes
import errno
import functools
import os
import platform
import signal
import sys
from typing import Final

CLONE_PARENT: Final = 0x00008000
CLONE_NEWNS: Final = 0x00020000
CLONE_NEWIPC: Final = 0x08000000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWPID: Final = 0x20000000

PR_SET_PDEATHSIG: Final = 1
PR_SET_DUMPABLE: Final = 4
PR_CAPBSET_DROP: Final = 24
PR_SET_CHILD_SUBREAPER: Final = 36
PR_SET_NO_NEW_PRIVS: Final = 38
PR_GET_NO_NEW_PRIVS: Final = 39

MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
MS_BIND: Final = 4096
MS_REC: Final = 16384
MS_SLAVE: Final = 1 << 19
MNT_DETACH: Final = 2

CAP_SYS_ADMIN: Final = 21
CAP_SYS_NICE: Final = 23
FILE_CAPABILITIES: Final = (0, 1, 2, 3, 4)
"""CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID."""
_LAST_CAPABILITY: Final = 40
_CAPABILITY_VERSION_3: Final = 0x20080522

# clone, pivot_root, keyctl, landlock_create_ruleset, landlock_add_rule, landlock_restrict_self
_NUMBERS: Final = {
    "x86_64": (56, 155, 250, 444, 445, 446),
    "aarch64": (220, 41, 219, 444, 445, 446),
}
_OPENAT2: Final = 437
_MOUNT_SETATTR: Final = 442
"""These two on every machine."""
_RESOLVE_NO_SYMLINKS: Final = 4
_AT_FDCWD: Final = -100
_AT_RECURSIVE: Final = 0x8000
_MOUNT_ATTR_RDONLY, _MOUNT_ATTR_NOSUID, _MOUNT_ATTR_NODEV = 1, 2, 4
_KEYCTL_GET_KEYRING_ID: Final = 0
_KEYCTL_JOIN_SESSION_KEYRING: Final = 1
_KEYCTL_CLEAR: Final = 7
_SESSION_KEYRING: Final = -3
_USER_KEYRING: Final = -4
_REFUSED: Final = (errno.EPERM, errno.ENOSYS)
"""What a filter of system calls answers, and a kernel without the call."""


def is_known_machine() -> bool:
    """Whether the numbers of the calls are known here; elsewhere nothing of this module may be called."""
    return sys.platform == "linux" and platform.machine() in _NUMBERS and sys.maxsize > 1 << 32


class _Calls:
    """The C library, with the lock of the interpreter held during a call, and the numbers of this machine."""

    def __init__(self) -> None:
        self.library = ctypes.PyDLL(None, use_errno=True)
        self.library.syscall.restype = ctypes.c_long
        (self.clone, self.pivot_root, self.keyctl, self.landlock_create, self.landlock_add, self.landlock_restrict) = (
            _NUMBERS[platform.machine()]
        )

    def syscall(self, number: int, *arguments: object) -> int:
        return self._check(self.library.syscall(ctypes.c_long(number), *arguments))

    def call(self, name: str, *arguments: object) -> int:
        return self._check(getattr(self.library, name)(*arguments))

    @staticmethod
    def _check(result: int) -> int:
        if result == -1:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))
        return result


@functools.cache
def _calls() -> _Calls:
    return _Calls()


def fork(flags: int) -> int:
    """Fork as `os.fork` does, with flags of clone(2); 0 in the child.

    With CLONE_PARENT the child is one of *our parent*: the gateway waits for what the starter made.
    """
    calls = _calls()
    # What os.fork does around the call.
    ctypes.pythonapi.PyOS_BeforeFork()
    try:
        pid = calls.syscall(calls.clone, ctypes.c_ulong(flags | signal.SIGCHLD), None, None, None, None)
    except OSError:
        ctypes.pythonapi.PyOS_AfterFork_Parent()
        raise
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
    else:
        ctypes.pythonapi.PyOS_AfterFork_Parent()
    return pid


def prctl(option: int, value: int = 0) -> int:
    zero = ctypes.c_ulong(0)
    return _calls().call("prctl", ctypes.c_int(option), ctypes.c_ulong(value), zero, zero, zero)


def mount(source: str | None, target: str, kind: str | None, flags: int, options: str = "") -> None:
    def text(value: str | None) -> bytes | None:
        return None if value is None else os.fsencode(value)

    _calls().call(
        "mount",
        text(source),
        os.fsencode(target),
        text(kind),
        ctypes.c_ulong(flags),
        text(options) if options else None,
    )


def make_read_only(target: str, *, only_safe: bool = False) -> None:
    """The mount at `target` and those below it: no devices, no setuid, and nothing changes (mount_setattr(2)).

    `only_safe`: what is in it may be changed.
    """
    calls = _calls()
    flags = _MOUNT_ATTR_NOSUID | _MOUNT_ATTR_NODEV | (0 if only_safe else _MOUNT_ATTR_RDONLY)
    attributes = b"".join(value.to_bytes(8, sys.byteorder) for value in (flags, 0, 0, 0))
    calls.syscall(
        _MOUNT_SETATTR,
        ctypes.c_int(_AT_FDCWD),
        os.fsencode(target),
        ctypes.c_uint(_AT_RECURSIVE),
        attributes,
        ctypes.c_size_t(len(attributes)),
    )


def detach(target: str) -> None:
    _calls().call("umount2", os.fsencode(target), ctypes.c_int(MNT_DETACH))


def pivot_root(new: str, old: str) -> None:
    calls = _calls()
    calls.syscall(calls.pivot_root, os.fsencode(new), os.fsencode(old))


def leave_session_keyring() -> None:
    """A session keyring of our own, so that keys of the operator's login are not possessed (keyrings(7))."""
    _change_keyring(_KEYCTL_JOIN_SESSION_KEYRING, None)


def clear_user_keyring() -> None:
    """Forget what an earlier process with this user id left in the keyring of the user."""
    _change_keyring(_KEYCTL_CLEAR, ctypes.c_long(_USER_KEYRING))


def _change_keyring(operation: int, argument: object) -> None:
    """Nothing where a filter refuses keyctl as a whole, as that of Docker does: then nobody reads any keyring."""
    calls = _calls()
    try:
        calls.syscall(calls.keyctl, ctypes.c_ulong(operation), argument)
    except OSError as error:
        if error.errno not in _REFUSED or not _is_keyctl_refused():
            raise


def _is_keyctl_refused() -> bool:
    """Whether even what everybody may ask is refused: which keyring the session has."""
    calls = _calls()
    operation, keyring = ctypes.c_ulong(_KEYCTL_GET_KEYRING_ID), ctypes.c_long(_SESSION_KEYRING)
    try:
        calls.syscall(calls.keyctl, operation, keyring, ctypes.c_long(0))
    except OSError as error:
        return error.errno in _REFUSED
    return False


def bound_capabilities(kept: tuple[int, ...]) -> None:
    """Let no program that is executed from here on have more than `kept`, whoever executes it."""
    for capability in range(_LAST_CAPABILITY + 1):
        if capability not in kept:
            try:
                prctl(PR_CAPBSET_DROP, capability)
            except OSError:
                # Without CAP_SETPCAP there is nothing to bound: such a user gains none (no_new_privs).
                return


def keep_capabilities(kept: tuple[int, ...]) -> None:
    """Give up every capability but `kept`; together with no_new_privs, for good."""
    mask = sum(1 << capability for capability in kept) & _effective_capabilities()
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    low = mask & 0xFFFFFFFF
    data = (ctypes.c_uint32 * 6)(low, low, 0, mask >> 32, mask >> 32, 0)
    _calls().call("capset", header, data)


def open_place(path: str) -> int:
    """A descriptor of a place (O_PATH), to whose path no symbolic link contributes (openat2(2), RESOLVE_NO_SYMLINKS).

    Paths were followed when the order was made; one that has become a link since then was planted. Raises OSError.
    """
    calls = _calls()
    how = b"".join(value.to_bytes(8, sys.byteorder) for value in (os.O_PATH | os.O_CLOEXEC, 0, _RESOLVE_NO_SYMLINKS))
    return calls.syscall(_OPENAT2, ctypes.c_int(_AT_FDCWD), os.fsencode(path), how, ctypes.c_size_t(len(how)))


def has_capability(capability: int) -> bool:
    return bool(_effective_capabilities() >> capability & 1)


def _effective_capabilities() -> int:
    with open("/proc/thread-self/status", encoding="ascii") as file:
        for line in file:
            if line.startswith("CapEff:"):
                return int(line.split()[1], 16)
    return 0


def landlock_create_ruleset(attributes: bytes, flags: int = 0) -> int:
    """A descriptor of the ruleset; with the flag 1 and no attributes, the ABI version (landlock(7))."""
    calls = _calls()
    size = ctypes.c_size_t(len(attributes))
    return calls.syscall(calls.landlock_create, attributes or None, size, ctypes.c_uint32(flags))


def landlock_add_path(ruleset: int, access: int, descriptor: int) -> None:
    """Allow `access` at and below the open path (LANDLOCK_RULE_PATH_BENEATH; the structure is packed)."""
    calls = _calls()
    rule = access.to_bytes(8, sys.byteorder) + descriptor.to_bytes(4, sys.byteorder)
    calls.syscall(calls.landlock_add, ctypes.c_int(ruleset), ctypes.c_int(1), rule, ctypes.c_uint32(0))


def landlock_restrict_self(ruleset: int) -> None:
    calls = _calls()
    calls.syscall(calls.landlock_restrict, ctypes.c_int(ruleset), ctypes.c_uint32(0))
