"""A file that is written as a whole or not at all, under the eyes of whoever reads it meanwhile."""

import contextlib
import os
import secrets
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from fluidmcp.errors import ConfigurationError
from fluidmcp.packages.files import read_regular

_PRIVATE: Final = 0o600


def create_file(target: Path, content: bytes, *, shown: str, hint: str) -> None:
    """A new file that its owner alone can read; `hint` says what to do if there is one.

    Raises:
        ConfigurationError: something is there already, or it cannot be written.
    """
    try:
        with _draft(target, content, mode=_PRIVATE) as draft:
            # A link fails where something has come in the meantime; `replace` would not.
            os.link(draft, target)
    except FileExistsError:
        raise ConfigurationError(f"{shown} is there already.", hint=hint) from None
    except OSError as error:
        raise _cannot_be_written(shown, error) from None


def overwrite_file(target: Path, content: bytes, *, shown: str) -> None:
    """A file that its owner alone can read, in place of whatever is there.

    Raises:
        ConfigurationError: it cannot be written.
    """
    try:
        with _draft(target, content, mode=_PRIVATE) as draft:
            os.replace(draft, target)
    except OSError as error:
        raise _cannot_be_written(shown, error) from None


def replace_file(target: Path, content: bytes, *, before: bytes, shown: str) -> None:
    """Another content of a file that is there; its mode stays, and its owner where we may keep them.

    Raises:
        ConfigurationError: it may not be written, cannot be, or does not hold `before` any more.
    """
    try:
        status = os.stat(target)
        if not os.access(target, os.W_OK):
            # Nothing would keep us from putting another file in its place; but somebody said that it shall stay.
            raise ConfigurationError(
                f"{shown} cannot be written.", why="It is read-only.", hint="Allow it: chmod u+w, or name another file."
            )
        with _draft(target, content, mode=stat.S_IMODE(status.st_mode), owner=(status.st_uid, status.st_gid)) as draft:
            if read_regular(target, shown=shown, max_bytes=len(before)) != before:
                raise ConfigurationError(
                    f"{shown} was changed by somebody else just now.",
                    why="What they wrote would be lost.",
                    hint="Run the command again.",
                )
            os.replace(draft, target)
    except OSError as error:
        raise _cannot_be_written(shown, error) from None


@contextmanager
def _draft(target: Path, content: bytes, *, mode: int, owner: tuple[int, int] | None = None) -> Generator[Path]:
    """The content in a file beside the target, gone at the end. It is private until its mode and owner are set."""
    draft = target.with_name(f".{target.name}.{secrets.token_hex(6)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _PRIVATE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if owner is not None and owner != (os.geteuid(), os.getegid()):
                with contextlib.suppress(PermissionError):
                    os.fchown(descriptor, *owner)
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        yield draft
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft)


def _cannot_be_written(shown: str, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"{shown} cannot be written.", why=f"The system says: {error.strerror}.", hint="Check the path."
    )
