"""The private home of a server process that serves one person: made before the start, deleted after the end."""

import os
import secrets
import tempfile
from collections.abc import Sequence
from pathlib import Path

from fluidmcp.config.filling.files import HOME_FOLDERS as FOLDERS
from fluidmcp.config.filling.files import PrivateFile
from fluidmcp.processes.starter_child.home_files import write_files
from fluidmcp.processes.watchdog_child import remove_tree

_DIRECTORIES = {
    "XDG_CONFIG_HOME": ".config",
    "XDG_CACHE_HOME": ".cache",
    "XDG_DATA_HOME": ".local/share",
    "XDG_STATE_HOME": ".local/state",
    "TMPDIR": "tmp",
}


def homes_folder(base: Path | None = None) -> Path:
    """Where private homes are made: `base`, or the system's temporary directory."""
    return Path(os.path.realpath(base or tempfile.gettempdir()))


def choose_home(base: Path | None) -> Path:
    """A name that nobody can guess, below `base` or the system's temporary directory; nothing is made yet."""
    return homes_folder(base) / f"fluidmcp-{secrets.token_hex(16)}"


def create_home(home: Path, *, user_id: int | None = None, files: Sequence[PrivateFile] = ()) -> None:
    """Make the directory, which only its user may enter (0700), the ones in it, and `files` (0600).

    `user_id` is another user's. Raises OSError when it cannot be made, or is there already.
    """
    home.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = [home, *(home / name for name in FOLDERS)]
    for folder in made:
        folder.mkdir(mode=0o700)
    made += map(Path, write_files(str(home), [(file.target, file.text) for file in files]))
    if user_id is not None:
        # Inner ones first: whoever gave an outer directory away may not enter it any more.
        for path in reversed(made):
            os.chown(path, user_id, user_id, follow_symlinks=False)


def home_variables(home: Path) -> dict[str, str]:
    """The variables that make `home` the only place a program of the person knows to write to."""
    return {"HOME": str(home), **{name: str(home / path) for name, path in _DIRECTORIES.items()}}


def remove_home(home: Path) -> bool:
    """Delete the directory; True when nothing is left. Blocking: for a thread, not for the event loop."""
    return remove_tree(str(home))
