"""Other gateways, installed at exact versions (`benchmarks/parts`) into the benchmarks' own folder."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from benchmarks.node import find_npm
from benchmarks.workshop import CACHE, ROOT

PARTS: Final = ROOT / "benchmarks" / "parts"
UV: Final = str(ROOT / ".tools" / "bin" / "uv")
LIMIT_SECONDS: Final = 300.0
NPM_FILES: Final = ("package.json", "package-lock.json", ".npmrc")
NODE_MODULES: Final = CACHE / "node_modules"


class InstallError(Exception):
    """The package manager failed; the text is the last of what it said."""


def install_npm_parts() -> None:
    """All gateways of npm.

    Raises:
        InstallError
    """
    wanted = (PARTS / "package-lock.json").read_bytes()
    installed = CACHE / "package-lock.json"
    if NODE_MODULES.is_dir() and installed.exists() and installed.read_bytes() == wanted:
        return
    shutil.rmtree(NODE_MODULES, ignore_errors=True)
    CACHE.mkdir(parents=True, exist_ok=True)
    for name in NPM_FILES:
        shutil.copy(PARTS / name, CACHE / name)
    # The system's certificates, because a company's proxy is known to them and not to Node.
    _run([*find_npm(), "ci", "--prefix", str(CACHE), "--loglevel=error"], {"NODE_USE_SYSTEM_CA": "1"})


def install_python_part(name: str) -> Path:
    """The environment of `parts/NAME.txt`, without this project's settings: they name other versions.

    Raises:
        InstallError
    """
    requirements, folder = PARTS / f"{name}.txt", CACHE / name
    installed = folder / requirements.name
    if not installed.exists() or installed.read_bytes() != requirements.read_bytes():
        CACHE.mkdir(parents=True, exist_ok=True)
        _run([UV, "venv", "--quiet", "--clear", "--no-config", "--python", "3.11", str(folder)])
        _run([UV, "pip", "install", "--quiet", "--no-config", "--python", str(folder), "-r", str(requirements)])
        shutil.copy(requirements, installed)
    return folder


def _run(command: list[str], environ: dict[str, str] | None = None) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=LIMIT_SECONDS, env={**os.environ, **(environ or {})}
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InstallError(f"cannot be installed: {type(error).__name__}") from error
    if done.returncode != 0:
        raise InstallError(f"cannot be installed: {done.stderr.strip()[-200:]}")
