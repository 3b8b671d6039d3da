"""A file system to ask what a process may reach of it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fluidmcp.processes.isolation.reach import ReachBuilder
from fluidmcp.processes.starter_child.order import Reach


@dataclass
class Ground:
    """An operator with a home, a working directory outside of it, and what is asked for."""

    folder: Path
    asked: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def home(self) -> Path:
        return self.folder / "homes" / "operator"

    @property
    def work(self) -> Path:
        return self.folder / "work"

    def write(self, path: str, text: str = "") -> Path:
        place = self.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        return place

    def link(self, path: str, target: str | Path) -> Path:
        place = self.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)
        return place

    def build(self, **changes: Any) -> Reach:
        asked: dict[str, Any] = {
            "program": str(self.folder / "bin" / "server"),
            "args": (),
            "environment": {"PATH": "/usr/bin:/bin"},
            "named": (),
            "directory": str(self.work),
            "owns_directory": False,
            "left_out": (),
            "read": (),
            "write": (),
            "may_install": False,
        }
        asked |= changes
        asked.setdefault("default_directory", asked["directory"])
        return ReachBuilder(str(self.home)).build(**asked)


def may_read(reach: Reach, path: str | Path) -> bool:
    return is_below(path, (*reach.read, *reach.write))


def is_below(path: str | Path, folders: tuple[str, ...]) -> bool:
    return any(f"{path}/".startswith(f"{folder}/") for folder in folders)
