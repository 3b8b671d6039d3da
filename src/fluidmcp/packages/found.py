"""Packages on disk: `<author>/<name>/<version>/metadata.json` below the installation directory."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

INSTALLATION_VARIABLE = "MCP_INSTALLATION_DIR"
DEFAULT_INSTALLATION_DIRECTORY = ".fmcp-packages"
METADATA = "metadata.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundPackage:
    """One version of a package on disk."""

    author: str
    name: str
    version: str
    metadata: Path
    is_shipped: bool = False

    @property
    def spec(self) -> str:
        return f"{self.author}/{self.name}@{self.version}"


def find_installation_directory(environ: Mapping[str, str], *, working_directory: Path) -> Path:
    """Where packages are installed; a relative MCP_INSTALLATION_DIR counts from the working directory."""
    configured = environ.get(INSTALLATION_VARIABLE, "").strip()
    if not configured:
        return working_directory / DEFAULT_INSTALLATION_DIRECTORY
    path = Path(configured)
    if path.parts[:1] == ("~",) and environ.get("HOME"):
        path = Path(environ["HOME"], *path.parts[1:])
    return working_directory / path
