"""Server entries: the values under `mcpServers`, read strictly, frozen.

Files written for Claude Desktop or Cursor are read as they are: keys of an entry that other programs use are ignored
with a warning, `"disabled": true` leaves the entry out, and a name such as `Brave Search` is served as `brave-search`.
Inside `auth`, which only FluidMCP reads, nothing unknown is accepted.
"""

import json
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, cast

from fluidmcp.config.auth_block import AuthBlock as AuthBlock
from fluidmcp.config.auth_block import TokenEndpointAuthMethod as TokenEndpointAuthMethod
from fluidmcp.config.auth_block import parse_auth_block
from fluidmcp.config.isolation import IsolationLevel, Paths, read_level, read_paths
from fluidmcp.config.reading import ObjectReader, name_type, show_key
from fluidmcp.config.variables import OWN_PREFIX, VARIABLE_NAME, is_own_variable
from fluidmcp.errors import ConfigurationError

logger = logging.getLogger(__name__)

RESERVED_NAMES = frozenset(
    "health ready docs openapi.json metrics auth authorize token register mcp sse .well-known".split()
)
MAX_FILE_BYTES = 4 * 1024 * 1024
MAX_NAME_CHARACTERS = 64

_NAME = re.compile(r"[a-z0-9_][a-z0-9._-]*", re.ASCII)
_READ_KEYS = frozenset({"command", "args", "env", "auth", "shared", "isolation", "paths"})
# What other programs write and what changes nothing here: not worth a warning.
_QUIET_KEYS = frozenset({"type", "transport", "disabled", "description", "name"})
_REMOTE_KEYS = ("url", "serverUrl", "httpUrl")
_KNOWN_KEYS = _READ_KEYS | _QUIET_KEYS | frozenset(_REMOTE_KEYS)
_ENV_KEYS = frozenset({"value", "required", "description"})


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvVariable:
    """One variable of an entry's `env`: a string in the file, or `{"value"?, "required"?, "description"?}`."""

    value: str | None = None
    required: bool = False
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerEntry:
    """One package: how to launch its server, and whether people log in to it."""

    name: str
    """The package name, as in `/{name}/mcp`."""
    command: str
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, EnvVariable], ...] = ()
    auth: AuthBlock | None = None
    shared: bool = False
    isolation: IsolationLevel | None = None
    """What keeps its processes from others; None: what the gateway says for all."""
    paths: Paths = field(default_factory=Paths)
    """What its processes need of the file system beyond what every process may reach."""
    directory: Path = field(default_factory=Path)
    """The working directory of the server process."""
    owns_directory: bool = False
    """Whether that directory holds this package and nothing else."""
    source: str = ""
    """Where the entry was read, for messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedEntry:
    """An entry that cannot be served, and why; the other entries of its file can."""

    name: str
    error: ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class ServersFile:
    """What an `mcpServers` file holds, in the order of the file."""

    entries: tuple[ServerEntry, ...] = ()
    refused: tuple[RefusedEntry, ...] = ()
    disabled: tuple[str, ...] = ()


def parse_package_name(name: str, *, source: str) -> str:
    """The name under which an entry is served: `name` itself, in lower case and with `-` for spaces.

    Raises:
        ConfigurationError: the name cannot be a path segment of ours, or is reserved.
    """
    served = re.sub(r"\s+", "-", name.strip()).lower()
    shown = show_key(name)
    if not _NAME.fullmatch(served) or len(served) > MAX_NAME_CHARACTERS:
        suggestion = re.sub(r"[^a-z0-9._-]+", "-", served).strip("-.")[:MAX_NAME_CHARACTERS] or "my-server"
        raise ConfigurationError(
            f"The name {shown} in {source} cannot be served.",
            why="The name becomes part of the address: a-z, 0-9, dot, _ and - are allowed, no dot or - at the start, "
            f"at most {MAX_NAME_CHARACTERS} characters.",
            hint=f'Rename it under mcpServers, for example to "{suggestion}".',
        )
    if served in RESERVED_NAMES:
        raise ConfigurationError(
            f"The name {shown} in {source} is reserved.",
            why=f"The gateway itself answers at /{served}.",
            hint=f'Rename it under mcpServers, for example to "{served.strip(".")}-server".',
        )
    if served != name:
        logger.warning("%s: %s is served as %s", source, shown, served)
    return served


def parse_entry(
    name: str,
    value: object,
    *,
    directory: Path,
    source: str,
    allowed_env_names: frozenset[str] = frozenset(),
    owns_directory: bool = False,
    home: str = "",
) -> ServerEntry:
    """One value under `mcpServers`, as decoded from JSON.

    `directory` becomes the working directory of the server (`owns_directory`: it holds this package and nothing else),
    `source` names the file in messages, `allowed_env_names` are the names that `--allow-env` adds for `client_id_env`
    and `client_secret_env`, and `home` is what `~` means in `paths`.

    Raises:
        ConfigurationError: names every fault by its path in the file; values are not repeated.
    """
    served = parse_package_name(name, source=source)
    faults: list[str] = []
    reader = ObjectReader(value, path=f"mcpServers.{show_key(name)}", faults=faults)
    _refuse_remote(reader, name, source=source)
    command = reader.required_text("command") if reader.is_object else None
    args = reader.texts("args")
    env = _read_env(reader)
    shared = reader.flag("shared")
    isolation = read_level(reader)
    paths = read_paths(reader, directory=str(directory), home=home)
    auth: AuthBlock | None = None
    if "auth" in reader:
        # `"auth": null` is refused like any other non-object: a package that was meant to be guarded must not be open.
        auth = parse_auth_block(reader.nested("auth"), allowed_env_names=allowed_env_names)
        if shared:
            faults.append(f"{reader.path}.shared cannot be true together with auth: each person has an own process")
    if faults:
        raise ConfigurationError(
            f"The entry {show_key(name)} in {source} is not valid.",
            why="; ".join(faults) + ".",
            hint="Correct the file and run the command again.",
        )
    ignored = reader.unknown(_KNOWN_KEYS)
    if ignored:
        logger.warning("%s: %s: ignored %s", source, reader.path, ", ".join(show_key(key) for key in ignored))
    return ServerEntry(
        name=served,
        command=command or "",
        args=args,
        env=env,
        auth=auth,
        shared=shared,
        isolation=isolation,
        paths=paths,
        directory=directory,
        owns_directory=owns_directory,
        source=source,
    )


def _refuse_remote(reader: ObjectReader, name: str, *, source: str) -> None:
    kind = reader.get("type") or reader.get("transport")
    remote = any(reader.get(key) is not None for key in _REMOTE_KEYS)
    if not remote and (kind is None or kind == "stdio"):
        return
    raise ConfigurationError(
        f"The entry {show_key(name)} in {source} is a remote server, which cannot be run.",
        why="It has a url; so far FluidMCP runs servers that are started with a command and speak stdio."
        if remote
        else "Its type is not stdio; so far FluidMCP runs servers that are started with a command and speak stdio.",
        hint='Remove the entry, set "disabled": true in it, or give it a command.',
    )


def _read_env(reader: ObjectReader) -> tuple[tuple[str, EnvVariable], ...]:
    if reader.get("env") is None:
        return ()
    nested = reader.nested("env")
    variables: list[tuple[str, EnvVariable]] = []
    for name, value in nested.items():
        if not VARIABLE_NAME.fullmatch(name):
            nested.fault(name, "is not a name of an environment variable")
        elif is_own_variable(name):
            nested.fault(name, f"begins with {OWN_PREFIX}, but those variables belong to the gateway alone")
        elif isinstance(value, dict):
            variables.append((name, _read_variable(nested.nested(name))))
        elif isinstance(value, str):
            variables.append((name, EnvVariable(value=nested.text(name))))
        else:
            quoted = " (write it in quotes)" if isinstance(value, (bool, int, float)) else ""
            nested.fault(name, f"must be a string, not {name_type(value)}{quoted}")
    return tuple(variables)


def _read_variable(reader: ObjectReader) -> EnvVariable:
    for key in reader.unknown(_ENV_KEYS):
        reader.fault(key, 'is not known here; use "value", "required" and "description"')
    return EnvVariable(
        value=reader.text("value"),
        required=reader.flag("required"),
        description=reader.text("description") or "",
    )


def parse_servers_file(
    text: bytes,
    *,
    path: Path,
    directory: Path | None = None,
    allowed_env_names: frozenset[str] = frozenset(),
    home: str = "",
) -> ServersFile:
    """The entries of an `mcpServers` file; `directory` is their working directory.

    Without one it is the folder of `path`, which then is a package's own. `home` is what `~` means in `paths`. A fault
    of one entry refuses that entry only.

    Raises:
        ConfigurationError: the file is not JSON (line and column are named), has no `mcpServers` object, or two of its
            entries are one name.
    """
    source = str(path)
    servers = _decode_servers(text, source=source)
    entries: list[ServerEntry] = []
    refused: list[RefusedEntry] = []
    disabled: list[str] = []
    for name, value in servers.items():
        if _is_disabled(value):
            disabled.append(name)
            continue
        try:
            entry = parse_entry(
                name,
                value,
                directory=path.parent if directory is None else directory,
                source=source,
                allowed_env_names=allowed_env_names,
                owns_directory=directory is None,
                home=home,
            )
        except ConfigurationError as error:
            refused.append(RefusedEntry(name=name, error=error))
        else:
            entries.append(entry)
    check_names_differ(entries)
    return ServersFile(entries=tuple(entries), refused=tuple(refused), disabled=tuple(disabled))


def _is_disabled(value: object) -> bool:
    return isinstance(value, dict) and cast("dict[str, object]", value).get("disabled") is True


def check_names_differ(entries: Iterable[ServerEntry]) -> None:
    """Raises ConfigurationError when two entries would answer at one address."""
    seen: dict[str, ServerEntry] = {}
    for entry in entries:
        other = seen.setdefault(entry.name, entry)
        if other is not entry:
            where = f"twice in {entry.source}" if other.source == entry.source else f"{other.source}, {entry.source}"
            raise ConfigurationError(
                f'Two packages have the name "{entry.name}".',
                why=f"Both would answer at /{entry.name}/mcp ({where}).",
                hint="Rename one of them under mcpServers, or run them in two gateways.",
            )


class _DuplicateKeyError(ValueError):
    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for key, item in pairs:
        if key in value:
            raise _DuplicateKeyError(key)
        value[key] = item
    return value


def _refuse_constant(_text: str) -> NoReturn:
    raise ValueError


def _decode_servers(text: bytes, *, source: str) -> Mapping[str, object]:
    document = _decode_document(text, source=source)
    servers = document.get("mcpServers")
    if not isinstance(servers, dict):
        found = "mcpServers is missing" if servers is None else f"mcpServers is {name_type(servers)}, not an object"
        renamed = ' In VS Code\'s file it is called "servers": rename it.' if "servers" in document else ""
        raise ConfigurationError(
            f"{source} has no servers.",
            why=f"{found}.",
            hint='Write {"mcpServers": {"NAME": {"command": "...", "args": [...]}}}.' + renamed,
        )
    return cast("dict[str, object]", servers)


def _decode_document(text: bytes, *, source: str) -> Mapping[str, object]:
    """The top-level object. The standard decoder, because it knows line and column and shows us repeated keys."""
    what = f"{source} cannot be read as JSON."
    hint = "Correct the file and run the command again."
    if len(text) > MAX_FILE_BYTES:
        raise ConfigurationError(what, why=f"It is larger than {MAX_FILE_BYTES} bytes.", hint=hint)
    try:
        document: object = json.loads(
            text.decode("utf-8-sig"), object_pairs_hook=_build_object, parse_constant=_refuse_constant
        )
    except UnicodeDecodeError as error:
        why = f"Byte {error.start + 1} is not UTF-8."
        raise ConfigurationError(what, why=why, hint="Save the file as UTF-8.") from None
    except json.JSONDecodeError as error:
        why = f"Line {error.lineno}, column {error.colno}: {error.msg}."
        raise ConfigurationError(what, why=why, hint=hint) from None
    except _DuplicateKeyError as error:
        raise ConfigurationError(
            f"{source} has the key {show_key(error.key)} twice in one object.",
            why="Which of the two is meant cannot be known.",
            hint="Remove or rename one of them.",
        ) from None
    except (ValueError, RecursionError):
        why = "It holds NaN or Infinity, a number of thousands of digits, or is nested too deeply."
        raise ConfigurationError(what, why=why, hint=hint) from None
    if not isinstance(document, dict):
        raise ConfigurationError(
            what, why=f"It is {name_type(document)}, not an object.", hint='Begin it with {"mcpServers": ...}.'
        )
    return cast("dict[str, object]", document)
