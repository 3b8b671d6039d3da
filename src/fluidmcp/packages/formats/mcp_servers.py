"""`mcpServers`: Claude Desktop and Code, Cursor, Windsurf, Cline, Roo, Gemini CLI, LM Studio, Amazon Q, LibreChat,
Continue, mcp-proxy, mcpo and many more; and a mapping without any key around it. Pure.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from fluidmcp.config.reading import as_list, as_object, show_key
from fluidmcp.packages.formats.editors import read_list
from fluidmcp.packages.formats.inputs import read_inputs
from fluidmcp.packages.formats.shapes import BareNames, ReadEntry, ReadFile
from fluidmcp.packages.formats.translate import Unit, translate_entry

_SERVER_KEYS: Final = ("command", "url", "serverUrl", "httpUrl", "package")
_GEMINI_ENTRY: Final = frozenset({"trust", "includeTools", "excludeTools", "httpUrl", "targetAudience"})
_GEMINI_FILE: Final = frozenset(
    {"selectedAuthType", "contextFileName", "coreTools", "excludeTools", "mcpServerCommand", "allowMCPServers"}
    | {"excludeMCPServers", "checkpointing", "usageStatisticsEnabled", "hideTips", "security"}
)
_LIBRECHAT_ENTRY: Final = frozenset({"initTimeout", "serverInstructions", "chatMenu", "iconPath", "customUserVars"})
_LIBRECHAT_FILE: Final = frozenset({"endpoints", "cache", "fileConfig", "interface", "modelSpecs", "mcpSettings"})
_SECONDS_ENTRY: Final = frozenset({"alwaysAllow", "autoApprove", "disabledTools", "watchPaths"})


def read_mcp_servers(document: Mapping[str, object]) -> ReadFile | None:
    """A file with `mcpServers`: an object by name, or a list of entries that each have a `name` (Continue)."""
    servers = document.get("mcpServers")
    inputs = read_inputs(document.get("inputs"))
    items, named = as_list(servers), as_object(servers)
    if items is not None:
        return ReadFile(shape="mcpServers", entries=tuple(read_list(items, path="mcpServers")), inputs=inputs)
    if named is None:
        return None
    bare: BareNames = "anywhere" if _is_gemini(document, named) else "whole"
    entries = [
        translate_entry(name, value, path=f"mcpServers.{show_key(name)}", unit=_guess_unit(document, named, value))
        for name, value in named.items()
    ]
    return ReadFile(
        shape="mcpServers",
        entries=tuple(_apply_choice(entry, document) for entry in entries),
        inputs=inputs,
        bare_names=bare,
    )


def read_bare(document: Mapping[str, object]) -> ReadFile | None:
    """`{NAME: {"command": ...}}` without a key around it: every value must be a server."""
    members = {key: value for key, value in document.items() if not key.startswith("$")}
    if not members or not all(_is_server(value) for value in members.values()):
        return None
    entries = [
        translate_entry(name, value, path=show_key(name), unit=_guess_unit({}, members, value))
        for name, value in members.items()
    ]
    return ReadFile(shape="a mapping of servers", entries=tuple(entries), bare_names="whole")


def _apply_choice(entry: ReadEntry, document: Mapping[str, object]) -> ReadEntry:
    """Gemini CLI chooses servers beside their entries: what it does not start is not started here."""
    choice = as_object(document.get("mcp")) or {}
    allowed = choice.get("allowed", document.get("allowMCPServers"))
    excluded = choice.get("excluded", document.get("excludeMCPServers"))
    is_out = entry.name in (as_list(excluded) or ()) or entry.name not in (as_list(allowed) or (entry.name,))
    value = as_object(entry.value)
    return replace(entry, value={**value, "disabled": True}) if is_out and value is not None else entry


def _guess_unit(document: Mapping[str, object], servers: Mapping[str, object], value: object) -> Unit:
    keys = (as_object(value) or {}).keys()
    if _is_gemini(document, servers) or keys & _LIBRECHAT_ENTRY or document.keys() & _LIBRECHAT_FILE:
        return "ms"
    return "s" if keys & _SECONDS_ENTRY else "guess"


def _is_gemini(document: Mapping[str, object], servers: Mapping[str, object]) -> bool:
    if document.keys() & _GEMINI_FILE:
        return True
    return any((as_object(value) or {}).keys() & _GEMINI_ENTRY for value in servers.values())


def _is_server(value: object) -> bool:
    members = as_object(value) or {}
    return any(isinstance(members.get(key), (str, list)) for key in _SERVER_KEYS)
