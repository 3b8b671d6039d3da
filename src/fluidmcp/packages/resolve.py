"""From what the person typed to server entries: which package is meant, where it is, what its file says.

Packages stand in `<author>/<name>/<version>/metadata.json` below the *installation directory* (`.fmcp-packages` in the
working directory, or MCP_INSTALLATION_DIR), and a few are shipped inside FluidMCP itself in the same layout. An
installed package hides a shipped one of the same author, name and version. Without a version the highest one runs.
`run all` runs the highest version of every installed package; the shipped ones only where nothing is installed, so
that a first try has something to show and a real installation is not joined by a demonstration.
"""

import difflib
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fluidmcp.config.entries import (
    RefusedEntry,
    ServerEntry,
    check_names_differ,
)
from fluidmcp.errors import ConfigurationError, UnknownPackageError
from fluidmcp.packages.files import read_regular
from fluidmcp.packages.formats.documents import MAX_FILE_BYTES
from fluidmcp.packages.found import INSTALLATION_VARIABLE, METADATA, FoundPackage, find_installation_directory
from fluidmcp.packages.servers_file import ReadingOptions, parse_servers_file
from fluidmcp.packages.sources.spec import is_bundle_path
from fluidmcp.packages.spec import AUTHOR, NAME, VERSION, PackageSpec, parse_package_spec, version_key

ALL = "all"
SHIPPED_DIRECTORY = Path(__file__).parent / "shipped"

FOLDER_FILES = (METADATA, "manifest.json", "server.json", ".mcp.json", "mcp.json")
"""What says which servers a folder has, in the order in which it is looked for."""
FILE_ENDINGS = (".json", ".jsonc", ".toml", ".yaml", ".yml")

_MAX_LISTED = 10
_PYTHON_COMMANDS = frozenset({"python", "python3"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedServer:
    """A server entry and the version of the package that it came with; empty for an entry of a file."""

    entry: ServerEntry
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedServers:
    """What there is to run: the good entries, the refused ones with their errors, and the disabled ones."""

    servers: tuple[LoadedServer, ...] = ()
    refused: tuple[RefusedEntry, ...] = ()
    disabled: tuple[str, ...] = ()

    @property
    def entries(self) -> tuple[ServerEntry, ...]:
        return tuple(server.entry for server in self.servers)


def is_servers_file(target: str, *, working_directory: Path = Path(), file: bool = False) -> bool:
    """Whether the target of `fluidmcp run` is a file of servers, or a folder with one, and no package or bundle.

    `file`: `--file` was given. Else its name says so, or it is a path and there.
    """
    if file or target.endswith(FILE_ENDINGS):
        return True
    looks_like_path = "/" in target or target.startswith((".", "~"))
    return looks_like_path and os.path.exists(working_directory / target) and not is_bundle_path(target)


def find_file(target: str, *, working_directory: Path) -> str | None:
    """The file of servers that a path means: itself, or in a folder the one that says what is in the folder.

    Raises:
        ConfigurationError: it is a folder without such a file.
    """
    if not os.path.isdir(working_directory / target) or not ("/" in target or target.startswith(".")):
        return None
    for name in FOLDER_FILES:
        if os.path.lexists(working_directory / target / name):
            return os.path.join(target, name)
    raise ConfigurationError(
        f"{target} is a folder that says nothing of a server.",
        why=f"It holds none of {_join(FOLDER_FILES, word='or')}.",
        hint="Name the file itself, or the command: fluidmcp run -- COMMAND ARGS...",
    )


def load_file(
    target: str, *, working_directory: Path, options: ReadingOptions | None = None, is_folder: bool = False
) -> LoadedServers:
    """The servers of a file; those that name no directory run in the caller's, or in that of the file if `is_folder`.

    Raises:
        ConfigurationError: the file cannot be read or has no servers.
    """
    path = working_directory / target
    parsed = parse_servers_file(
        read_regular(path, shown=target, max_bytes=MAX_FILE_BYTES),
        path=path,
        shown=target,
        directory=None if is_folder else working_directory,
        options=options,
    )
    servers = tuple(LoadedServer(entry=entry) for entry in parsed.entries)
    return LoadedServers(servers=servers, refused=parsed.refused, disabled=parsed.disabled)


def load_packages(packages: Sequence[FoundPackage], *, options: ReadingOptions | None = None) -> LoadedServers:
    """The servers of all `packages`; each runs in the folder of its metadata.json.

    A file that cannot be read refuses its own package only.

    Raises:
        ConfigurationError: two packages have one name.
    """
    servers: list[LoadedServer] = []
    refused: list[RefusedEntry] = []
    disabled: list[str] = []
    for package in packages:
        try:
            text = read_regular(
                package.metadata,
                shown=str(package.metadata),
                max_bytes=MAX_FILE_BYTES,
                # Ours is no stranger's file; uv installs it as a hard link to its cache.
                within=None if package.is_shipped else package.metadata.parent,
            )
            parsed = parse_servers_file(text, path=package.metadata, options=options)
        except ConfigurationError as error:
            refused.append(RefusedEntry(name=package.spec, error=error))
            continue
        for entry in parsed.entries:
            launched = _use_own_python(entry) if package.is_shipped else entry
            servers.append(LoadedServer(entry=launched, version=package.version))
        refused.extend(parsed.refused)
        disabled.extend(parsed.disabled)
    check_names_differ(server.entry for server in servers)
    return LoadedServers(servers=tuple(servers), refused=tuple(refused), disabled=tuple(disabled))


def resolve(
    target: str,
    *,
    working_directory: Path,
    environ: Mapping[str, str],
    shipped_directory: Path = SHIPPED_DIRECTORY,
) -> tuple[FoundPackage, ...]:
    """The packages that `target` means: one for a package spec, any number for `all`.

    Raises:
        ConfigurationError: `target` is not a package spec, or several authors have a package of that name.
        UnknownPackageError: there is no such package or version.
    """
    directory = find_installation_directory(environ, working_directory=working_directory)
    installed = find_packages(directory)
    shipped = find_packages(shipped_directory, is_shipped=True)
    if target == ALL:
        everything = installed or shipped
        if not everything:
            raise UnknownPackageError(
                "There is no package to run.",
                why=f"Nothing is installed in {directory}.",
                hint=f"Put packages there as author/name/version/{METADATA}, or set {INSTALLATION_VARIABLE}.",
            )
        return _highest_of_each(everything)
    spec = parse_package_spec(target)
    candidates = _select(spec, installed, shipped)
    matching = [package for package in candidates if spec.version in (None, package.version)]
    if not matching:
        raise _unknown(spec, candidates, (*installed, *shipped), directory=directory)
    return (max(matching, key=lambda package: (version_key(package.version), not package.is_shipped)),)


def find_packages(directory: Path, *, is_shipped: bool = False) -> tuple[FoundPackage, ...]:
    """Every `<author>/<name>/<version>/metadata.json` below `directory`, in a stable order."""
    found: list[FoundPackage] = []
    for author in _list_folders(directory):
        for name in _list_folders(author) if AUTHOR.fullmatch(author.name) else ():
            for version in _list_folders(name) if NAME.fullmatch(name.name) else ():
                metadata = version / METADATA
                if VERSION.fullmatch(version.name) and metadata.is_file():
                    package = FoundPackage(
                        author=author.name,
                        name=name.name,
                        version=version.name,
                        metadata=metadata,
                        is_shipped=is_shipped,
                    )
                    found.append(package)
    return tuple(found)


def _list_folders(directory: Path) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if path.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ConfigurationError(
            f"{directory} cannot be read.",
            why=f"The system says: {error.strerror}.",
            hint=f"Check its permissions, or set {INSTALLATION_VARIABLE} to another directory.",
        ) from error


def _select(
    spec: PackageSpec, installed: Iterable[FoundPackage], shipped: Iterable[FoundPackage]
) -> list[FoundPackage]:
    """All versions of the one package that `spec` names.

    A bare name is looked for among the installed packages first: a release that ships a package of the same name
    must not make a working command ambiguous.
    """
    mine = [package for package in installed if package.name == spec.name]
    theirs = [package for package in shipped if package.name == spec.name]
    author = spec.author
    if author is None:
        authors = sorted({package.author for package in mine or theirs})
        if len(authors) > 1:
            choices = [f"{name}/{spec.name}" for name in authors]
            version = f"@{spec.version}" if spec.version is not None else ""
            raise ConfigurationError(
                f'The name "{spec.name}" means more than one package.',
                why=f"There are {_join(choices)}.",
                hint=f"Name the author as well: fluidmcp run {choices[0]}{version}",
            )
        author = authors[0] if authors else ""
    return [package for package in (*mine, *theirs) if package.author == author]


def _highest_of_each(packages: Iterable[FoundPackage]) -> tuple[FoundPackage, ...]:
    highest: dict[tuple[str, str], FoundPackage] = {}
    for package in packages:
        key = (package.author, package.name)
        best = highest.get(key)
        if best is None or version_key(package.version) > version_key(best.version):
            highest[key] = package
    return tuple(highest.values())


def _unknown(
    spec: PackageSpec,
    same_name: Sequence[FoundPackage],
    known: Sequence[FoundPackage],
    *,
    directory: Path,
) -> UnknownPackageError:
    if same_name:
        versions = sorted({package.version for package in same_name}, key=version_key, reverse=True)
        package = f"{same_name[0].author}/{spec.name}"
        return UnknownPackageError(
            f"The package {package} has no version {spec.version} here.",
            why=f"There is {_join(versions)}.",
            hint=f"Run: fluidmcp run {package}@{versions[0]}",
        )
    names = {name for package in known for name in (package.name, f"{package.author}/{package.name}")}
    wanted = f"{spec.author}/{spec.name}" if spec.author is not None else spec.name
    nearest = difflib.get_close_matches(wanted, sorted(names), n=3) or difflib.get_close_matches(
        spec.name, sorted(names), n=3
    )
    listed = [package.spec for package in _highest_of_each(known)]
    return UnknownPackageError(
        f'There is no package "{spec}".',
        why=f"{directory} and FluidMCP itself have {_join(listed)}."
        if listed
        else f"Nothing is installed in {directory}.",
        hint=f"Did you mean {_join(nearest, word='or')}?"
        if nearest
        else f"Install one of npm or PyPI by its full name (fluidmcp install npm:NAME, pypi:NAME), put it there as "
        f"author/name/version/{METADATA}, or set {INSTALLATION_VARIABLE}.",
    )


def _join(items: Sequence[str], *, word: str = "and") -> str:
    if len(items) > _MAX_LISTED:
        return f"{', '.join(items[:_MAX_LISTED])} {word} {len(items) - _MAX_LISTED} more"
    return f" {word} ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def _use_own_python(entry: ServerEntry) -> ServerEntry:
    """A shipped server is written for the interpreter and the libraries that FluidMCP itself runs with."""
    return replace(entry, command=sys.executable) if entry.command in _PYTHON_COMMANDS else entry
