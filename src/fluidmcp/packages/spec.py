"""Package specs, the text after `fluidmcp run`, and the order of versions. Pure module: no I/O."""

import re
from dataclasses import dataclass

from packaging.version import InvalidVersion, Version

from fluidmcp.errors import ConfigurationError

# Each part is one folder name. It begins with a letter or a digit, so that neither `..` nor an option gets through.
AUTHOR = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
NAME = AUTHOR
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]{0,127}", re.ASCII)

_SPEC = re.compile(r"(?:(?P<author>[^/@]*)/)?(?P<name>[^/@]*)(?:@(?P<version>[^/@]*))?", re.ASCII)
_CORE = re.compile(r"v?(\d+(?:\.\d+)*)[._-]?(.*)", re.ASCII | re.DOTALL)
_CHUNK = re.compile(r"(\d+)|([a-z]+)", re.ASCII)
_MAX_CORE_CHARACTERS = 64
_MAX_SHOWN_CHARACTERS = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageSpec:
    """What the person asked for; what is None was left open."""

    name: str
    author: str | None = None
    version: str | None = None

    def __str__(self) -> str:
        author = f"{self.author}/" if self.author is not None else ""
        version = f"@{self.version}" if self.version is not None else ""
        return f"{author}{self.name}{version}"


def parse_package_spec(text: str) -> PackageSpec:
    """`name`, `name@version`, `author/name` or `author/name@version`.

    Raises:
        ConfigurationError: the text is none of them, or one of its parts could not be a folder name.
    """
    shown = ascii(text[:_MAX_SHOWN_CHARACTERS])
    match = _SPEC.fullmatch(text)
    if match is not None:
        author, name, version = match["author"], match["name"], match["version"]
        parts = ((author, AUTHOR), (name, NAME), (version, VERSION))
        if all(part is None or pattern.fullmatch(part) for part, pattern in parts):
            return PackageSpec(author=author, name=name, version=version)
    raise ConfigurationError(
        f"{shown} is not a package.",
        why="A package is written name, name@version, author/name or author/name@version.",
        hint="For example: fluidmcp run test/gmail-mock@1.0.0; one of npm or PyPI: fluidmcp run npm:NAME; "
        "a file: fluidmcp run --file FILE; a command: fluidmcp run -- COMMAND ARGS...",
    )


def version_key(version: str) -> tuple[int, Version, int, tuple[tuple[int, int, str], ...]]:
    """A sort key under which 1.10.0 is higher than 1.9.0, and a version that PEP 440 does not know still has a place.

    `1.0.0-nightly` stands below `1.0.0`, like every other pre-release; text without a number, such as `latest`, is
    lower than all numbers.
    """
    try:
        return (1, Version(version), 1, ())
    except InvalidVersion:
        match = _CORE.fullmatch(version.lower())
    if match is None or len(match[1]) > _MAX_CORE_CHARACTERS:
        return (0, Version("0"), 0, _chunks(version))
    return (1, Version(match[1]), 0, _chunks(match[2]))


def _chunks(text: str) -> tuple[tuple[int, int, str], ...]:
    """Numbers compared as numbers and words as words (a number is lower than a word, as in semantic versions)."""
    return tuple((0, int(number), "") if number else (1, 0, word) for number, word in _CHUNK.findall(text.lower()))
