"""From an entry of another program's file to one of our own: keys renamed, units converted, flags turned. Pure.

What only concerns the other program's windows is left out without a word; everything else that is not known here is a
fault, because it may have been somebody's safety setting.
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from fluidmcp.config.entries import KNOWN_KEYS
from fluidmcp.config.reading import as_list, as_object, name_type, show_key
from fluidmcp.config.variables import VARIABLE_NAME
from fluidmcp.packages.formats.shapes import ReadEntry

Unit = Literal["s", "ms", "guess"]

_OWN: Final = KNOWN_KEYS - {"type"}
_RENAMED: Final = {
    "cmd": "command",
    "environment": "env",
    "envs": "env",
    "working_directory": "cwd",
    "workingDirectory": "cwd",
    "env_file": "envFile",
    "serverUrl": "url",
    "httpUrl": "url",
    "uri": "url",
    "http_headers": "headers",
}
_QUIET: Final = frozenset(
    # What is shown, and what a client asks its person about.
    "name title description icon iconPath icons gallery version registry author tags category homepage display_name"
    " displayName bundled chatMenu serverInstructions instructions alwaysAllow autoApprove alwaysApprove trust"
    " trusted confirm toolApprovals default_tools_approval_mode custom_instructions note notes comment comments"
    # How a client starts and watches its servers while somebody develops one.
    " dev debug watch watchPaths start_on_launch startOnLaunch startup autoStart auto_start fromGalleryId source_url"
    " installationId marketplace scope terminate_on_close required supports_parallel_tool_calls metadata"
    # Keys of remote entries, which are read elsewhere or need none of them here.
    " oauth requiresOAuth authProviderType targetAudience requestOptions"
    " faviconUrl sseUrl schema http_timeout_seconds"
    # Whatever else was seen to say nothing about the server itself.
    " stderr load_on_start include_instructions provider providerUrl logoUrl tool_prefix".split()
)
_COMMENT_SIGNS: Final = ("_", "$", "//", "#", "x-")
_ALLOWED_TOOLS: Final = (
    *("includeTools", "enabled_tools", "enabledTools", "available_tools", "allowedTools", "allowed_tools"),
    *("includedTools", "tools_allowed"),
)
_DENIED_TOOLS: Final = ("excludeTools", "disabled_tools", "disabledTools", "excludedTools", "excluded_tools")
_SECONDS: Final = {
    "startup_timeout_sec": ("start_timeout_seconds", 1.0),
    "startup_timeout_ms": ("start_timeout_seconds", 0.001),
    "initTimeout": ("start_timeout_seconds", 0.001),
    "connectionTimeout": ("start_timeout_seconds", 0.001),
    "tool_timeout_sec": ("request_timeout_seconds", 1.0),
    "read_timeout_seconds": ("request_timeout_seconds", 1.0),
}
_STDIO_TYPES: Final = frozenset({"stdio", "local", "command", "custom"})
_UNSUPPORTED: Final = {
    "roots": "is not known here: roots come from each client",
    "customUserVars": "asks for a value per person: write auth of the type keys, and ${keys.NAME}",
    "extends": "is not known here; write the entry out",
    "sampling": "is not known here: sampling is each client's own",
}
_TIMEOUT_PARTS: Final = {"startup": "start_timeout_seconds", "request": "request_timeout_seconds"}
"""opencode 2, in milliseconds."""
_LARGEST_SECONDS: Final = 3600
_SMALLEST_MILLISECONDS: Final = 1000


@dataclass(slots=True, kw_only=True)
class Translation:
    """One entry under way."""

    name: str
    path: str
    unit: Unit = "guess"
    value: dict[str, object] = field(default_factory=dict[str, object])
    names: dict[str, str] = field(default_factory=dict[str, str])
    faults: list[str] = field(default_factory=list[str])
    forwarded: dict[str, object] = field(default_factory=dict[str, object])
    """Variables that the server gets from the environment, as `env` would have them."""
    variable_headers: dict[str, object] = field(default_factory=dict[str, object])
    """Headers of a remote server whose values are in variables, as `headers` would have them."""
    taken: set[str] = field(default_factory=set[str])
    """Keys of the entry that its shape has dealt with already."""

    def put(self, key: str, value: object, *, origin: str) -> None:
        """Set a key of our own form, which must not have been set by another key of the file."""
        if key in self.value:
            self.fault(origin, f"says the same as {self.names.get(key, key)}; keep one of the two")
            return
        self.value[key] = value
        if origin != key:
            self.names[key] = origin

    def fault(self, key: str, text: str) -> None:
        self.faults.append(f"{self.path}.{show_key(key)} {text}")

    def entry(self) -> ReadEntry:
        return ReadEntry(name=self.name, path=self.path, value=self.value, names=self.names, faults=tuple(self.faults))


Prepare = Callable[[Translation, Mapping[str, object]], None]


def translate_entry(
    name: str,
    raw: object,
    *,
    path: str,
    unit: Unit = "guess",
    prepare: Prepare | None = None,
) -> ReadEntry:
    """An entry in our own form. `unit` is that of a bare `timeout`; `prepare` deals with keys that mean something else
    in this shape, and notes them in `taken`.
    """
    members = as_object(raw)
    if members is None:
        return ReadEntry(name=name, path=path, value=raw)
    entry = Translation(name=name, path=path, unit=unit)
    if prepare is not None:
        prepare(entry, members)
    for key, value in members.items():
        if key not in entry.taken:
            _translate(entry, key, value)
    _split_command(entry)
    if entry.forwarded and isinstance(entry.value.get("env", {}), dict):
        entry.value["env"] = {**entry.forwarded, **(as_object(entry.value.get("env")) or {})}
    if entry.variable_headers and "url" in entry.value and isinstance(entry.value.get("headers", {}), dict):
        entry.value["headers"] = {**entry.variable_headers, **(as_object(entry.value.get("headers")) or {})}
    return entry.entry()


def _translate(entry: Translation, key: str, value: object) -> None:
    own = _RENAMED.get(key, key)
    if key in ("type", "transport", "transportType"):
        _read_type(entry, key, value)
    elif value is None and key != "auth":
        return
    elif key == "disabled" and isinstance(value, bool):
        _read_enabled(entry, key, not value)
    elif own in _OWN and not (own == "tools" and as_list(value) is not None):
        entry.put(own, value, origin=key)
    elif key in ("enabled", "isActive"):
        _read_enabled(entry, key, value)
    elif key == "tools":
        _read_tools(entry, key, value, "allow", every="*")
    elif key in _ALLOWED_TOOLS:
        _read_tools(entry, key, value, "allow")
    elif key in _DENIED_TOOLS:
        _read_tools(entry, key, value, "deny")
    elif key in _SECONDS:
        target, factor = _SECONDS[key]
        _read_seconds(entry, key, value, target, factor)
    elif key == "timeout":
        _read_timeout(entry, key, value)
    elif key == "registryUrl" and value == "":
        return
    elif key == "env_vars":
        _forward_variables(entry, key, value, is_required=False)
    elif key == "env_keys":
        _forward_variables(entry, key, value, is_required=True)
    elif key in ("bearer_token_env_var", "env_http_headers"):
        _read_variable_headers(entry, key, value)
    elif key in ("sandbox", "sandboxEnabled"):
        _read_sandbox(entry, key, value)
    elif key in _UNSUPPORTED:
        if value not in ([], {}, False):
            entry.fault(key, _UNSUPPORTED[key])
    elif key not in _QUIET and not key.startswith(_COMMENT_SIGNS):
        entry.fault(key, _describe_unknown(key))


def _read_enabled(entry: Translation, key: str, value: object) -> None:
    if not isinstance(value, bool):
        entry.fault(key, f"must be true or false, not {name_type(value)}")
    elif entry.value.get("disabled", not value) is (not value):
        entry.value["disabled"] = not value
    else:
        entry.fault(key, "says something else than disabled; keep one of the two")


def _describe_unknown(key: str) -> str:
    own = [name for name in _OWN if name.lower() == key.replace("_", "").lower()]
    known = (*_OWN, *_RENAMED, *_ALLOWED_TOOLS, *_DENIED_TOOLS, *_SECONDS, "enabled", "timeout", "env_vars")
    near = own or [_RENAMED.get(name, name) for name in difflib.get_close_matches(key, known, n=1, cutoff=0.75)]
    wanted = f"; did you mean {near[0]}?" if near else "; remove it, or let its name begin with _ if it is a comment"
    return f"is not known here, and what it asks for would not be done{wanted}"


def _read_type(entry: Translation, key: str, value: object) -> None:
    if value is None or (isinstance(value, str) and value in _STDIO_TYPES):
        return
    if isinstance(value, str):
        # Remote ones are refused by name where the entry is read; so is what nobody knows.
        entry.value.setdefault("type", value)
    else:
        entry.fault(key, f"must be a string, not {name_type(value)}")


def _read_tools(entry: Translation, key: str, value: object, kind: str, *, every: str = "") -> None:
    names = [value] if isinstance(value, str) else as_list(value)
    listed = [name for name in names or () if isinstance(name, str)]
    if names is None or len(listed) < len(names):
        entry.fault(key, "must be a list of tool names")
        return
    if every and every in listed:
        return
    if kind == "allow" and key == "available_tools" and not listed:
        return  # Goose writes an empty list for all
    if any("*" in name for name in listed):
        entry.fault(key, "holds a pattern; name the tools one by one")
        return
    lists = as_object(entry.value.setdefault("tools", {}))
    if lists is None or "tools" not in entry.names and lists:
        entry.fault(key, "stands beside tools; keep one of the two")
    elif kind in lists:
        entry.fault(key, "says the same as another list of tools; keep one of the two")
    else:
        lists[kind] = listed
        entry.names.setdefault("tools", key)


def _read_seconds(entry: Translation, key: str, value: object, target: str, factor: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        entry.fault(key, f"must be a number, not {name_type(value)}")
    elif value > 0:
        entry.put(target, value * factor if factor != 1.0 else value, origin=key)
    else:
        entry.fault(key, "must be more than 0")


def _read_timeout(entry: Translation, key: str, value: object) -> None:
    """A bare `timeout`: seconds in some programs' files, milliseconds in others'."""
    parts = as_object(value)
    if parts is not None and parts.keys() <= _TIMEOUT_PARTS.keys():
        for part, milliseconds in parts.items():
            _read_seconds(entry, key, milliseconds, _TIMEOUT_PARTS[part], 0.001)
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        entry.fault(key, f"must be a number, not {name_type(value)}")
        return
    # No program takes more than an hour in seconds, and some that write milliseconds look like those that do not.
    unit = "ms" if value > _LARGEST_SECONDS else entry.unit
    if unit == "guess":
        if value < _SMALLEST_MILLISECONDS:
            unit = "s"
        else:
            entry.fault(
                key,
                "may be seconds or milliseconds, which cannot be told; write request_timeout_seconds in its place",
            )
            return
    _read_seconds(entry, key, value, "request_timeout_seconds", 1.0 if unit == "s" else 0.001)


def _forward_variables(entry: Translation, key: str, value: object, *, is_required: bool) -> None:
    """Names of variables that the server gets from the environment."""
    names = as_list(value)
    if names is None:
        entry.fault(key, f"must be a list of names, not {name_type(value)}")
        return
    # Whether `env` comes before or after it in the file: what that says of a variable counts.
    for item in names:
        name = (as_object(item) or {}).get("name", item)
        if isinstance(name, str):
            entry.forwarded.setdefault(name, {"required": True} if is_required else {})
        else:
            entry.fault(key, "must be a list of names")


def _read_variable_headers(entry: Translation, key: str, value: object) -> None:
    """Codex: the variable of a bearer token, and variables by the names of headers."""
    is_bearer = key == "bearer_token_env_var"
    variables = {"Authorization": value} if is_bearer else as_object(value)
    if variables is None:
        entry.fault(key, f"must be an object, not {name_type(value)}")
        return
    for header, variable in variables.items():
        # What is no name may be the secret itself, so it is not repeated.
        if not isinstance(variable, str) or not VARIABLE_NAME.fullmatch(variable):
            entry.fault(key, "must be the name of a variable" if is_bearer else "must hold names of variables")
            return
        entry.variable_headers[header] = f"Bearer ${{env:{variable}}}" if is_bearer else f"${{env:{variable}}}"


def _read_sandbox(entry: Translation, key: str, value: object) -> None:
    """VS Code's sandbox: what may be written is ours to honour, what the network may reach is not."""
    if key == "sandboxEnabled" and value in (True, False):
        return  # our own isolation is on unless somebody says otherwise
    parts = as_object(value)
    if key != "sandbox" or parts is None:
        entry.fault(key, _describe_unknown(key))
        return
    for part, members in parts.items():
        if members in ({}, [], None):
            continue
        rules = as_object(members) if part == "filesystem" else None
        if rules is None:
            entry.fault(key, f"asks for {show_key(part)}, which cannot be honoured here")
            continue
        for rule, paths in rules.items():
            if paths in ([], None):
                continue
            if rule == "allowWrite" and "paths" not in entry.value:
                entry.put("paths", {"write": paths}, origin=key)
            else:
                entry.fault(key, f"asks for filesystem.{show_key(rule)}, which cannot be honoured here; see paths")


def _split_command(entry: Translation) -> None:
    """A command as a list, or as an object of its own, becomes a program and its arguments."""
    origin = entry.names.get("command", "command")
    parts, words = as_object(entry.value.get("command")), as_list(entry.value.get("command"))
    if parts is not None:
        unknown = [key for key in parts if key not in ("path", "args", "env")]
        if unknown:
            entry.fault(origin, f"holds {show_key(unknown[0])}, which is not known here")
        del entry.value["command"]
        for key, own in (("path", "command"), ("args", "args"), ("env", "env")):
            if parts.get(key) is not None:
                entry.put(own, parts[key], origin=own if own == key else f"{origin}.{key}")
    elif words is not None:
        behind = as_list(entry.value.get("args", []))
        entry.value["command"] = words[0] if words else ""
        if behind is not None:
            entry.value["args"] = [*words[1:], *behind]
