"""Installed packages of registries, and bundles: found by their spec, and compared with the lock before they run."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast, get_args

import msgspec

from fluidmcp.errors import ConfigurationError, UnknownPackageError
from fluidmcp.packages.bundles.unpack import digest_bundle
from fluidmcp.packages.files import read_regular
from fluidmcp.packages.found import METADATA, FoundPackage
from fluidmcp.packages.sources.contents import ChangedError, check_contents
from fluidmcp.packages.sources.lock import Lock, LockedPackage, read_lock
from fluidmcp.packages.sources.spec import Source, SourceSpec, is_bundle_path, is_exact_version, parse_source_spec
from fluidmcp.packages.spec import version_key

SOURCES: Final[tuple[str, ...]] = get_args(Source)
"""The authors of packages that are held by the lock."""
_MAX_METADATA: Final = 1024 * 1024
_FOLDER: Final = "${__dirname}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageProgram:
    """How the server of an installed package starts; everything in it is absolute, or found on PATH."""

    command: str
    args: tuple[str, ...]
    folder: Path
    """Of the package, which holds nothing else."""
    version: str
    start_hint: str = ""
    """What to do when its server does not start; empty: nothing is known that could be missing."""


def resolve_spec(text: str, *, directory: Path) -> FoundPackage:
    """The installed package that `text` means: `npm:...`, `pypi:...`, `mcpb:...`, without a version the highest one; or
    the file of a bundle, which is read.

    Its files are not looked at: `find_changed` does that.

    Raises:
        ConfigurationError: `text` is no such spec, or the lock cannot be read.
        UnknownPackageError: it is not installed.
    """
    package = _need_bundle(text, directory) if is_bundle_path(text) else _need_spec(text, directory)
    metadata = package.find_folder(directory) / METADATA
    return FoundPackage(author=package.source, name=package.slug, version=package.version, metadata=metadata)


def resolve_package_key(text: str, *, directory: Path, python: str = "") -> PackageProgram:
    """How to start the server of the installed package that `text` means, for `"package": "npm:..."` in an entry.

    `python` is the version that the entry asks for; empty: any. The files are compared with the lock, which reads all
    of them.

    Raises:
        ConfigurationError: `text` is no spec, the lock cannot be read, the files are not those that were installed, or
            it was installed for another Python.
        UnknownPackageError: it is not installed.
    """
    package = _need_spec(text, directory)
    if python and not f"{package.interpreter}.".startswith(f"python {python}."):
        raise ConfigurationError(
            f"{package.spec} is installed for {package.interpreter or 'no Python'}, not for Python {python}.",
            why="The entry names another one.",
            hint=f"Run: fluidmcp install {shlex.quote(package.spec)} --python {python}",
        )
    _check(package, directory)
    folder = package.find_folder(directory).absolute()
    path = folder / METADATA
    text_read = read_regular(path, shown=str(path), max_bytes=_MAX_METADATA, within=folder)
    entry = msgspec.json.decode(text_read)["mcpServers"][package.slug]
    return PackageProgram(
        command=str(entry["command"]).replace(_FOLDER, str(folder)),
        args=tuple(arg.replace(_FOLDER, str(folder)) for arg in cast("list[str]", entry.get("args", []))),
        folder=folder,
        version=package.version,
        start_hint=_make_hint(package),
    )


def find_installed(spec: SourceSpec, lock: Lock) -> LockedPackage | None:
    """The highest version of the package in the lock that `spec` means."""
    fitting = [package for package in lock.packages.values() if _fits(spec, package)]
    return max(fitting, key=lambda package: version_key(package.version), default=None)


def find_changed(packages: Sequence[FoundPackage], *, directory: Path) -> dict[str, ConfigurationError]:
    """Those of `packages` that the lock holds, or should, and that are not what was installed, by their spec.

    Reads every file of them: about a second for 10,000 files.

    Raises:
        ConfigurationError: the lock cannot be read.
    """
    mine = [package for package in packages if package.author in SOURCES and not package.is_shipped]
    lock = read_lock(directory) if mine else Lock()
    changed: dict[str, ConfigurationError] = {}
    for package in mine:
        locked = lock.find(package.author, package.name, package.version)
        try:
            if locked is None:
                raise _not_in_lock(package)
            _check(locked, directory)
        except ConfigurationError as error:
            changed[package.spec] = error
    return changed


def find_start_hint(package: FoundPackage, *, directory: Path) -> str:
    """What to do when the server of `package` does not start; empty: nothing is known that could be missing.

    Raises:
        ConfigurationError: the lock cannot be read.
    """
    if package.author not in SOURCES or package.is_shipped:
        return ""
    locked = read_lock(directory).find(package.author, package.name, package.version)
    return _make_hint(locked) if locked is not None else ""


def is_unchanged(package: LockedPackage, directory: Path) -> bool:
    try:
        _check(package, directory)
    except ConfigurationError:
        return False
    return True


def _check(package: LockedPackage, directory: Path) -> None:
    try:
        check_contents(package.find_folder(directory), package.contents, is_all_code=package.source == "mcpb")
    except ChangedError as error:
        why = f"{error}."
    except (FileNotFoundError, NotADirectoryError):
        why = "Its files are gone."
    except OSError as error:
        why = f"Its files cannot be read: {error.strerror}."
    except ConfigurationError as error:
        why = f"Its list of files cannot be read: {error.why}"
    else:
        return
    raise ConfigurationError(
        f"{package.spec} is not what was installed, and does not run.",
        why=why,
        hint=f"Find out who changed it; then install it again: {package.install_command}",
    )


def _need_spec(text: str, directory: Path) -> LockedPackage:
    spec = parse_source_spec(text)
    package = find_installed(spec, read_lock(directory))
    if package is None:
        raise _not_installed(str(spec), directory, is_bundle=spec.source == "mcpb")
    return package


def _need_bundle(text: str, directory: Path) -> LockedPackage:
    package = read_lock(directory).find_bundle(digest_bundle(Path(text)))
    if package is None:
        raise _not_installed(text, directory)
    return package


def _not_installed(text: str, directory: Path, *, is_bundle: bool = False) -> UnknownPackageError:
    wanted = "FILE.mcpb" if is_bundle else shlex.quote(text)
    return UnknownPackageError(
        f"{text} is not installed.",
        why=f"It is not in the lock of {directory}.",
        hint=f"Run: fluidmcp install {wanted}" + ("" if is_bundle else "   (or add --install to run)"),
    )


def _not_in_lock(package: FoundPackage) -> ConfigurationError:
    wanted = "FILE.mcpb" if package.author == "mcpb" else f"{package.author}:NAME"
    return ConfigurationError(
        f"{package.spec} is in no lock, and does not run.",
        why=f"Its installation was interrupted, or somebody put it there; folders named {package.author} belong to "
        "`fluidmcp install`.",
        hint=f"Install it again: fluidmcp install {wanted}",
    )


def _fits(spec: SourceSpec, package: LockedPackage) -> bool:
    if (package.source, package.name) != (spec.source, spec.name) or not set(spec.extras) <= set(package.extras):
        return False
    if not spec.version or spec.version in (package.version, package.wanted):
        return True
    # `1.2` is every 1.2.x of npm.
    is_part = spec.source == "npm" and spec.version[0].isdigit() and not is_exact_version("npm", spec.version)
    return is_part and package.version.startswith(f"{spec.version}.")


def _make_hint(package: LockedPackage) -> str:
    if not package.skipped_scripts:
        return ""
    names = ", ".join(package.skipped_scripts[:5])
    return (
        f"Scripts that fetch or build parts of it were not run ({names}). If you trust them: "
        f"fluidmcp install {package.spec} --allow-scripts"
    )
