"""The private home of a server process that serves one person: made before the start, deleted after the end."""

import secrets
import tempfile
from pathlib import Path

from fluidmcp.processes.watchdog_child import remove_tree

_DIRECTORIES = {
    "XDG_CONFIG_HOME": ".config",
    "XDG_CACHE_HOME": ".cache",
    "XDG_DATA_HOME": ".local/share",
    "XDG_STATE_HOME": ".local/state",
    "TMPDIR": "tmp",
}


def choose_home(base: Path | None) -> Path:
    """A name that nobody can guess, below `base` or the system's temporary directory; nothing is made yet."""
    return Path(base or tempfile.gettempdir()).absolute() / f"fluidmcp-{secrets.token_hex(16)}"


def create_home(home: Path) -> None:
    """Make the directory, which only this user may enter (0700), and the ones in it.

    Raises OSError when it cannot be made, or is there already.
    """
    home.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    home.mkdir(mode=0o700)
    for name in (".config", ".cache", ".local", ".local/share", ".local/state", "tmp"):
        (home / name).mkdir(mode=0o700)


def home_variables(home: Path) -> dict[str, str]:
    """The variables that make `home` the only place a program of the person knows to write to."""
    return {"HOME": str(home), **{name: str(home / path) for name, path in _DIRECTORIES.items()}}


def remove_home(home: Path) -> bool:
    """Delete the directory; True when nothing is left. Blocking: for a thread, not for the event loop."""
    return remove_tree(str(home))
