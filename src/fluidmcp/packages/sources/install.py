"""`fluidmcp install` and `uninstall`: what changes the installation directory, one at a time.

A package is made in a folder of its own and moved to its place when it is whole; the lock is written last. What was
interrupted is not in the lock, so it does not run, and the next installation takes it away.
"""

import json
import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fluidmcp.errors import ConfigurationError, InstallError, UnknownPackageError
from fluidmcp.packages.bundles.unpack import digest_bundle
from fluidmcp.packages.found import METADATA
from fluidmcp.packages.sources.bundle import install_bundle
from fluidmcp.packages.sources.contents import write_contents
from fluidmcp.packages.sources.installed import find_installed, is_unchanged
from fluidmcp.packages.sources.installer import Installation, Installed
from fluidmcp.packages.sources.lock import Lock, LockedPackage, hold_directory, read_lock, write_lock
from fluidmcp.packages.sources.npm import install_npm
from fluidmcp.packages.sources.pypi import install_pypi
from fluidmcp.packages.sources.runtimes import Runtime, fetch_runtime, has_runtime
from fluidmcp.packages.sources.spec import Source, SourceSpec, is_bundle_path, is_good_entry, parse_source_spec

Installer = Callable[[SourceSpec, Path, Installation], Installed]

INSTALLERS: Final[Mapping[Source, tuple[Installer, Runtime]]] = {
    "npm": (install_npm, "node"),
    "pypi": (install_pypi, "uv"),
}
"""What installs the packages of a source, and the runtime that it needs."""
_STAGING: Final = ".staging"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallOptions:
    """The command line of `fluidmcp install`."""

    allow_scripts: bool = False
    python: str = ""
    entry: str = ""
    force: bool = False
    """Whether a version may have other contents than the last time."""

    @property
    def are_usual(self) -> bool:
        return not (self.allow_scripts or self.python or self.entry or self.force)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallPlace:
    """Where packages are installed, with which environment, and who hears of it."""

    directory: Path
    environ: Mapping[str, str] = field(repr=False)
    report: Callable[[str], None]
    """Gets one line when a step begins."""


def install_package(text: str, place: InstallPlace, options: InstallOptions) -> tuple[LockedPackage, bool]:
    """Install the package that `text` names; what the lock says of it, and whether anything was done.

    An exact version that is installed and whole is left as it is, without asking a registry.

    Raises:
        ConfigurationError: the spec or an option is wrong, the package has no program, no runtime or interpreter is
            there, or this version had other contents before.
        UnknownPackageError: the registry does not have it.
        InstallError: npm or uv failed, or the directory cannot be written.
    """
    if is_bundle_path(text):
        return _install_bundle(Path(text), place, options)
    spec = parse_source_spec(text)
    if spec.source not in INSTALLERS:
        raise ConfigurationError(
            f"{spec} cannot be fetched.",
            why="No registry has bundles.",
            hint="Name the file: fluidmcp install FILE.mcpb",
        )
    _check_options(spec.source, str(spec), options)
    with hold_directory(place.directory, on_wait=lambda: place.report("Waiting for another installation")):
        _clean(place.directory)
        lock = read_lock(place.directory)
        present = find_installed(spec, lock) if spec.is_exact else None
        if present is not None and options.are_usual and is_unchanged(present, place.directory):
            return present, False
        _check_slug(spec, lock)
        try:
            return _install(spec, place, options, lock), True
        except OSError as error:
            raise _explain(str(spec), place.directory, error) from error


def uninstall_package(text: str, place: InstallPlace) -> list[LockedPackage]:
    """Remove what `text` names: a spec (without a version all versions), or the name under which it is served.

    Raises:
        ConfigurationError: the directory or its lock cannot be read or written.
        UnknownPackageError: nothing of that name is installed.
    """
    if not place.directory.is_dir():
        raise _nothing_to_remove(text, place.directory)
    with hold_directory(place.directory, on_wait=lambda: place.report("Waiting for another installation")):
        _clean(place.directory)
        lock = read_lock(place.directory)
        removed = _find_named(text, lock)
        if not removed:
            raise _nothing_to_remove(text, place.directory)
        # Out of the lock first: what is left behind when this is interrupted does not run.
        for package in removed:
            lock = lock.without(package)
        try:
            write_lock(place.directory, lock)
            for package in removed:
                _remove(package.find_folder(place.directory), place.directory)
        except OSError as error:
            raise ConfigurationError(
                f"{removed[0].spec} could not be removed.",
                why=f"{place.directory}: {error.strerror}.",
                hint="Look at the permissions of the directory, and run the command again.",
            ) from error
        return removed


def _check_options(source: Source, shown: str, options: InstallOptions) -> None:
    wrong = ""
    if options.python and source != "pypi":
        wrong = "--python is for packages of PyPI"
    elif options.allow_scripts and source != "npm":
        wrong = "--allow-scripts is for packages of npm"
    elif options.entry and source == "mcpb":
        wrong = "--entry is for packages of a registry"
    elif options.entry and not is_good_entry(options.entry):
        wrong = "What stands behind --entry cannot be the name of a program"
    if wrong:
        raise ConfigurationError(f"{shown} cannot be installed like this.", why=f"{wrong}.", hint="Leave it away.")


def _check_slug(spec: SourceSpec, lock: Lock) -> None:
    for other in lock.packages.values():
        is_same = (other.source, other.name) == (spec.source, spec.name)
        if other.source == spec.source and other.slug == spec.slug and not is_same:
            raise ConfigurationError(
                f"{spec} cannot be installed beside {other.spec}.",
                why=f"Both would be served as {spec.slug}.",
                hint=f"Remove the other one first: fluidmcp uninstall {other.spec}",
            )


def _install(spec: SourceSpec, place: InstallPlace, options: InstallOptions, lock: Lock) -> LockedPackage:
    installer, runtime = INSTALLERS[spec.source]
    if not has_runtime(runtime, place.environ, place.directory):
        fetch_runtime(runtime, place.environ, place.directory, place.report)
    place.report(f"Resolving {spec}" if spec.source == "pypi" else f"Installing {spec}")
    staging = place.directory / _STAGING / secrets.token_hex(8)
    staging.mkdir(parents=True)
    try:
        installation = Installation(
            directory=place.directory,
            environ=place.environ,
            report=place.report,
            allow_scripts=options.allow_scripts,
            python=options.python,
            entry=options.entry,
        )
        installed = installer(spec, staging, installation)
        _check_integrity(spec, installed, lock, is_forced=options.force)
        launch = {"command": installed.launch.command, "args": list(installed.launch.args)}
        return _keep(spec, installed, {"mcpServers": {spec.slug: launch}}, staging, place.directory, lock)
    finally:
        shutil.rmtree(place.directory / _STAGING, ignore_errors=True)


def _install_bundle(path: Path, place: InstallPlace, options: InstallOptions) -> tuple[LockedPackage, bool]:
    _check_options("mcpb", str(path), options)
    digest = digest_bundle(path)
    with hold_directory(place.directory, on_wait=lambda: place.report("Waiting for another installation")):
        _clean(place.directory)
        lock = read_lock(place.directory)
        present = lock.find_bundle(digest)
        if present is not None and is_unchanged(present, place.directory):
            return present, False
        staging = place.directory / _STAGING / secrets.token_hex(8)
        try:
            staging.parent.mkdir()
            place.report(f"Unpacking {path.name}")
            bundle = install_bundle(path, staging, environ=place.environ, directory=place.directory)
            _check_integrity(bundle.spec, bundle.installed, lock, is_forced=options.force)
            for note in bundle.notes:
                place.report(f"Warning: {note}")
            runtime = bundle.runtime
            if runtime is not None and not has_runtime(runtime, place.environ, place.directory):
                fetch_runtime(runtime, place.environ, place.directory, place.report)
            return _keep(bundle.spec, bundle.installed, bundle.metadata, staging, place.directory, lock), True
        except OSError as error:
            raise _explain(path.name, place.directory, error) from error
        finally:
            shutil.rmtree(place.directory / _STAGING, ignore_errors=True)


def _keep(
    spec: SourceSpec,
    installed: Installed,
    metadata: Mapping[str, object],
    staging: Path,
    directory: Path,
    lock: Lock,
) -> LockedPackage:
    """Write down what was installed into the staging folder, put it in its place, and into the lock."""
    (staging / METADATA).write_text(f"{json.dumps(metadata, indent=2, ensure_ascii=False)}\n", encoding="utf-8")
    package = LockedPackage(
        source=spec.source,
        name=spec.name,
        version=installed.version,
        wanted="" if spec.version == installed.version else spec.version,
        extras=spec.extras,
        integrity=installed.integrity,
        tree=installed.tree,
        entry_point=installed.entry_point,
        requires=installed.requires,
        interpreter=installed.interpreter,
        skipped_scripts=installed.skipped_scripts,
        contents=write_contents(staging),
    )
    _move(staging, package.find_folder(directory), directory)
    write_lock(directory, lock.with_package(package))
    return package


def _check_integrity(spec: SourceSpec, installed: Installed, lock: Lock, *, is_forced: bool) -> None:
    """A version that was here before must be the same. (PyPI may have got further files for it; npm has just one.)"""
    before = lock.find(spec.source, spec.slug, installed.version)
    if before is None or is_forced or set(before.integrity) <= set(installed.integrity):
        return
    is_bundle = spec.source == "mcpb"
    raise ConfigurationError(
        f"{before.spec} is not the one that was installed before.",
        why="The file has other contents under the same version."
        if is_bundle
        else "The registry offers other contents for the same version, which registries do not allow.",
        hint=f"Do not use it before you know why. To take it: {before.install_command} --force",
    )


def _move(staging: Path, folder: Path, directory: Path) -> None:
    """Put the package in its place; an older one there goes to the staging folder, and comes back if that fails."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    if not os.path.lexists(folder):
        staging.rename(folder)
        return
    old = directory / _STAGING / f"old-{secrets.token_hex(8)}"
    folder.rename(old)
    try:
        staging.rename(folder)
    except BaseException:
        if not os.path.lexists(folder):
            old.rename(folder)
        raise


def _find_named(text: str, lock: Lock) -> list[LockedPackage]:
    if ":" in text:
        spec = parse_source_spec(text)
        same = [p for p in lock.packages.values() if (p.source, p.name) == (spec.source, spec.name)]
        return [package for package in same if spec.version in ("", package.version, package.wanted)]
    return [p for p in lock.packages.values() if text in (p.slug, f"{p.source}/{p.slug}", p.name)]


def _explain(shown: str, directory: Path, error: OSError) -> InstallError:
    return InstallError(
        f"{shown} could not be installed.",
        why=f"{directory}: {os.strerror(error.errno) if error.errno else 'a file is not as expected'}.",
        hint="Look at the free space and the permissions of the directory.",
    )


def _nothing_to_remove(text: str, directory: Path) -> UnknownPackageError:
    return UnknownPackageError(
        f"{ascii(text[:80])} is not installed.",
        why=f"The lock of {directory} does not have it.",
        hint="To see what is installed: fluidmcp list",
    )


def _remove(folder: Path, directory: Path) -> None:
    """Take a folder out of sight in one step, then delete it, and the empty folders around it."""
    if os.path.lexists(folder):
        old = directory / _STAGING / f"old-{secrets.token_hex(8)}"
        old.parent.mkdir(exist_ok=True)
        folder.rename(old)
        shutil.rmtree(directory / _STAGING, ignore_errors=True)
    for empty in (folder.parent, folder.parent.parent):
        try:
            empty.rmdir()
        except OSError:
            return


def _clean(directory: Path) -> None:
    """What interrupted installations left; nobody else installs, because the directory is held."""
    shutil.rmtree(directory / _STAGING, ignore_errors=True)
