"""A Unix socket: for its owner and its group, in the place of one that nobody answers at, and removed at the end."""

import contextlib
import errno
import fcntl
import os
import socket
import stat
from collections.abc import Generator
from typing import Final

from fluidmcp.cli.serving.listening.ports import BACKLOG
from fluidmcp.errors import ConfigurationError, PortInUseError

CONNECT_SECONDS: Final = 5.0
"""How long it may take to find out whether somebody answers at a socket that is there."""
_OTHERS: Final = 0o117
"""The mask that leaves 0660."""


@contextlib.contextmanager
def open_unix_socket(path: str) -> Generator[socket.socket]:
    """A listening socket at `path` (0660), which is gone after the block.

    Raises:
        PortInUseError: somebody answers there, or is about to.
        ConfigurationError: a file of another kind is there, or the folder lets nothing be made.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with listener:
        try:
            with _alone_in(os.path.dirname(path)):
                _make_room(path)
                before = os.umask(_OTHERS)
                try:
                    listener.bind(path)
                finally:
                    os.umask(before)
                listener.listen(BACKLOG)
        except OSError as error:
            raise _unusable(path, error.strerror or "It cannot be made") from error
        made = _identify(path)
        listener.setblocking(False)
        try:
            yield listener
        finally:
            # Another gateway may have put its own there, after somebody removed this one.
            with contextlib.suppress(OSError):
                if _identify(path) == made:
                    os.unlink(path)


@contextlib.contextmanager
def _alone_in(folder: str) -> Generator[None]:
    """Of two gateways that start at once, one would remove the other's new socket for an old one."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PortInUseError(
                f"Another gateway is just starting in {folder}.", hint="Start one after the other."
            ) from None
        yield
    finally:
        os.close(descriptor)


def _make_room(path: str) -> None:
    """Remove a socket at which nobody answers any more."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise _unusable(path, "A file is there that is no socket")
    if _is_answered(path):
        raise PortInUseError(
            f"The socket {path} is in use.",
            why="Another process answers there.",
            hint="Stop it, or choose another path with --uds.",
        )
    os.unlink(path)


def _is_answered(path: str) -> bool:
    """Whether it is not known that nobody does: only a refused connection says so."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(CONNECT_SECONDS)
        try:
            probe.connect(path)
        except OSError as error:
            return error.errno not in (errno.ECONNREFUSED, errno.ENOENT)
    return True


def _identify(path: str) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_dev, status.st_ino


def _unusable(path: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"The socket {path} cannot be opened.", why=f"{why}.", hint="Choose another path with --uds."
    )
