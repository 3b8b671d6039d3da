"""Reading a file that a person or a package named: only a regular one, of bounded size, and never waiting for it.

A package folder is foreign: its `metadata.json` may be a FIFO that hangs whoever opens it, a link to a key of the
operator, or a device. A file that the operator named may be a link, since the operator knows where it leads.
"""

import errno
import os
import stat
from contextlib import ExitStack
from pathlib import Path, PurePath

from fluidmcp.errors import ConfigurationError

_OPENING = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""O_NONBLOCK: a FIFO that takes the place of the file after it was looked at does not hang either."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_CHECK_PATH = "Check the path; it counts from the working directory."
_PUT_A_FILE = "Put a file of its own in its place."


class _RefusedError(Exception):
    def __init__(self, why: str, hint: str) -> None:
        super().__init__(why)
        self.why = why
        self.hint = hint


def read_regular(path: Path, *, shown: str, max_bytes: int, within: Path | None = None) -> bytes:
    """The bytes of the regular file at `path`, at most `max_bytes`; `shown` is what a message calls it.

    With `within`, a folder, the file must lie in it, whatever links lead to it, and must have no other name (a hard
    link may be somebody else's file). A relative `path` counts from the working directory, as `within` does.

    Raises:
        ConfigurationError: it is missing, something else than a regular file, outside of `within`, or too large.
    """
    try:
        with ExitStack() as stack:
            folder, name = (None, str(path)) if within is None else _find_inside(path, within, stack)
            return _read(folder, name, max_bytes=max_bytes, stack=stack)
    except _RefusedError as error:
        why, hint = error.why, error.hint
    except FileNotFoundError:
        why, hint = "There is no such file.", _CHECK_PATH
    except ValueError:
        why, hint = "Its name holds a NUL character.", _CHECK_PATH
    except OSError as error:
        why, hint = f"The system says: {error.strerror}.", "Check the path and its permissions."
    raise ConfigurationError(f"{shown} cannot be read.", why=why, hint=hint)


def _find_inside(path: Path, within: Path, stack: ExitStack) -> tuple[int, str]:
    """The open folder that holds the file, and its name there: both free of links."""
    root = os.path.realpath(within, strict=True)
    real = PurePath(os.path.realpath(path, strict=True))
    if not real.is_relative_to(root) or real == PurePath(root):
        raise _RefusedError(
            f"It leads out of {within}.", "Put the file into that folder; links to other places are not followed."
        )
    *folders, name = real.relative_to(root).parts
    descriptor = _open(root, _FOLDER, folder=None, stack=stack)
    for folder in folders:
        descriptor = _open(folder, _FOLDER, folder=descriptor, stack=stack)
    return descriptor, name


def _read(folder: int | None, name: str, *, max_bytes: int, stack: ExitStack) -> bytes:
    is_inside = folder is not None
    # Looked at before it is opened, because opening is enough to make some devices act.
    _check(os.stat(name, dir_fd=folder, follow_symlinks=not is_inside), max_bytes=max_bytes, is_inside=is_inside)
    descriptor = _open(name, _OPENING | (os.O_NOFOLLOW if is_inside else 0), folder=folder, stack=stack)
    _check(os.fstat(descriptor), max_bytes=max_bytes, is_inside=is_inside)
    with os.fdopen(descriptor, "rb", closefd=False) as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise _too_large(max_bytes)
    return content


def _open(name: str, flags: int, *, folder: int | None, stack: ExitStack) -> int:
    try:
        descriptor = os.open(name, flags, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR) and flags & os.O_NOFOLLOW:
            raise _RefusedError("It became a link while it was read.", _PUT_A_FILE) from None
        raise
    stack.callback(os.close, descriptor)
    return descriptor


def _check(status: os.stat_result, *, max_bytes: int, is_inside: bool) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise _RefusedError("It is a directory.", "Name the file itself.")
    if not stat.S_ISREG(status.st_mode):
        raise _RefusedError(f"It is {_name_kind(status.st_mode)}, not a file.", _PUT_A_FILE)
    if is_inside and status.st_nlink > 1:
        raise _RefusedError("It is a hard link: the same file has another name elsewhere.", _PUT_A_FILE)
    if status.st_size > max_bytes:
        raise _too_large(max_bytes)


def _too_large(max_bytes: int) -> _RefusedError:
    return _RefusedError(f"It is larger than {max_bytes} bytes.", "Name another file, or make it smaller.")


def _name_kind(mode: int) -> str:
    if stat.S_ISFIFO(mode):
        return "a named pipe"
    if stat.S_ISSOCK(mode):
        return "a socket"
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        return "a device"
    return "a link" if stat.S_ISLNK(mode) else "something special"
