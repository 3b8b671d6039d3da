"""System calls by their numbers, for attacks that no library would make. x86-64 only; elsewhere `NotHereError`."""

import ctypes
import os
import platform
from typing import Any, Final

LIBC: Final = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long

SHMGET: Final = 29
SHMAT: Final = 30
SHMCTL: Final = 31
PTRACE: Final = 101
CAPGET: Final = 125
CAPSET: Final = 126
RT_SIGQUEUEINFO: Final = 129
PERSONALITY: Final = 135
PIVOT_ROOT: Final = 155
CHROOT: Final = 161
MOUNT: Final = 165
UMOUNT2: Final = 166
SWAPON: Final = 167
REBOOT: Final = 169
SETHOSTNAME: Final = 170
TKILL: Final = 200
TGKILL: Final = 234
MQ_OPEN: Final = 240
MQ_TIMEDSEND: Final = 242
MQ_TIMEDRECEIVE: Final = 243
ADD_KEY: Final = 248
REQUEST_KEY: Final = 249
KEYCTL: Final = 250
INOTIFY_ADD_WATCH: Final = 254
UNSHARE: Final = 272
GET_ROBUST_LIST: Final = 274
RT_TGSIGQUEUEINFO: Final = 297
PERF_EVENT_OPEN: Final = 298
FANOTIFY_INIT: Final = 300
PRLIMIT64: Final = 302
NAME_TO_HANDLE_AT: Final = 303
OPEN_BY_HANDLE_AT: Final = 304
SETNS: Final = 308
PROCESS_VM_READV: Final = 310
KCMP: Final = 312
MEMFD_CREATE: Final = 319
BPF: Final = 321
EXECVEAT: Final = 322
PIDFD_SEND_SIGNAL: Final = 424
IO_URING_SETUP: Final = 425
IO_URING_ENTER: Final = 426
PIDFD_OPEN: Final = 434
PIDFD_GETFD: Final = 438
LANDLOCK_CREATE_RULESET: Final = 444
LANDLOCK_ADD_RULE: Final = 445
LANDLOCK_RESTRICT_SELF: Final = 446

PR_SET_NAME: Final = 15
PR_SET_NO_NEW_PRIVS: Final = 38

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWPID: Final = 0x20000000
CLONE_NEWNET: Final = 0x40000000
CLONE_NEWIPC: Final = 0x08000000

MS_BIND: Final = 4096
MS_REC: Final = 16384
MS_PRIVATE: Final = 1 << 18
MNT_DETACH: Final = 2
AT_FDCWD: Final = -100


class NotHereError(Exception):
    """The attack cannot be made on this machine."""


def call(number: int, *arguments: int | bytes | None) -> int:
    """The system call. Raises OSError with its error number, and NotHereError where the numbers are others."""
    if platform.machine() != "x86_64":
        raise NotHereError(f"not on this machine: system call {number} on {platform.machine()}")
    values: list[Any] = [ctypes.c_long(a) if isinstance(a, int) else ctypes.c_char_p(a) for a in arguments]
    result: int = LIBC.syscall(ctypes.c_long(number), *values)
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def control(option: int, *arguments: int | bytes) -> int:
    """`prctl`."""
    values: list[Any] = [ctypes.c_ulong(a) if isinstance(a, int) else ctypes.c_char_p(a) for a in arguments]
    values += [ctypes.c_ulong(0)] * (4 - len(values))
    result: int = LIBC.prctl(ctypes.c_int(option), *values)
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def address(buffer: Any) -> int:
    """Where a ctypes buffer is."""
    return ctypes.addressof(buffer)
