"""Server-sent events (HTML standard, section 9.2) as text. Pure module: no I/O."""

from fluidmcp.protocol.jsonrpc import Json


def encode_event(data: Json, *, event: bytes = b"") -> bytes:
    """One event whose data is one line of JSON."""
    if event:
        return b"".join((b"event: ", event, b"\ndata: ", data, b"\n\n"))
    return b"".join((b"data: ", data, b"\n\n"))
