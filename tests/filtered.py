"""Runs a command under a filter of system calls: `python tests/filtered.py keyctl|join|openat2 COMMAND ...`.

Only for tests. `keyctl` is refused as a whole, as the default profile of Docker does; `join` refuses only what takes a
new session keyring, so that the one of the operator could still be read; openat2 is what RestrictSUIDSGID= of systemd
refuses. x86_64 and aarch64.
"""

import ctypes
import os
import platform
import struct
import sys
from typing import Final

KEYCTL: Final = {"x86_64": 250, "aarch64": 219}
OPENAT2: Final = 437
JOIN_SESSION_KEYRING: Final = 1

_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_SET_SECCOMP: Final = 22
_MODE_FILTER: Final = 2
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW: Final = 0x7FFF0000
_REFUSE: Final = 0x00050000 | 1
"""With EPERM."""
_NUMBER_AT, _FIRST_ARGUMENT_AT = 0, 16


def build_filter(number: int, *, only_join: bool) -> bytes:
    """A program of classic BPF (seccomp(2)); each instruction is a code, two jumps and a value."""
    looks_at_argument = [(_LOAD, 0, 0, _FIRST_ARGUMENT_AT), (_JUMP_IF_EQUAL, 0, 1, JOIN_SESSION_KEYRING)]
    middle = looks_at_argument if only_join else []
    program = [
        (_LOAD, 0, 0, _NUMBER_AT),
        (_JUMP_IF_EQUAL, 0, len(middle) + 1, number),
        *middle,
        (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("HBBI", *instruction) for instruction in program)


def main() -> None:
    what, command = sys.argv[1], sys.argv[2:]
    number = OPENAT2 if what == "openat2" else KEYCTL[platform.machine()]
    instructions = ctypes.create_string_buffer(build_filter(number, only_join=what == "join"))
    program = struct.pack("HP", len(instructions.raw) // 8, ctypes.addressof(instructions))
    libc = ctypes.CDLL(None, use_errno=True)
    zero = ctypes.c_ulong(0)
    for option, value, pointer in ((_PR_SET_NO_NEW_PRIVS, 1, None), (_PR_SET_SECCOMP, _MODE_FILTER, program)):
        if libc.prctl(ctypes.c_int(option), ctypes.c_ulong(value), pointer, zero, zero) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
