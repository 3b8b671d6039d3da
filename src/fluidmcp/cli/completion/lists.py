"""The names that are proposed, read from this machine's disk."""

from pathlib import Path

from fluidmcp.config.providers.table import PRESETS
from fluidmcp.config.settings import read_environment
from fluidmcp.packages.catalogue.table import KNOWN_SERVERS
from fluidmcp.packages.found import find_installation_directory
from fluidmcp.packages.resolve import ALL, SHIPPED_DIRECTORY, find_packages
from fluidmcp.packages.sources.lock import read_lock


def list_package_names() -> list[str]:
    """Packages under the names at which a gateway serves them.

    Raises:
        ConfigurationError: a folder or the lock cannot be read.
    """
    found = (*find_packages(_find_directory()), *find_packages(SHIPPED_DIRECTORY, is_shipped=True))
    return sorted({package.name for package in found})


def list_installed_names() -> list[str]:
    """What `fluidmcp install` has installed, as it is written; raises as `list_package_names`."""
    packages = read_lock(_find_directory()).packages.values()
    return sorted({f"{package.source}:{package.name}" for package in packages})


def list_runnable_names() -> list[str]:
    """What `fluidmcp run` takes besides files; raises as `list_package_names`."""
    return [ALL, *list_package_names(), *list_installed_names()]


def list_known_server_names() -> list[str]:
    return list(KNOWN_SERVERS)


def list_preset_names() -> list[str]:
    return list(PRESETS)


def _find_directory() -> Path:
    return find_installation_directory(read_environment(), working_directory=Path.cwd())
