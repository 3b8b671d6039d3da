"""Server-sent events (HTML standard, section 9.2) as text. Pure module: no I/O."""

from typing import Final

from fluidmcp.protocol.jsonrpc import Json

COMMENT: Final = b":\n\n"
"""A line that clients pass over. It keeps proxies from closing a silent connection; legal in every revision."""


def encode_comment(text: str) -> bytes:
    """A comment that says something to people who look at the stream; `text` is one line."""
    return b": %b\n\n" % text.encode()


def encode_event(
    data: Json, *, event: bytes = b"", event_id: bytes = b"", retry_milliseconds: int | None = None
) -> bytes:
    """One event whose data is one line of JSON.

    `event` (its type), `event_id` and `retry_milliseconds` (how long the client waits before it connects again) are
    left out where they are empty or None. Neither `event` nor `event_id` may hold a line break, nor `event_id` a NUL.
    """
    pieces: list[bytes] = []
    if event_id:
        pieces += (b"id: ", event_id, b"\n")
    if event:
        pieces += (b"event: ", event, b"\n")
    if retry_milliseconds is not None:
        pieces.append(b"retry: %d\n" % retry_milliseconds)
    pieces += (b"data: ", data, b"\n\n")
    return b"".join(pieces)


def encode_priming(event_id: bytes, *, retry_milliseconds: int | None = None) -> bytes:
    """An id with empty data: the client can resume the stream before its first message (2025-11-25, "Streamable HTTP").

    Only for clients of revision 2025-11-25: older ones take the empty data for a broken message.
    """
    return encode_event(b"", event_id=event_id, retry_milliseconds=retry_milliseconds)
