"""Which known server is meant: by its name in the catalogue, or by what an entry starts. Pure module: no I/O."""

import difflib
import os.path
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from packaging.utils import canonicalize_name

from fluidmcp.config.entries import ServerEntry
from fluidmcp.errors import ConfigurationError
from fluidmcp.packages.catalogue.known_server import KnownServer
from fluidmcp.packages.catalogue.table import KNOWN_SERVERS
from fluidmcp.packages.sources.spec import SourceSpec, is_source_spec, parse_source_spec

_INSTALLED: Final = re.compile(r"(?:node_modules|site-packages)/((?:@[^/]+/)?[^/]+)")
_OPTION: Final = re.compile(r"--(?:package|from)=", re.ASCII)
_BEHIND_NAME: Final = re.compile(r"(?<=.)(?:@|[\[=<>~!]).*", re.DOTALL)


def find_server(name: str, servers: Mapping[str, KnownServer] = KNOWN_SERVERS) -> KnownServer | None:
    """The server of this name; None when there is none."""
    return servers.get(name)


def nearest_names(name: str, servers: Mapping[str, KnownServer] = KNOWN_SERVERS) -> tuple[str, ...]:
    """At most three names of servers that look like this one, or whose package or title holds it."""
    wanted = name.lower()
    near = difflib.get_close_matches(wanted, servers, n=3, cutoff=0.6)
    holding = [
        server.name
        for server in servers.values()
        if wanted in (server.name, server.title.lower()) or (len(wanted) > 2 and wanted in show_package(server).lower())
    ]
    return tuple(dict.fromkeys((*near, *holding)))[:3]


def show_package(server: KnownServer) -> str:
    """The package of its entry, with the version; of an entry without one the command line."""
    package = server.entry.get("package")
    if isinstance(package, str):
        return package
    return " ".join((str(server.entry.get("command", "")), *map(str, server.entry.get("args", ()))))


def read_package(server: KnownServer) -> SourceSpec | None:
    """The package of its entry, where it is one of a registry."""
    package = server.entry.get("package")
    return parse_source_spec(package) if isinstance(package, str) and is_source_spec(package) else None


def recognise(entry: ServerEntry, servers: Mapping[str, KnownServer] = KNOWN_SERVERS) -> tuple[KnownServer, ...]:
    """The known servers that an entry may start: by its package, what `npx` or `uvx` is told, or the program installed.

    Any version counts. Two packages may have a program of one name.
    """
    if is_source_spec(entry.package):
        try:
            asked = parse_source_spec(entry.package)
        except ConfigurationError:
            return ()
        return tuple(server for server in servers.values() if _is_same(read_package(server), asked))
    words = (entry.written_command or entry.command, *(entry.written_args or entry.args))
    names = set(_list_names(words))
    return tuple(server for server in servers.values() if not names.isdisjoint(_list_own_names(server)))


def _is_same(one: SourceSpec | None, other: SourceSpec) -> bool:
    return one is not None and (one.source, one.name) == (other.source, other.name)


def _list_own_names(server: KnownServer) -> Iterator[str]:
    """What a command line may call it."""
    package = read_package(server)
    if package is not None:
        yield package.name
        yield f"program {package.name.rpartition('/')[2]}"


def _list_names(words: Sequence[str]) -> Iterator[str]:
    """What the words of a command line may name, those of a shell's script among them."""
    yield f"program {os.path.basename(words[0])}"
    for word in " ".join(words).split():
        for match in _INSTALLED.finditer(word):
            yield from _spell(match[1])
        yield from _spell(_BEHIND_NAME.sub("", _OPTION.sub("", word)))


def _spell(name: str) -> tuple[str, ...]:
    """A name as npm writes it, and as PyPI does (PEP 503), for which a module `a_b` is the package `a-b`."""
    return name, canonicalize_name(name)
