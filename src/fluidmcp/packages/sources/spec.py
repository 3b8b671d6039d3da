"""Names of packages: `npm:@scope/name@1.2.3`, `pypi:name[extra]==1.2`; `mcpb:name` of a bundle that is installed. Pure.

Read strictly: npm and uv take an address, a path, an alias or an option where a name is expected, and nothing of that
kind gets through.
"""

import re
from dataclasses import dataclass
from typing import Final, Literal, NoReturn

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from fluidmcp.config.entries import MAX_NAME_CHARACTERS, RESERVED_NAMES
from fluidmcp.errors import ConfigurationError
from fluidmcp.packages.spec import NAME, VERSION

Source = Literal["npm", "pypi", "mcpb"]
"""Where packages come from that the lock holds; a bundle (`mcpb`) comes from a file."""

_NPM_NAME: Final = re.compile(r"(?:@[a-z0-9][a-z0-9._~-]*/)?[a-z0-9][a-z0-9._~-]*", re.ASCII)
_NPM_EXACT: Final = re.compile(
    r"\d{1,15}\.\d{1,15}\.\d{1,15}(?:-[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?(?:\+[0-9A-Za-z.-]+)?", re.ASCII
)
_NPM_PARTIAL: Final = re.compile(r"\d{1,15}(?:\.\d{1,15})?", re.ASCII)
_NPM_TAG: Final = re.compile(r"[A-Za-z][A-Za-z0-9._-]*", re.ASCII)
_LOOKS_LIKE_FILE: Final = re.compile(r"\.(?:tgz|tar|tar\.gz|git)$", re.IGNORECASE)
"""npm takes a name with such an end for a file (npm-package-arg)."""
_PYPI_TEXT: Final = re.compile(
    r"(?P<name>[^\[\]=@<>~!;,\s]+)(?:\[(?P<extras>[^\[\]]*)\])?(?:(?:==|@)(?P<version>[^=@]*))?", re.ASCII
)
_PYPI_NAME: Final = re.compile(r"[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9._-]*[A-Za-z0-9]", re.ASCII)
"""PEP 508, "Names"; an extra is written the same way."""
_MAX_NPM_NAME: Final = 214
_MAX_PYPI_NAME: Final = 128
_MAX_VERSION: Final = 100
_MAX_SHOWN: Final = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSpec:
    """What somebody asked a registry for."""

    source: Source
    name: str
    """As the registry writes it; of PyPI in its normal form (PEP 503)."""
    version: str = ""
    """Exact, or for npm a tag or the beginning of a version (`1.2`); empty: the newest."""
    extras: tuple[str, ...] = ()
    """Of PyPI, in their normal form and in order."""

    @property
    def package(self) -> str:
        """Without the version."""
        return f"{self.source}:{self.name}{_show_extras(self.extras)}"

    @property
    def slug(self) -> str:
        """The name under which it is served, and that of its folder."""
        return make_slug(self.name)

    @property
    def is_exact(self) -> bool:
        return is_exact_version(self.source, self.version)

    def __str__(self) -> str:
        return write_spec(self.source, self.name, self.version, self.extras)


def is_source_spec(text: str) -> bool:
    """Whether `text` names a source, well or badly."""
    return text.startswith(("npm:", "pypi:", "mcpb:"))


def is_bundle_path(text: str) -> bool:
    """Whether `text` names the file of a bundle."""
    return text.lower().endswith((".mcpb", ".dxt"))


def write_spec(source: Source, name: str, version: str = "", extras: tuple[str, ...] = ()) -> str:
    equals = ("==" if source == "pypi" else "@") if version else ""
    return f"{source}:{name}{_show_extras(extras)}{equals}{version}"


def make_slug(name: str) -> str:
    """`@scope/name` becomes `scope-name`; what the gateway keeps for itself gets `-server` behind it."""
    slug = re.sub(r"[^a-z0-9._-]", "-", name.lower().removeprefix("@"))[:MAX_NAME_CHARACTERS].rstrip("-.")
    return f"{slug}-server" if slug in RESERVED_NAMES else slug


def is_exact_version(source: Source, version: str) -> bool:
    return bool(_NPM_EXACT.fullmatch(version)) if source == "npm" else bool(version)


def is_good_entry(name: str) -> bool:
    """Whether `name` can be that of a program of a package."""
    return re.fullmatch(r"[A-Za-z0-9@_][A-Za-z0-9._@/+-]{0,127}", name, re.ASCII) is not None and ".." not in name


def parse_source_spec(text: str) -> SourceSpec:
    """`npm:name`, `npm:@scope/name@VERSION`, `npm:name@TAG`, `pypi:name`, `pypi:name[extra]==VERSION`, or with `@`.

    Raises:
        ConfigurationError: the text is none of them.
    """
    source, _, rest = text.partition(":")
    if source == "npm":
        return _parse_npm(text, rest)
    if source == "pypi":
        return _parse_pypi(text, rest)
    if source == "mcpb":
        return _parse_bundle(text, rest)
    _refuse(text, "It begins with neither npm: nor pypi:.")


def _parse_npm(text: str, rest: str) -> SourceSpec:
    mark = rest.find("@", 1)
    name, version = (rest, "") if mark < 0 else (rest[:mark], rest[mark + 1 :])
    if not _NPM_NAME.fullmatch(name) or len(name) > _MAX_NPM_NAME or _LOOKS_LIKE_FILE.search(name):
        _refuse(text, "A name of npm is written name or @scope/name, in lower case; it is no address and no file.")
    if mark >= 0:
        known = any(pattern.fullmatch(version) for pattern in (_NPM_EXACT, _NPM_PARTIAL, _NPM_TAG))
        if not known or len(version) > _MAX_VERSION or _LOOKS_LIKE_FILE.search(version):
            _refuse(text, "Behind the name comes a version (1.2.3), the beginning of one (1.2) or a tag (latest).")
    return SourceSpec(source="npm", name=name, version="" if version == "latest" else version)


def _parse_pypi(text: str, rest: str) -> SourceSpec:
    match = _PYPI_TEXT.fullmatch(rest)
    name = "" if match is None else match["name"]
    if match is None or not _PYPI_NAME.fullmatch(name) or len(name) > _MAX_PYPI_NAME:
        _refuse(text, "A package of PyPI is written name, name==1.2.3 or name[extra]==1.2.3.")
    extras = [extra.strip() for extra in match["extras"].split(",")] if match["extras"] is not None else []
    if not all(_PYPI_NAME.fullmatch(extra) for extra in extras):
        _refuse(text, "In the brackets stand names of extras, separated by commas.")
    return SourceSpec(
        source="pypi",
        name=canonicalize_name(name),
        version=_read_version(text, match["version"]),
        extras=tuple(sorted({canonicalize_name(extra) for extra in extras})),
    )


def _parse_bundle(text: str, rest: str) -> SourceSpec:
    name, mark, version = rest.partition("@")
    if not NAME.fullmatch(name) or (mark and not VERSION.fullmatch(version)):
        _refuse(text, "A bundle that is installed is written mcpb:name or mcpb:name@1.2.3.")
    return SourceSpec(source="mcpb", name=name, version=version)


def _read_version(text: str, version: str | None) -> str:
    if version is None or version == "latest":
        return ""
    try:
        # What is read has one way to be written: `1.0-beta` is 1.0b0.
        return str(Version(version)) if len(version) <= _MAX_VERSION else _refuse(text, "The version is too long.")
    except InvalidVersion:
        _refuse(text, "Behind == or @ comes one exact version, such as 1.2.3.")


def _show_extras(extras: tuple[str, ...]) -> str:
    return f"[{','.join(extras)}]" if extras else ""


def _refuse(text: str, why: str) -> NoReturn:
    raise ConfigurationError(
        f"{ascii(text[:_MAX_SHOWN])} is no package of a registry.",
        why=why,
        hint="For example: npm:@modelcontextprotocol/server-memory, pypi:mcp-server-time==2026.10.19",
    )
