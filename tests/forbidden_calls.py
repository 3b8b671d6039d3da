"""Runs a command without some system calls: `python tests/forbidden_calls.py ENOSYS landlock,mount COMMAND ...`.

Only for tests. The kernel answers those calls with the error, in the command and in all that it starts, as under the
seccomp profile of a container or on an older kernel (seccomp(2), "SECCOMP_RET_ERRNO").
"""

import ctypes
import errno
import os
import platform
import struct
import sys
from typing import Final

_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_SET_SECCOMP: Final = 22
_SECCOMP_MODE_FILTER: Final = 2
_LOAD, _IF_EQUAL, _IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000
_NUMBER_OFFSET, _MACHINE_OFFSET, _FIRST_ARGUMENT_OFFSET = 0, 4, 16
_NEW_NAMESPACES: Final = 0x10000000 | 0x20000000 | 0x00020000
"""CLONE_NEWUSER, CLONE_NEWPID and CLONE_NEWNS: other clones are how everything starts."""
_MACHINES: Final = {
    "x86_64": (0xC000003E, {"landlock": 444, "namespaces": 56, "mount": 165}),
    "aarch64": (0xC00000B7, {"landlock": 444, "namespaces": 220, "mount": 40}),
}


def is_known_machine() -> bool:
    return sys.platform == "linux" and platform.machine() in _MACHINES


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


def build_filter(names: list[str], error: int) -> list[bytes]:
    """Instructions of classic BPF."""

    def step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
        return struct.pack("=HBBI", code, if_true, if_false, value)

    machine, numbers = _MACHINES[platform.machine()]
    refuse = step(_RETURN, _ERROR | error)
    steps = [
        step(_LOAD, _MACHINE_OFFSET),
        step(_IF_EQUAL, machine, 1, 0),
        step(_RETURN, _ALLOW),
        step(_LOAD, _NUMBER_OFFSET),
    ]
    for name in names:
        if name == "namespaces":
            steps += [step(_IF_EQUAL, numbers[name], 0, 4), step(_LOAD, _FIRST_ARGUMENT_OFFSET)]
            steps += [step(_IF_ANY_BIT, _NEW_NAMESPACES, 0, 1), refuse, step(_RETURN, _ALLOW)]
        else:
            steps += [step(_IF_EQUAL, numbers[name], 0, 1), refuse]
    return [*steps, step(_RETURN, _ALLOW)]


def install(steps: list[bytes]) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    program = _Program(len(steps), b"".join(steps))

    def prctl(option: int, value: int, pointer: object = None) -> None:
        if library.prctl(option, ctypes.c_ulong(value), pointer, 0, 0):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    if os.geteuid() != 0:
        prctl(_PR_SET_NO_NEW_PRIVS, 1)
    prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program))


def main() -> None:
    error, names, *command = sys.argv[1:]
    install(build_filter(names.split(","), int(getattr(errno, error))))
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
