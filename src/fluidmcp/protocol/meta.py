"""The parts of `params` that a gateway must change: progress tokens and offered capabilities. Pure module."""

from typing import Final

from msgspec import Raw, UnsetType

from fluidmcp.protocol.jsonrpc import Json, encode_object, parse_object

INTERACTIVE_CAPABILITIES: Final = ("elicitation", "sampling", "roots", "tasks")
"""What a client offers to be asked; a server that believes in them would wait for answers nobody relays yet."""


PROGRESS_TOKEN: Final = b'"progressToken"'


def replace_progress_token(params: Json | Raw | UnsetType, token: Json) -> tuple[Json | Raw | UnsetType, Json | None]:
    """Put our progress token into `params._meta`; the new params and the client's own token, None if it sent none.

    Worth calling only for a message that mentions PROGRESS_TOKEN. Params without one come back as the same object.
    """
    members = parse_object(params)
    meta = parse_object(members["_meta"]) if members and "_meta" in members else None
    if members is None or meta is None or "progressToken" not in meta:
        return params, None
    client_token = bytes(meta["progressToken"])
    meta["progressToken"] = Raw(token)
    members["_meta"] = Raw(encode_object(meta))
    return encode_object(members), client_token


def replace_member(params: Json | Raw | UnsetType, name: str, value: Json) -> Json | Raw | UnsetType:
    """`params` with one member of the object replaced where it is there."""
    members = parse_object(params)
    if members is None or name not in members:
        return params
    members[name] = Raw(value)
    return encode_object(members)


def without_interactive_capabilities(initialize_params: Json | Raw) -> Json:
    """The params of `initialize` without the capabilities by which a server could ask the client something."""
    members = parse_object(initialize_params)
    capabilities = parse_object(members["capabilities"]) if members and "capabilities" in members else None
    if members is None or capabilities is None:
        return bytes(initialize_params)
    offered = {name: value for name, value in capabilities.items() if name not in INTERACTIVE_CAPABILITIES}
    if len(offered) == len(capabilities):
        return bytes(initialize_params)
    members["capabilities"] = Raw(encode_object(offered))
    return encode_object(members)
