"""VS Code, Zed, Codex, opencode, Crush, Goose, Amp, Augment, mistral.rs and mcp-agent: a small reader each. Pure.

Each is given the whole document and answers None where it is of another shape.
"""

import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from fluidmcp.config.reading import as_list, as_object, show_key
from fluidmcp.packages.formats.inputs import read_inputs
from fluidmcp.packages.formats.shapes import BareNames, ReadEntry, ReadFile
from fluidmcp.packages.formats.translate import Prepare, Translation, Unit, translate_entry

_GOOSE_OWN: Final = frozenset({"builtin", "platform", "frontend", "inline_python"})


def read_vscode(document: Mapping[str, object]) -> ReadFile | None:
    """`servers` and `inputs`: VS Code's and Visual Studio's mcp.json; as a list, mistral.rs."""
    if as_list(document.get("servers")):
        return _read_mistral(document)
    servers = _servers(document, "servers")
    if servers is None:
        return None
    return _read("a file of VS Code", servers, "servers", inputs=document.get("inputs"))


def read_nested(document: Mapping[str, object]) -> ReadFile | None:
    """`mcp.servers`: settings.json of VS Code, and mcp-agent."""
    mcp = as_object(document.get("mcp")) or {}
    servers = _servers(mcp, "servers")
    if servers is None:
        return None
    read = _read("settings with mcp.servers", servers, "mcp.servers", inputs=mcp.get("inputs"))
    return replace(read, entries=(*read.entries, *_read_targets(mcp.get("targets"))))


def _read_targets(targets: object) -> Iterator[ReadEntry]:
    """fast-agent: `{name, target}`, where the target is a command line or an address."""
    for index, item in enumerate(as_list(targets) or ()):
        path = f"mcp.targets[{index}]"
        members = as_object(item) or {}
        target = members.get("target", item)
        words = _split_words(target)
        name = members.get("name") or (words[0] if words else "")
        raw: dict[str, object] = {key: value for key, value in members.items() if key not in ("name", "target")}
        if isinstance(target, str) and "://" in target:
            raw["url"] = target
        elif words:
            raw["command"] = words
        yield translate_entry(str(name), raw, path=path)


def _split_words(text: object) -> list[str]:
    try:
        return shlex.split(text) if isinstance(text, str) else []
    except ValueError:
        return []


def read_zed(document: Mapping[str, object]) -> ReadFile | None:
    """`context_servers` of Zed's settings.json."""
    servers = _servers(document, "context_servers")
    if servers is None:
        return None
    return _read("settings of Zed", servers, "context_servers", prepare=_prepare_zed)


def read_codex(document: Mapping[str, object]) -> ReadFile | None:
    """`[mcp_servers.NAME]` of Codex."""
    servers = _servers(document, "mcp_servers")
    if servers is None:
        return None
    return _read("a file of Codex", servers, "mcp_servers", prepare=_prepare_codex)


def read_augment(document: Mapping[str, object]) -> ReadFile | None:
    """`augment.advanced.mcpServers`, a list, in VS Code's settings.json."""
    servers = as_list((as_object(document.get("augment.advanced")) or {}).get("mcpServers"))
    if servers is None:
        return None
    entries = read_list(servers, path="augment.advanced.mcpServers")
    return ReadFile(shape="settings of Augment", entries=tuple(entries))


def read_list(
    items: Iterable[object], *, path: str, unit: Unit = "guess", prepare: Prepare | None = None
) -> Iterator[ReadEntry]:
    """Entries that each have a `name`."""
    for index, item in enumerate(items):
        place = f"{path}[{index}]"
        name = (as_object(item) or {}).get("name")
        if isinstance(name, str) and name:
            yield translate_entry(name, item, path=place, unit=unit, prepare=prepare)
        else:
            yield ReadEntry(name=f"server {index + 1}", path=place, value={}, faults=(f"{place}.name is missing",))


def _read_mistral(document: Mapping[str, object]) -> ReadFile:
    """Each server has its `source` inside, and one time-out is for all."""
    flat: list[object] = []
    for item in as_list(document.get("servers")) or ():
        members = as_object(item)
        if members is None:
            flat.append(item)
            continue
        source = dict(as_object(members.get("source")) or {})
        kind = source.pop("type", None)
        if isinstance(kind, str) and kind.lower() != "process":
            source["type"] = kind.lower()
        source.pop("timeout_secs", None)
        timeout = {"tool_timeout_sec": document["tool_timeout_secs"]} if "tool_timeout_secs" in document else {}
        flat.append({**{key: value for key, value in members.items() if key != "source"}, **source, **timeout})
    return ReadFile(shape="a file of mistral.rs", entries=tuple(read_list(flat, path="servers")))


def read_amp(document: Mapping[str, object]) -> ReadFile | None:
    """`amp.mcpServers` of Amp's settings.json."""
    servers = _servers(document, "amp.mcpServers")
    if servers is None:
        return None
    return _read("settings of Amp", servers, "amp.mcpServers")


def read_goose(document: Mapping[str, object]) -> ReadFile | None:
    """`extensions.NAME` of Goose; in its recipes a list."""
    listed = as_list(document.get("extensions"))
    if listed is not None and any(_has(item, "cmd", "envs", "env_keys") for item in listed):
        entries = read_list(listed, path="extensions", unit="s", prepare=_prepare_goose)
        return ReadFile(shape="a recipe of Goose", entries=tuple(entries))
    extensions = _servers(document, "extensions")
    if extensions is None or not any(
        _has(value, "cmd", "envs", "env_keys", "bundled") for value in extensions.values()
    ):
        return None
    return _read("a file of Goose", extensions, "extensions", unit="s", prepare=_prepare_goose)


def read_opencode(document: Mapping[str, object]) -> ReadFile | None:
    """`mcp.NAME` of opencode (`type` local or remote) and of Crush (`type` stdio)."""
    servers = _servers(document, "mcp")
    if servers is None or not servers or "servers" in servers or "mcpServers" in document:
        return None
    is_opencode = any(_has(value, "environment") or _has_opencode_type(value) for value in servers.values())
    if not is_opencode:
        if not any(_has(value, "command", "url") for value in servers.values()):
            return None
        return _read("a file of Crush", servers, "mcp", unit="s", prepare=_prepare_crush, bare_names="anywhere")
    read = _read("a file of opencode", servers, "mcp", prepare=_prepare_opencode)
    entries = tuple(_apply_opencode_tools(entry, document.get("tools")) for entry in read.entries)
    return ReadFile(shape=read.shape, entries=entries, braces_name_variables=True)


def _read(
    shape: str,
    servers: Mapping[str, object],
    key: str,
    *,
    unit: Unit = "guess",
    prepare: Prepare | None = None,
    inputs: object = None,
    bare_names: BareNames = "none",
) -> ReadFile:
    entries = tuple(
        translate_entry(name, value, path=f"{key}.{show_key(name)}", unit=unit, prepare=prepare)
        for name, value in servers.items()
    )
    return ReadFile(shape=shape, entries=entries, inputs=read_inputs(inputs), bare_names=bare_names)


def _servers(document: Mapping[str, object], key: str) -> Mapping[str, object] | None:
    """The object under `key`; None also where it looks like a server of that name in a file without a key around it."""
    members = as_object(document.get(key))
    if members is None:
        return None
    return None if isinstance(members.get("command"), (str, list)) or isinstance(members.get("url"), str) else members


def _has(value: object, *keys: str) -> bool:
    members = as_object(value) or {}
    return any(key in members for key in keys)


def _has_opencode_type(value: object) -> bool:
    return (as_object(value) or {}).get("type") in ("local", "remote")


def _prepare_zed(entry: Translation, members: Mapping[str, object]) -> None:
    entry.taken |= {"source", "settings", "remote"}
    if members.get("source") == "extension" or not _has(members, "command", "url"):
        entry.fault("source", "says that an extension of Zed brings the server; give it a command")
    elif members.get("settings") not in (None, {}):
        entry.fault("settings", "are handed over by Zed alone; give them in args or env")


def _prepare_codex(entry: Translation, members: Mapping[str, object]) -> None:
    tools = as_object(members.get("tools")) or {}
    if all((as_object(choice) or {"": ""}).keys() <= {"approval_mode"} for choice in tools.values()):
        entry.taken.add("tools")  # about its own questions
    if "startup_timeout_sec" in members:
        entry.taken.add("startup_timeout_ms")
    for key in ("tools", "environment_id", "experimental_environment"):
        if key not in entry.taken and members.get(key) not in (None, {}, "local"):
            entry.fault(key, "is not known here, and what it asks for would not be done")
        entry.taken.add(key)


def _prepare_goose(entry: Translation, members: Mapping[str, object]) -> None:
    kind = members.get("type")
    if kind in _GOOSE_OWN and members.get("enabled") is not False:
        entry.fault("type", f"says that the server is a part of Goose itself ({kind}); there is nothing to start")
        entry.taken |= {"type", *members}
        entry.value["command"] = "goose"
    elif kind in _GOOSE_OWN:
        entry.taken.add("type")


def _prepare_opencode(entry: Translation, members: Mapping[str, object]) -> None:
    timeout = members.get("timeout")
    if isinstance(timeout, (int, float)) and not isinstance(timeout, bool) and timeout > 0:
        # Milliseconds for fetching the tools after the start.
        entry.taken.add("timeout")
        entry.put("start_timeout_seconds", timeout / 1000, origin="timeout")


def _prepare_crush(entry: Translation, members: Mapping[str, object]) -> None:
    for key in ("args", "env", "command"):
        if "$(" in str(members.get(key, "")):
            entry.fault(key, "holds $(...), which is not run here; put the value into a variable and write $NAME")


def _apply_opencode_tools(entry: ReadEntry, tools: object) -> ReadEntry:
    """`"tools": {"NAME_tool": false}` beside `mcp` takes tools away from the servers."""
    switches, value = as_object(tools), as_object(entry.value)
    if switches is None or value is None:
        return entry
    denied: list[str] = []
    faults: list[str] = []
    for pattern, is_on in switches.items():
        if is_on is not False:
            continue
        if pattern in ("*", f"{entry.name}*", f"{entry.name}_*"):
            faults.append(f'tools.{show_key(pattern)} takes away every tool of it; set "enabled": false in the entry')
        elif pattern.startswith(f"{entry.name}_"):
            if "*" in pattern:
                faults.append(f"tools.{show_key(pattern)} is a pattern; name the tools one by one")
            denied.append(pattern.removeprefix(f"{entry.name}_"))
    if denied:
        value["tools"] = {"deny": denied}
    return ReadEntry(name=entry.name, path=entry.path, value=value, names=entry.names, faults=(*entry.faults, *faults))
