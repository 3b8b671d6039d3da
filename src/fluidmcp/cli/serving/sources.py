"""The packages that `fluidmcp run` names: found, compared with the lock, and read."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from fluidmcp.cli import deferred
from fluidmcp.config.entries import RefusedEntry, ServerEntry
from fluidmcp.errors import ConfigurationError, UnknownPackageError, UserError, hide_values
from fluidmcp.packages.found import FoundPackage, find_installation_directory
from fluidmcp.packages.resolve import LoadedServer, LoadedServers, find_file, load_file, load_packages, resolve
from fluidmcp.packages.servers_file import ReadingOptions
from fluidmcp.packages.sources.installed import (
    PackageProgram,
    find_changed,
    find_start_hint,
    resolve_package_key,
    resolve_spec,
)
from fluidmcp.packages.sources.spec import is_bundle_path, is_source_spec

_NOT_TAKEN_OVER: Final = (
    *("auth", "tools", "files", "personal_args", "shared", "isolation"),
    *("request_timeout_seconds", "start_timeout_seconds"),
)


def load_target(target: str, options: ReadingOptions, *, is_file: bool, may_install: bool = False) -> LoadedServers:
    """The servers that the target of a command means; `is_file`: it is a file or a folder that says which.

    Raises:
        ConfigurationError: it is none, or the file cannot be read.
        UnknownPackageError: there is no such package.
        InstallError: one could not be installed.
    """
    if not is_file:
        return load_named(target, options, may_install=may_install)
    found = find_file(target, working_directory=Path.cwd())
    loaded = load_file(found or target, working_directory=Path.cwd(), options=options, is_folder=found is not None)
    return add_packages(loaded, options, may_install=may_install)


def nothing_to_run(target: str, disabled: Sequence[str]) -> ConfigurationError:
    """What is said where a target has neither a good entry nor a wrong one."""
    return ConfigurationError(
        f"{target} has no server to run.",
        why=f"Disabled in the file: {', '.join(disabled)}." if disabled else "It names none.",
        hint='Add an entry, or remove "disabled": true from one.',
    )


def load_named(target: str, options: ReadingOptions, *, may_install: bool = False) -> LoadedServers:
    """The servers of the packages that `target` means: `all`, a package spec, `npm:...`, `pypi:...`, `mcpb:...`, or the
    file of a bundle.

    One whose files are not those that were installed is refused. `may_install`: what is missing is installed.

    Raises:
        ConfigurationError: `target` is none of them.
        UnknownPackageError: it is not there.
        InstallError: it could not be installed.
    """
    environ = options.environ
    directory = find_installation_directory(environ, working_directory=Path.cwd())
    if is_source_spec(target) or is_bundle_path(target):
        packages: Sequence[FoundPackage] = (_find_or_install(target, directory, environ, may_install=may_install),)
    else:
        packages = resolve(target, working_directory=Path.cwd(), environ=environ)
    changed = find_changed(packages, directory=directory)
    good = [package for package in packages if package.spec not in changed]
    loaded = load_packages(good, options=options)
    refused = [RefusedEntry(name=spec, error=error) for spec, error in changed.items()]
    hints = {package.metadata: find_start_hint(package, directory=directory) for package in good}
    return LoadedServers(
        servers=tuple(_complete(server, hints) for server in loaded.servers),
        refused=(*loaded.refused, *refused),
        disabled=loaded.disabled,
    )


def add_packages(loaded: LoadedServers, options: ReadingOptions, *, may_install: bool = False) -> LoadedServers:
    """The same servers, with the command of each entry that names a package; what is not there refuses its entry.

    Raises:
        InstallError: one could not be installed.
    """
    directory = find_installation_directory(options.environ, working_directory=Path.cwd())
    servers: list[LoadedServer] = []
    refused = list(loaded.refused)
    for server in loaded.servers:
        entry = server.entry
        if not entry.package:
            servers.append(server)
            continue
        try:
            if is_source_spec(entry.package):
                if may_install:
                    _find_or_install(entry.package, directory, options.environ, may_install=True, python=entry.python)
                program = resolve_package_key(entry.package, directory=directory, python=entry.python)
                servers.append(LoadedServer(entry=_use_program(entry, program), version=program.version))
            else:
                servers.append(_use_path(entry, options, may_install=may_install))
        except ConfigurationError as error:
            why = f"{entry.path}.package: {error.what} {error.why}"
            named = ConfigurationError(f"The entry of {entry.name} cannot run.", why=why, hint=error.hint)
            hide_values(named, (secret.reveal() for secret in entry.hidden))
            refused.append(RefusedEntry(name=entry.written_name or entry.name, error=named))
        except UserError as error:
            hide_values(error, (secret.reveal() for secret in entry.hidden))
            refused.append(RefusedEntry(name=entry.written_name or entry.name, error=error))
    return replace(loaded, servers=tuple(servers), refused=tuple(refused))


def _use_program(entry: ServerEntry, program: PackageProgram) -> ServerEntry:
    folder = str(program.folder)
    return replace(
        entry,
        command=program.command,
        args=(*program.args, *entry.args),
        written_args=(*program.args, *entry.written_args),
        # Its files are not in the working directory, and a known person's process reaches nothing that is not named.
        paths=replace(entry.paths, read=(*entry.paths.read, folder)),
        start_hint=program.start_hint,
    )


def _use_path(entry: ServerEntry, options: ReadingOptions, *, may_install: bool) -> LoadedServer:
    """The one server of a bundle, a folder, or a file that describes one."""
    path = entry.package
    if is_bundle_path(path):
        loaded = load_named(path, options, may_install=may_install)
    elif path.startswith("/"):
        file = find_file(path, working_directory=Path.cwd())
        loaded = load_file(file or path, working_directory=Path.cwd(), options=options, is_folder=True)
        if any(server.entry.package and not is_source_spec(server.entry.package) for server in loaded.servers):
            # It could lead round in a circle.
            raise ConfigurationError(
                f"{path} names a path as its package too.",
                why="A path leads to a server itself, not to another path.",
                hint="Name that other path in this entry.",
            )
        loaded = add_packages(loaded, options, may_install=may_install)
    else:
        raise ConfigurationError(
            f"{ascii(path[:80])} is no package.",
            why="It begins with neither npm: nor pypi:, and is no path.",
            hint="For example: npm:@modelcontextprotocol/server-memory, pypi:mcp-server-time, ./weather.mcpb",
        )
    if loaded.refused:
        raise loaded.refused[0].error
    if len(loaded.servers) != 1:
        raise ConfigurationError(
            f"{path} has {len(loaded.servers)} servers.",
            why="A package of an entry is one server.",
            hint="Write their commands as entries of their own, or run that file by itself.",
        )
    (found,) = loaded.servers
    theirs = found.entry
    lost = [key for key in _NOT_TAKEN_OVER if getattr(theirs, key)]
    if lost:
        # A login or a list of tools that is left out would open what was meant to be closed.
        raise ConfigurationError(
            f"{path} sets {' and '.join(lost)} itself.",
            why="Of a package, an entry takes the command, the arguments, the variables and the paths.",
            hint="Write it into this entry and take it out there, or run that file by itself.",
        )
    named = {name for name, _ in entry.env}
    read = (*theirs.paths.read, *entry.paths.read, str(theirs.directory))
    return replace(
        found,
        entry=replace(
            entry,
            command=theirs.command,
            args=(*theirs.args, *entry.args),
            written_args=(*theirs.written_args, *entry.written_args),
            env=(*(item for item in theirs.env if item[0] not in named), *entry.env),
            paths=replace(entry.paths, read=read, write=(*theirs.paths.write, *entry.paths.write)),
            hidden=(*theirs.hidden, *entry.hidden),
            start_hint=theirs.start_hint,
        ),
    )


def _find_or_install(
    target: str, directory: Path, environ: Mapping[str, str], *, may_install: bool, python: str = ""
) -> FoundPackage:
    try:
        return resolve_spec(target, directory=directory)
    except UnknownPackageError:
        if not may_install:
            raise
    deferred.install_missing(target, environ, python=python)
    return resolve_spec(target, directory=directory)


def _complete(server: LoadedServer, hints: Mapping[Path, str]) -> LoadedServer:
    return replace(server, entry=replace(server.entry, start_hint=hints.get(Path(server.entry.source), "")))
