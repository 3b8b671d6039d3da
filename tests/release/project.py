"""What a release is made of, and what refuses one before anything is built."""

import os
import re
import subprocess
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from packaging.version import InvalidVersion, Version

from fluidmcp.errors import UserError

_VERSION: Final = re.compile(r'^__version__ = "([^"]*)"$', re.MULTILINE)
_PYTHON: Final = "Programming Language :: Python :: "
_SHOWN_CHANGES: Final = 5
COMMAND_LIMIT_SECONDS: Final = 300.0


@dataclass(frozen=True, slots=True)
class Project:
    """`epoch` is the time of the commit, in seconds: the only clock that a build sees."""

    root: Path
    name: str
    version: str
    epoch: int
    pythons: tuple[str, ...]
    """Those that the classifiers name, as `3.11`."""
    pins: tuple[str, ...]
    """Exact versions of all dependencies, those that the tests run with."""

    @property
    def stem(self) -> str:
        """What the names of its files begin with."""
        return f"{self.name.replace('-', '_')}-{self.version}"

    @property
    def wheel_name(self) -> str:
        return f"{self.stem}-py3-none-any.whl"

    @property
    def sdist_name(self) -> str:
        return f"{self.stem}.tar.gz"

    @property
    def bill_name(self) -> str:
        return f"{self.stem}.cdx.json"


def run(command: Sequence[str | Path], *, cwd: Path, env: Mapping[str, str] | None = None, umask: int = -1) -> str:
    """What a command writes to stdout. `env` is added to this environment, less what is meant for FluidMCP and Python.

    Raises:
        UserError: it failed; its own words have been shown on stderr.
    """
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=clean_environment() | dict(env or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        timeout=COMMAND_LIMIT_SECONDS,
        umask=umask,
    )
    if done.returncode:
        shown = " ".join(Path(word).name if Path(word).is_absolute() else str(word) for word in command[:4])
        raise UserError(f"`{shown}` failed.", why=done.stdout.strip()[-2000:] or f"Its exit code is {done.returncode}.")
    return done.stdout


def clean_environment() -> dict[str, str]:
    dropped = ("FMCP_", "MCP_", "PYTHON", "VIRTUAL_ENV", "UV_PROJECT", "UV_RUN", "GIT_")
    return {name: value for name, value in os.environ.items() if not name.startswith(dropped)}


def read_project(root: Path) -> Project:
    """Raises UserError where the version is not one, or no commit is checked out."""
    document: dict[str, Any] = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    classifiers: list[str] = document["project"]["classifiers"]
    found = _VERSION.findall((root / "src" / "fluidmcp" / "__init__.py").read_text(encoding="utf-8"))
    return Project(
        root=root,
        name=document["project"]["name"],
        version=_check_version(found[0] if len(found) == 1 else ""),
        epoch=int(run(["git", "log", "-1", "--format=%ct"], cwd=root)),
        pythons=tuple(name.removeprefix(_PYTHON) for name in classifiers if name.startswith(f"{_PYTHON}3.")),
        pins=tuple(document["tool"]["uv"]["constraint-dependencies"]),
    )


def check_ready(project: Project) -> None:
    """Raises UserError where the tree is dirty, the tag exists, or the changelog or the Helm chart says otherwise."""
    changes = run(["git", "status", "--porcelain", "--untracked-files=all"], cwd=project.root).splitlines()
    if changes:
        raise UserError(
            "The tree is not clean: what would be built is in no commit.",
            why="; ".join(change.strip() for change in changes[:_SHOWN_CHANGES]),
            hint="Commit it, or take it out of this folder.",
        )
    tag = f"v{project.version}"
    if run(["git", "tag", "--list", tag], cwd=project.root).strip():
        raise UserError(
            f"There is a tag {tag} already.",
            hint="Raise __version__ in src/fluidmcp/__init__.py; a version is made once.",
        )
    if not find_changes(project.version, (project.root / "CHANGELOG.md").read_text(encoding="utf-8")):
        raise UserError(
            f"CHANGELOG.md has no section for {project.version}.",
            hint=f"Write `## [{project.version}] - YYYY-MM-DD` above what stood under [Unreleased].",
        )
    chart = (project.root / "deploy" / "helm" / "fluidmcp" / "Chart.yaml").read_text(encoding="utf-8")
    if f"\nappVersion: {project.version}\n" not in chart:
        raise UserError("deploy/helm/fluidmcp/Chart.yaml has another appVersion.", hint=f"Make it {project.version}.")


def find_changes(version: str, changelog: str) -> str:
    """What the changelog says of a version; empty where it has no dated section, or nothing in it."""
    section = re.search(
        rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL
    )
    lines = section[1].splitlines() if section else []
    return "\n".join(lines).strip() if any(line.startswith("- ") for line in lines) else ""


def _check_version(text: str) -> str:
    try:
        version = Version(text)
    except InvalidVersion:
        version = None
    if version is None or str(version) != text or version.local:
        raise UserError(
            "src/fluidmcp/__init__.py has no version that can be published.",
            why='It needs one line `__version__ = "1.2.0"`, in the form in which Python writes versions.',
        )
    return text
