"""Tools by name: which one a call means, and lists of them with some left out. Pure module: no I/O, no clock."""

from collections.abc import Callable
from typing import Final

from msgspec import Raw, UnsetType

from fluidmcp.protocol.jsonrpc import parse_array
from fluidmcp.protocol.objects import Text, read_object, read_text, replace_value, spells_once, write_object

CALL_TOOL: Final = "tools/call"
LIST_TOOLS: Final = "tools/list"

_NAME: Final = "name"


def is_misspelt_call(method: str) -> bool:
    """Whether a method is `tools/call` only to servers that are lenient about capitals and what cannot be seen."""
    return method != CALL_TOOL and "".join(filter(str.isalpha, method)).casefold() == "toolscall"


def read_called_tool(params: Text | UnsetType) -> tuple[str | None, Text | UnsetType]:
    """The tool that the params of a `tools/call` name, and these params as no reader can take them for another one.

    Params that spell the member `name` once, and plainly, come back as the same object. Others are written anew with
    each member once: which of two a server would take nobody knows. The name is None where there is none that every
    reader agrees on: the params are no object, the name is no string, or there is a `Name` beside it, which is the same
    to readers that do not look at capitals.
    """
    members = read_object(params)
    if isinstance(params, UnsetType) or members is None:
        return None, params
    name = read_text(members.get(_NAME))
    if name is None or any(key != _NAME and key.casefold() == _NAME for key in members):
        return None, params
    return name, params if spells_once(params, members, _NAME) else write_object(members)


def keep_tools(result: Text, allows: Callable[[str], bool]) -> Text | None:
    """The result of a `tools/list` with the tools that are allowed; every other byte stays.

    A result without a list, which asks the client something first, comes back as the same object. None: the list cannot
    be read. A tool without a name that can be read is not allowed.
    """
    members = read_object(result)
    if members is None:
        return None
    listed = members.get("tools")
    if listed is None:
        return result
    tools = parse_array(bytes(listed))
    if tools is None:
        return None
    kept = [bytes(tool) for tool in tools if (name := _read_name(tool)) is not None and allows(name)]
    return replace_value(result, members, "tools", b"[%b]" % b",".join(kept))


def _read_name(tool: Raw) -> str | None:
    return read_text((read_object(tool) or {}).get(_NAME))
