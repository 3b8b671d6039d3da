"""The file of a client on this machine: found, read, and written with a copy of the old one beside it."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from fluidmcp.cli.files.whole_file import create_file, overwrite_file, replace_file
from fluidmcp.cli.output import print_warning
from fluidmcp.errors import ConfigurationError, UserError
from fluidmcp.packages.clients.editing import MAX_CLIENT_FILE_BYTES
from fluidmcp.packages.clients.table import FileClient, Place
from fluidmcp.packages.files import read_regular

BACKUP_SUFFIX: Final = ".before-fluidmcp"
_FOLDER_MODE: Final = 0o700


def find_client_file(client: FileClient, environ: Mapping[str, str], *, is_mac: bool | None = None) -> Path:
    """Where the client keeps its servers: the first of its places that is there, else the first.

    Raises:
        UserError: nobody knows where the home directory is.
    """
    is_mac = sys.platform == "darwin" if is_mac is None else is_mac
    paths = [_locate(place, environ, is_mac=is_mac) for place in client.places]
    return next((path for path in paths if os.path.lexists(path)), paths[0])


def show_path(path: Path, environ: Mapping[str, str]) -> str:
    """The path as a person would type it."""
    home = environ.get("HOME", "")
    return f"~/{path.relative_to(home)}" if home and path.is_relative_to(home) else str(path)


def read_client_bytes(path: Path, *, shown: str) -> bytes | None:
    """What the file holds; None where there is none. A link is followed.

    Raises:
        ConfigurationError: it cannot be read, or is no regular file.
    """
    real = Path(os.path.realpath(path))
    if not os.path.lexists(real):
        return None
    return read_regular(real, shown=shown, max_bytes=MAX_CLIENT_FILE_BYTES)


def write_client_bytes(path: Path, content: bytes, *, before: bytes | None, shown: str) -> Path | None:
    """Put another content in the place of `before`; where the copy of that is, None if there was none.

    The file keeps its mode, and its owner where we may set it. A link stays a link: what it leads to is written. Other
    names of the file keep what it held, and a warning says so. A new file and each copy are for its owner alone.

    Raises:
        ConfigurationError: it cannot be written, or was changed by somebody else in the meantime; it is as it was.
    """
    real = Path(os.path.realpath(path))
    if before is None:
        try:
            real.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"{shown} cannot be written.",
                why=f"Its folder cannot be made; the system says: {error.strerror}.",
                hint="Check the path.",
            ) from None
        create_file(real, content, shown=shown, hint="Run the command again.")
        return None
    copy = real.with_name(real.name + BACKUP_SUFFIX)
    if before:
        overwrite_file(copy, before, shown=str(copy))
    has_other_names = _count_names(real) > 1
    replace_file(real, content, before=before, shown=shown)
    if has_other_names:
        print_warning(f"{shown} had another name on this disk (a hard link), which keeps the old content.")
    return copy if before else None


def _count_names(path: Path) -> int:
    try:
        return path.stat().st_nlink
    except OSError:
        return 1  # whoever writes it says what is wrong


def _locate(place: Place, environ: Mapping[str, str], *, is_mac: bool) -> Path:
    folder = environ.get(place.variable, "") if place.variable else ""
    if os.path.isabs(folder):
        return Path(folder) / place.below_variable
    home = environ.get("HOME", "")
    if not os.path.isabs(home):
        raise UserError("There is no home directory.", why="HOME is not set.", hint="Set HOME.")
    settings = environ.get("XDG_CONFIG_HOME", "")
    config = Path(settings) if os.path.isabs(settings) else Path(home) / ".config"
    match place.base:
        case "home":
            return Path(home) / place.path
        case "config":
            return config / place.path
        case "applications":
            return (Path(home) / "Library" / "Application Support" if is_mac else config) / place.path
