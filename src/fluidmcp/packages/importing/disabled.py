"""Entries that are disabled, which nobody checks: what of them may be copied into another file. Pure module: no I/O."""

from collections.abc import Callable, Mapping
from typing import Final

from fluidmcp.config.auth_block import parse_auth_block
from fluidmcp.config.entries import ENV_KEYS, KNOWN_KEYS
from fluidmcp.config.filling.files import FILE_KEYS
from fluidmcp.config.filling.values import MAX_DEPTH
from fluidmcp.config.isolation import read_level, read_paths
from fluidmcp.config.reading import ObjectReader, as_list, as_object, show_key
from fluidmcp.config.tools import read_tools

_READERS: Final[Mapping[str, Callable[[ObjectReader], object]]] = {
    **{key: lambda reader, key=key: reader.text(key) for key in "command cwd envFile package python url type".split()},
    **{key: lambda reader, key=key: reader.flag(key) for key in ("disabled", "shared", "secrets_in_args")},
    **{
        key: lambda reader, key=key: reader.seconds(key) for key in ("request_timeout_seconds", "start_timeout_seconds")
    },
    "args": lambda reader: reader.texts("args", plain=True),
    "isolation": read_level,
    "tools": read_tools,
    "paths": lambda reader: read_paths(reader, directory="/", home="/"),
}


def keep_known(entry: Mapping[str, object]) -> tuple[dict[str, object], tuple[str, ...]]:
    """What is known and of the right form, and the names of what is not: it may hold anything, a secret too."""
    kept: dict[str, object] = {}
    dropped: list[str] = []
    for key, value in entry.items():
        members = as_object(value)
        if key in _MEMBERS and members is not None:
            good = {name: member for name, member in members.items() if _MEMBERS[key](member)}
            kept[key] = good
            dropped += [f"{key}.{show_key(name)}" for name in members if name not in good]
        elif key in KNOWN_KEYS and key not in _MEMBERS and _is_well_formed(key, value):
            kept[key] = value
        else:
            dropped.append(show_key(key))
    return kept, tuple(dropped)


def _is_plain(member: object) -> bool:
    return as_object(member) is None and as_list(member) is None


def _is_shallow(value: object, depth: int = MAX_DEPTH) -> bool:
    items = (as_object(value) or {}).values() or as_list(value) or ()
    return depth >= 0 and all(_is_shallow(item, depth - 1) for item in items)


def _is_variable(member: object) -> bool:
    parts = as_object(member)
    if parts is None:
        return _is_plain(member)
    return (
        parts.keys() <= ENV_KEYS
        and _is_shallow(parts.get("json"))
        and _is_plain(parts.get("value"))
        and isinstance(parts.get("required", False), bool)
        and isinstance(parts.get("description", ""), str)
    )


def _is_file(member: object) -> bool:
    parts = as_object(member)
    return (
        parts is not None
        and parts.keys() <= FILE_KEYS
        and _is_shallow(parts.get("json"))
        and all(isinstance(parts.get(key, ""), str) for key in ("text", "env"))
    )


_MEMBERS: Final[Mapping[str, Callable[[object], bool]]] = {
    "env": _is_variable,
    "headers": _is_plain,
    "files": _is_file,
}
"""Keys with members that are kept or left out one by one."""


def _is_well_formed(key: str, value: object) -> bool:
    faults: list[str] = []
    reader = ObjectReader({key: value}, path="", faults=faults)
    if key == "auth":
        block = as_object(value) or {}
        allowed = frozenset(str(block.get(name)) for name in ("client_id_env", "client_secret_env"))
        parse_auth_block(reader.nested(key), allowed_env_names=allowed)
    else:
        _READERS[key](reader)
    return not faults
