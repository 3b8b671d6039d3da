"""Server entries in our own form, read strictly, frozen. `packages/formats` brings the files of other programs into it.

A fault refuses the one entry and names its field; what is not known is a fault too, because it may have been somebody's
safety setting.
"""

import os.path
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from fluidmcp.config.auth_block import AuthBlock as AuthBlock
from fluidmcp.config.auth_block import TokenEndpointAuthMethod as TokenEndpointAuthMethod
from fluidmcp.config.filling.expand import Expander
from fluidmcp.config.filling.files import FileTemplate, read_content, read_files
from fluidmcp.config.filling.foreign_commands import NotHereError, find_meaning
from fluidmcp.config.filling.person_rules import PersonalPlaces, check_argument, check_places, find_personal_names
from fluidmcp.config.filling.scripts import find_script
from fluidmcp.config.filling.templates import Content, Placeholder, Template, looks_personal
from fluidmcp.config.filling.values import Values
from fluidmcp.config.isolation import IsolationLevel, Paths, read_level, read_paths
from fluidmcp.config.logins.read import Auth, list_wanted, parse_auth, token_variables
from fluidmcp.config.reading import ObjectReader, show_key
from fluidmcp.config.secret import Secret
from fluidmcp.config.tools import ToolFilter, read_tools
from fluidmcp.config.variables import OWN_PREFIX, VARIABLE_NAME, is_own_variable
from fluidmcp.errors import ConfigurationError, RemoteEntryError, UserError, hide_values

RESERVED_NAMES = frozenset(
    "health ready docs schema openapi.json metrics auth authorize token register mcp sse .well-known".split()
)
MAX_NAME_CHARACTERS = 64

_NAME = re.compile(r"[a-z0-9_][a-z0-9._-]*", re.ASCII)
KNOWN_KEYS = frozenset(
    "command args env cwd envFile auth shared isolation paths tools request_timeout_seconds start_timeout_seconds"
    " package python disabled url headers type files secrets_in_args".split()
)
_PACKAGE_FILES = (".mcpb", ".dxt", ".json")
ENV_KEYS = frozenset({"value", "json", "required", "description"})


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvVariable:
    """One variable of an entry's `env`: a string in the file, or `{"value" | "json", "required"?, "description"?}`."""

    value: str | None = None
    personal: Content | None = None
    """The value of a variable that holds something of the person; `value` is None then."""
    required: bool = False
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerEntry:
    """One package: how to launch its server, and whether people log in to it."""

    name: str
    """The package name, as in `/{name}/mcp`."""
    written_name: str = ""
    """The name in the file, where it is another one."""
    command: str
    written_command: str = ""
    """As in the file, where something was filled in."""
    args: tuple[str, ...] = ()
    written_args: tuple[str, ...] = ()
    """As in the file, before values were filled in: what may be shown."""
    env: tuple[tuple[str, EnvVariable], ...] = ()
    files: tuple[FileTemplate, ...] = ()
    """What is written into the home of a person's process before it starts."""
    personal_args: tuple[tuple[str, Template], ...] = ()
    """The arguments that hold something of a person, each with what stands for it in `args`: that begins with a NUL
    character, so that it can reach no process by mistake."""
    auth: Auth | None = None
    shared: bool = False
    isolation: IsolationLevel | None = None
    """What keeps its processes from others; None: what the gateway says for all."""
    paths: Paths = field(default_factory=Paths)
    """What its processes need of the file system beyond what every process may reach."""
    directory: Path = field(default_factory=Path)
    """The working directory of the server process."""
    owns_directory: bool = False
    """Whether that directory, or the default one, holds this package and nothing else."""
    default_directory: Path | None = None
    """The directory that it would be without `cwd` of the entry; None: the entry has no `cwd`."""
    source: str = ""
    """Where the entry was read, for messages."""
    path: str = ""
    """Where it stands there: `mcpServers.github`."""
    tools: ToolFilter | None = None
    """The tools that callers may see and call; None: all."""
    request_timeout_seconds: float | None = None
    start_timeout_seconds: float | None = None
    package: str = ""
    """The package of npm, PyPI or a bundle that brings the command, as it is written in the file."""
    python: str = ""
    """The interpreter for such a package of PyPI."""
    hidden: tuple[Secret, ...] = ()
    """Values that were filled in and must not show in what the server writes to stderr."""
    start_hint: str = ""
    """What to do when its server does not start, where something is known that may be missing."""

    @property
    def personal_variables(self) -> frozenset[str]:
        """The variables that hold something of a person."""
        named = {name for name, variable in self.env if variable.personal is not None}
        return frozenset(named | token_variables(self.auth).keys())

    def list_wanted(self, login: str) -> tuple[str, ...]:
        """What processes are given of a login beside its token: `id_token`, `extra.NAME`, `email`."""
        return list_wanted(self._list_placeholders(), self.auth, login)

    def _list_placeholders(self) -> frozenset[Placeholder]:
        contents = (
            *(variable.personal for _, variable in self.env if variable.personal is not None),
            *(template for _, template in self.personal_args),
            *(file.content for file in self.files),
        )
        return frozenset(placeholder for content in contents for placeholder in content.placeholders())


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedEntry:
    """An entry that cannot be served, and why; the other entries of its file can."""

    name: str
    error: UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class ServersFile:
    """What an `mcpServers` file holds, in the order of the file."""

    entries: tuple[ServerEntry, ...] = ()
    refused: tuple[RefusedEntry, ...] = ()
    disabled: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryContext:
    """What the entries of one file have in common."""

    source: str
    """The file, for messages."""
    directory: Path
    """The working directory of servers whose entry names none."""
    workspace: Path
    """The folder from which relative paths of entries count."""
    expander: Expander
    home: str = ""
    """What `~` means."""
    owns_directory: bool = False
    """Whether `directory` holds this package and nothing else."""
    allowed_env_names: frozenset[str] = frozenset()
    """The names that `--allow-env` adds for `client_id_env` and `client_secret_env`."""
    read_env_file: Callable[[Path], Mapping[str, str]] = field(default=lambda path: {})
    """Reads an `envFile`; raises ConfigurationError."""


def parse_package_name(name: str, *, source: str, number: int = 1) -> str:
    """The name under which an entry is served, made from its name in the file, where it is the entry `number` (from 1).

    Lower case; without accents and a leading `@`; `-` for all that an address does not take, and `server-NUMBER` where
    nothing is left.

    Raises:
        ConfigurationError: the name is empty, too long, unprintable or reserved.
    """
    served = make_address_name(name, source=source, number=number)
    if served in RESERVED_NAMES:
        raise ConfigurationError(
            f"The name {show_key(name)} in {source} is reserved.",
            why=f"The gateway itself answers at /{served}.",
            hint=f'Rename it, for example to "{served.strip(".")}-server".',
        )
    return served


def make_address_name(name: str, *, source: str, number: int) -> str:
    """As `parse_package_name`, but it may be a reserved one.

    Raises:
        ConfigurationError: the name is empty, too long or unprintable.
    """
    shown = show_key(name)
    served = name
    if name.strip() and name.isprintable() and not _NAME.fullmatch(name):
        plain = "".join(char for char in unicodedata.normalize("NFKD", name) if not unicodedata.combining(char))
        served = re.sub(r"[^a-z0-9._-]+", "-", plain.lower())
        served = re.sub(r"-{2,}", "-", served).rstrip("-").lstrip(".-")
        if not _NAME.fullmatch(served):
            served = f"server-{number}"
    if not is_package_name(served):
        suggestion = re.sub(r"[^a-z0-9._-]+", "-", name.lower())[:MAX_NAME_CHARACTERS].strip("-.") or "my-server"
        raise ConfigurationError(
            f"The name {shown} in {source} cannot be served.",
            why=f"The name becomes part of the address, which takes 1 to {MAX_NAME_CHARACTERS} characters that can be "
            "printed.",
            hint=f'Rename it, for example to "{suggestion}".',
        )
    return served


def is_package_name(name: str) -> bool:
    """Whether a gateway may serve something under this name."""
    return len(name) <= MAX_NAME_CHARACTERS and _NAME.fullmatch(name) is not None


def parse_entry(
    name: str,
    value: object,
    context: EntryContext,
    *,
    path: str = "",
    names: Mapping[str, str] | None = None,
    faults: Iterable[str] = (),
    number: int = 1,
) -> ServerEntry:
    """One entry in our own form, as decoded from the file.

    `path` is where it stands there, `names` what its keys are called there where that is another name, `faults` what
    is known to be wrong with it already, `number` its place among all, from 1.

    Raises:
        ConfigurationError: names every fault by its path in the file; values are not repeated.
    """
    served = parse_package_name(name, source=context.source, number=number)
    found = list(faults)
    reader = ObjectReader(value, path=path or f"mcpServers.{show_key(name)}", faults=found, names=names)
    expander = context.expander
    values = Values(reader, expander)
    expander.hidden.clear()
    if reader.get("url") is not None:
        _read_remote(reader, values)
    entry = _read_entry(served, name, reader, values, context)
    for key in reader.unknown(KNOWN_KEYS):
        reader.fault(key, "is not known here")
    if not found:
        _refuse_remote(reader, name, source=context.source)
    if found:
        error = ConfigurationError(
            f"The entry {show_key(name)} in {context.source} is not valid.",
            why="; ".join(found) + ("" if found[-1].endswith("?") else "."),
            hint="Correct the file, or export what it needs, and run the command again.",
        )
        hide_values(error, expander.hidden)
        raise error
    return entry


def _read_entry(served: str, name: str, reader: ObjectReader, values: Values, context: EntryContext) -> ServerEntry:
    shared = reader.flag("shared")
    auth: Auth | None = None
    if "auth" in reader:
        # `"auth": null` is refused like any other non-object: a package that was meant to be guarded must not be open.
        auth = parse_auth(reader.nested("auth"), values.expander, allowed_env_names=context.allowed_env_names)
        if shared:
            reader.fault("shared", "cannot be true together with auth: each person has an own process")
    values.expander.person_names = frozenset(find_personal_names(reader) | token_variables(auth).keys())
    env = _read_env(reader, values, context)
    launch = _read_launch(reader, values, frozenset(env))
    cwd = _read_directory(values, context)
    if reader.get("python") is not None and not str(reader.get("package")).startswith("pypi:"):
        reader.fault("python", 'is for packages of PyPI ("package": "pypi:..."), and would not be used')
    reader.flag("disabled")
    entry = ServerEntry(
        name=served,
        written_name="" if name == served else name,
        command=launch.command,
        written_command=launch.written_command,
        args=launch.args,
        written_args=launch.written_args,
        env=(*env.items(), *((key, EnvVariable(value=value)) for key, value in launch.needed.items())),
        files=read_files(reader, values.expander),
        personal_args=tuple(launch.personal.items()),
        auth=auth,
        shared=shared,
        isolation=read_level(reader),
        paths=read_paths(reader, directory=str(context.directory), home=context.home),
        tools=read_tools(reader),
        request_timeout_seconds=reader.seconds("request_timeout_seconds"),
        start_timeout_seconds=reader.seconds("start_timeout_seconds"),
        package=_read_package(values, context),
        python=values.text("python") or "",
        directory=context.directory if cwd is None else cwd,
        default_directory=None if cwd is None else context.directory,
        hidden=tuple(Secret(value) for value in sorted(values.expander.hidden)),
        owns_directory=context.owns_directory,
        source=context.source,
        path=reader.path,
    )
    _check_person(entry, reader)
    return entry


def _check_person(entry: ServerEntry, reader: ObjectReader) -> None:
    personal = {name: variable.personal for name, variable in entry.env if variable.personal is not None}
    places = PersonalPlaces(
        env=personal,
        args=entry.personal_args,
        files=entry.files,
        other_variables=frozenset(name for name, _ in entry.env if name not in personal),
        auth=entry.auth,
    )
    check_places(reader, places)


@dataclass(slots=True)
class _Launch:
    command: str
    args: tuple[str, ...]
    written_args: tuple[str, ...]
    """As they are written."""
    written_command: str = ""
    needed: dict[str, str] = field(default_factory=dict[str, str])
    """Variables that a script among the arguments needs."""
    personal: dict[str, Template] = field(default_factory=dict[str, Template])
    """The arguments that hold something of a person, by what stands for them."""


def _read_launch(reader: ObjectReader, values: Values, own_names: frozenset[str]) -> _Launch:
    """The program and its arguments. `own_names` are the variables that the entry gives to it."""
    written = reader.texts("args", plain=True)
    path = reader.path_of("args")
    secrets_in_args = reader.flag("secrets_in_args")
    command = written_command = ""
    meant = written
    if reader.get("package") is not None:
        if reader.get("command") is not None:
            reader.fault("package", "stands beside command; keep one of the two")
    elif reader.get("url") is None and reader.get("type") is None and reader.is_object:
        command = reader.required_text("command") or ""
        try:
            command, meant = find_meaning(command, written)
        except NotHereError as error:
            reader.fault("command", str(error))
            return _Launch("", (), ())
        written_command = command
        command = values.expand(command, reader.path_of("command"))
    values.expander.own_names = own_names
    launch = _Launch(command, (), meant, written_command)
    script = find_script(command, meant)
    args: list[str] = []
    for index, text in enumerate(meant):
        where = f"{path}[{index + len(written) - len(meant)}]"
        if looks_personal(text):
            fault = check_argument(command, meant, index, secrets_in_args=secrets_in_args)
            if fault is not None:
                reader.faults.append(f"{where} {fault}")
            template = values.template(text, where)
            mark = f"\0{text}"
            if template.is_personal:
                launch.personal[mark] = template
            args.append(mark if template.is_personal else template.text)
        elif index == script:
            text, needed = values.script(text, where, own_names)
            args.append(text)
            launch.needed.update(needed)
        else:
            args += values.expand_all(text, where)
    launch.args = tuple(args)
    values.expander.own_names = frozenset()
    return launch


def _refuse_remote(reader: ObjectReader, name: str, *, source: str) -> None:
    kind = reader.get("type")
    remote = reader.get("url") is not None
    has_command = reader.get("command") is not None
    if not remote and kind is None:
        return
    raise RemoteEntryError(
        f"The entry {show_key(name)} in {source} is a remote server, which cannot be run.",
        why="It has a url; so far FluidMCP runs servers that are started with a command and speak stdio."
        if remote
        else "Its type is not stdio; so far FluidMCP runs servers that are started with a command and speak stdio.",
        hint='Remove the entry, set "disabled": true in it, or '
        + (
            f"remove its {'url' if remote else 'type'}, since it has a command."
            if has_command
            else "give it a command."
        ),
    )


def _read_remote(reader: ObjectReader, values: Values) -> None:
    """A remote entry is checked like every other, although it cannot be served yet."""
    url = values.text("url")
    if url and not url.startswith(("http://", "https://", "ws://", "wss://")):
        reader.fault("url", "must begin with https:// or http://")
    if reader.get("headers") is not None:
        headers = reader.nested("headers")
        Values(headers, values.expander).all_texts()


def _read_env(reader: ObjectReader, values: Values, context: EntryContext) -> dict[str, EnvVariable]:
    variables = _read_env_file(reader, values, context)
    if reader.get("env") is not None:
        nested = reader.nested("env")
        texts = Values(nested, values.expander)
        for name, value in nested.items():
            if not VARIABLE_NAME.fullmatch(name):
                nested.fault(name, "is not a name of an environment variable")
            elif is_own_variable(name):
                nested.fault(name, f"begins with {OWN_PREFIX}, but those variables belong to the gateway alone")
            elif isinstance(value, dict):
                variables[name] = _read_variable(nested.nested(name), values.expander)
            elif isinstance(value, str):
                text = nested.text(name)
                if text is not None:
                    variables[name] = _make_variable(texts.template(text, nested.path_of(name)))
            else:
                text = texts.plain(name, value)
                if text is not None:
                    variables[name] = EnvVariable(value=text)
    return variables


def _read_env_file(reader: ObjectReader, values: Values, context: EntryContext) -> dict[str, EnvVariable]:
    """The variables of `envFile`, over which those of `env` go."""
    name = values.text("envFile")
    if not name:
        return {}
    path = _find(name, context)
    try:
        found = context.read_env_file(path)
    except ConfigurationError as error:
        reader.fault("envFile", f"cannot be used: {error.what} {error.why} {error.hint}".rstrip(". "))
        return {}
    own = [variable for variable in found if is_own_variable(variable)]
    if own:
        reader.fault(
            "envFile", f"sets {own[0]}, but variables that begin with {OWN_PREFIX} belong to the gateway alone"
        )
    values.expander.hidden.update(value for value in found.values() if value)
    return {variable: EnvVariable(value=value) for variable, value in found.items()}


def _find(name: str, context: EntryContext) -> Path:
    """A path of an entry: `~` is the operator's home, and what is relative counts from the workspace."""
    if name == "~" or name.startswith("~/"):
        return Path(context.home or "~", name[2:])
    return context.workspace / name


def _read_package(values: Values, context: EntryContext) -> str:
    """A spec as it is written, a path from the root."""
    text = values.text("package") or ""
    is_path = text.startswith(("./", "../", "/", "~")) or text.endswith(_PACKAGE_FILES)
    return os.path.normpath(_find(text, context)) if is_path and ":" not in text else text


def _read_directory(values: Values, context: EntryContext) -> Path | None:
    name = values.text("cwd")
    return _find(name, context) if name else None


def _read_variable(reader: ObjectReader, expander: Expander) -> EnvVariable:
    for key in reader.unknown(ENV_KEYS):
        reader.fault(key, 'is not known here; use "value" or "json", "required" and "description"')
    value = reader.get("value")
    has_content = isinstance(value, str) or "json" in reader
    content = read_content(reader, expander, text_key="value") if has_content else None
    plain = None if has_content else Values(reader, expander).plain("value", value)
    return _make_variable(
        content,
        EnvVariable(value=plain, required=reader.flag("required"), description=reader.text("description") or ""),
    )


def _make_variable(content: Content | None, variable: EnvVariable | None = None) -> EnvVariable:
    variable = variable or EnvVariable()
    if content is None:
        return variable
    return replace(variable, personal=content) if content.is_personal else replace(variable, value=content.text)


def check_names_differ(entries: Iterable[ServerEntry]) -> None:
    """Raises ConfigurationError when two entries would answer at one address."""
    seen: dict[str, ServerEntry] = {}
    for entry in entries:
        other = seen.setdefault(entry.name, entry)
        if other is not entry:
            where = f"twice in {entry.source}" if other.source == entry.source else f"{other.source}, {entry.source}"
            raise ConfigurationError(
                f'Two packages have the name "{entry.name}".',
                why=f"{_show_names(other, entry)} would answer at /{entry.name}/mcp ({where}).",
                hint="Rename one of them under mcpServers, or run them in two gateways.",
            )


def _show_names(*entries: ServerEntry) -> str:
    names = {entry.written_name or entry.name for entry in entries}
    return "Both" if len(names) == 1 else " and ".join(f'"{name}"' for name in sorted(names))
