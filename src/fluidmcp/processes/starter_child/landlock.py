"""Landlock (landlock(7), kernel documentation "Landlock: unprivileged access control"): rules for the calling thread.

A domain of Landlock keeps its processes from tracing any process outside of it. That covers `ptrace`,
`process_vm_readv`, `pidfd_getfd` and every file of `/proc/PID` that tells what a process holds.
"""

import os
import stat
from collections.abc import Iterable
from typing import Final

from fluidmcp.processes.starter_child.syscalls import (
    landlock_add_path,
    landlock_create_ruleset,
    landlock_restrict_self,
    open_place,
)

SCOPES_ABI: Final = 6
"""This ABI and later ones can keep signals and abstract sockets inside (Linux 6.12)."""

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_MAKE_CHAR, _MAKE_BLOCK = 1 << 6, 1 << 11
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_NEWEST_RIGHT_OF_ABI: Final = ((1, 12), (2, 13), (3, 14), (5, 15))
_FOR_FILES: Final = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV

READ: Final = _EXECUTE | _READ_FILE | _READ_DIR
LIST: Final = _READ_DIR
DEVICE: Final = _READ_FILE | _WRITE_FILE | _TRUNCATE | _IOCTL_DEV
WRITE: Final = (1 << 16) - 1
"""All that an ABI knows, device nodes left out."""

_SCOPE_ABSTRACT_SOCKETS, _SCOPE_SIGNALS = 1, 2


def abi() -> int:
    """The version of Landlock here; 0: the kernel has none, it is switched off, or a filter forbids the call."""
    try:
        return landlock_create_ruleset(b"", 1)
    except OSError:
        return 0


def restrict(rules: Iterable[tuple[int, str]], *, keeps_files: bool) -> None:
    """Confine this thread, and all that it starts, to what `rules` allow, for good. Needs `no_new_privs`.

    `rules`: rights (READ, LIST, DEVICE, WRITE) and the path at and below which they hold; paths that are not there are
    passed over. `keeps_files`: files are not restricted at all, and `rules` do not count; the wall against tracing,
    signals and abstract sockets stands.

    Raises:
        OSError: the kernel refuses.
    """
    version = abi()
    known = _known_rights(version)
    handled = (_MAKE_CHAR | _MAKE_BLOCK | _REFER) & known if keeps_files else known
    scopes = _SCOPE_ABSTRACT_SOCKETS | _SCOPE_SIGNALS if version >= SCOPES_ABI else 0
    attributes = [handled]
    if version >= 4:
        attributes.append(0)  # no rule for the network
    if version >= SCOPES_ABI:
        attributes.append(scopes)
    ruleset = landlock_create_ruleset(b"".join(value.to_bytes(8, "little") for value in attributes))
    try:
        if keeps_files:
            # Moving between folders is refused by every ruleset that does not allow it.
            rules = [(_REFER, "/")] if handled & _REFER else []
        for rights, path in rules:
            _allow(ruleset, rights & handled & ~(_MAKE_CHAR | _MAKE_BLOCK), path)
        landlock_restrict_self(ruleset)
    finally:
        os.close(ruleset)


def _known_rights(version: int) -> int:
    newest = max(bit for since, bit in _NEWEST_RIGHT_OF_ABI if since <= version)
    return (1 << (newest + 1)) - 1


def _allow(ruleset: int, rights: int, path: str) -> None:
    try:
        descriptor = open_place(path)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _FOR_FILES
        if rights:
            landlock_add_path(ruleset, rights, descriptor)
    finally:
        os.close(descriptor)
