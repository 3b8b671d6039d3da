"""The Pythons of this machine: those in PATH, of uv, and of pyenv."""

import os
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from fluidmcp.errors import UserError
from tests.acceptance.harness import BIN
from tests.release.project import clean_environment

LIMIT_SECONDS: Final = 60.0
_ASK: Final = "import sys; print('.'.join(map(str, sys.version_info[:2])))"


def ask_version(python: Path) -> str | None:
    """`3.12`, or None where the program does not run: pyenv has one in PATH for versions that are not switched on."""
    try:
        done = subprocess.run(
            [python, "-I", "-c", _ASK],
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
        )
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def find_python(version: str) -> Path | None:
    """An interpreter of `version`, written as `3.12`."""
    for folder in os.get_exec_path():
        path = Path(folder, f"python{version}")
        # The environment of the tests is left out: an environment made of it would be one of the same Python, but uv
        # would name this one in it.
        if path.is_file() and path.parent != BIN and ask_version(path) == version:
            return path
    places = (Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions", _uv_folder())
    numbered = re.compile(rf"(?:cpython-)?{re.escape(version)}\.\d+(?:-.*)?")
    for place in places:
        for folder in sorted(place.glob("*")) if place.is_dir() else ():
            path = folder / "bin" / f"python{version}"
            if numbered.fullmatch(folder.name) and path.is_file() and ask_version(path) == version:
                return path
    return None


def find_all(versions: Iterable[str]) -> dict[str, Path]:
    """Raises UserError where one of them is not here."""
    found = {version: find_python(version) for version in versions}
    missing = [version for version, path in found.items() if path is None]
    if missing:
        raise UserError(
            f"Python {' and '.join(missing)} cannot be found.",
            why="The classifiers in pyproject.toml say that a release works with it.",
            hint="Install it, or name the interpreters that are to be tried: --python PATH.",
        )
    return {version: path for version, path in found.items() if path is not None}


def _uv_folder() -> Path:
    return Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or Path.home() / ".local" / "share" / "uv" / "python")
