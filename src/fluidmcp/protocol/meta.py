"""The parts of `params` that a gateway must change: progress tokens and offered capabilities. Pure module."""

from typing import Final

from msgspec import UNSET, Raw, UnsetType

from fluidmcp.protocol.jsonrpc import (
    INVALID_REQUEST,
    InvalidMessageError,
    Json,
    parse_object,
)
from fluidmcp.protocol.objects import is_object, replace_value, without_members

INTERACTIVE_CAPABILITIES: Final = ("elicitation", "sampling", "roots", "tasks")
"""What a client offers to be asked; a server that believes in them would wait for answers nobody relays yet."""


META: Final = b'"_meta"'
MAX_LOOKS: Final = 16
PROGRESS_TOKEN: Final = b'"progressToken"'


def mentions_meta(text: bytes, *, has_escapes: bool) -> bool:
    """Whether a message may hold a member `_meta`, in whatever spelling; cheap, and certain where it says no.

    `has_escapes` is what `has_escaped_ascii` says of the text.
    """
    if has_escapes:
        return True
    # One byte is found at fifty times the speed of several, and this one is rare.
    place = text.find(b"_")
    for _ in range(MAX_LOOKS):
        if place < 0:
            return False
        if text.startswith(META, place - 1):
            return True
        place = text.find(b"_", place + 1)
    return META in text


def mentions_progress_token(text: bytes, *, has_escapes: bool) -> bool:
    """Whether a message may hold a progress token, in whatever spelling; cheap, and certain where it says no.

    `has_escapes` is what `has_escaped_ascii` says of the text.
    """
    return has_escapes or PROGRESS_TOKEN in text


def replace_progress_token(params: Json | Raw | UnsetType, token: Json) -> tuple[Json | Raw | UnsetType, Json | None]:
    """Put our progress token into `params._meta`; the new params and the client's own token, None if it sent none.

    Worth calling only for a message that mentions a progress token. Params without one come back as the same object.

    Raises:
        InvalidMessageError: -32600, the params cannot be looked into: they are nested too deeply.
    """
    if params is UNSET:
        return params, None
    members = parse_object(params)
    if members is None and is_object(params):
        raise InvalidMessageError(INVALID_REQUEST, "The params of the message are too deeply nested.")
    meta = parse_object(members["_meta"]) if members and "_meta" in members else None
    if members is None or meta is None or "progressToken" not in meta:
        return params, None
    client_token = bytes(meta["progressToken"])
    marked = replace_value(members["_meta"], meta, "progressToken", token)
    return replace_value(params, members, "_meta", marked), client_token


def replace_member(params: Json | Raw | UnsetType, name: str, value: Json) -> Json | Raw | UnsetType:
    """`params` with one member of the object replaced where it is there."""
    members = parse_object(params)
    if params is UNSET or members is None or name not in members:
        return params
    return replace_value(params, members, name, value)


def without_interactive_capabilities(initialize_params: Json | Raw) -> Json:
    """The params of `initialize` without the capabilities by which a server could ask the client something."""
    members = parse_object(initialize_params)
    capabilities = parse_object(members["capabilities"]) if members and "capabilities" in members else None
    if members is None or capabilities is None:
        return bytes(initialize_params)
    offered = without_members(members["capabilities"], capabilities, INTERACTIVE_CAPABILITIES)
    if offered is members["capabilities"]:
        return bytes(initialize_params)
    return replace_value(initialize_params, members, "capabilities", offered)
