"""What an installer of a source gets and gives."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """What is asked for beside the package."""

    directory: Path
    """The installation directory."""
    environ: Mapping[str, str] = field(repr=False)
    report: Callable[[str], None]
    """Gets one line when a step begins."""
    allow_scripts: bool = False
    """Whether packages of npm may run their scripts when they are installed."""
    python: str = ""
    """The interpreter for a package of PyPI: a version or a path; empty: one that the package accepts."""
    entry: str = ""
    """The name of the program; empty: the one that npx or uvx would run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How the server starts. `${__dirname}` stands for the folder of the package."""

    command: str
    args: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """What an installer put into its folder; see `lock.LockedPackage`."""

    version: str
    integrity: tuple[str, ...]
    tree: str
    launch: Launch
    entry_point: str
    requires: str = ""
    interpreter: str = ""
    skipped_scripts: tuple[str, ...] = ()
