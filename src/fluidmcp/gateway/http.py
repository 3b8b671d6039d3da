"""HTTP requests and replies as plain values, so that another HTTP front can call the same core."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import msgspec

Headers: TypeAlias = tuple[tuple[bytes, bytes], ...]

JSON_TYPE: Final = (b"content-type", b"application/json")
NO_STORE: Final = (b"cache-control", b"no-store")
STREAM_HEADERS: Final[Headers] = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    # Without it nginx collects events until its buffer is full.
    (b"x-accel-buffering", b"no"),
)


@dataclass(slots=True)
class HttpRequest:
    """One request. Header names are lower case; headers that decide something occur once, or the guard refuses."""

    method: str
    path: str
    headers: Mapping[str, str]
    client: str
    """The address of the peer, without port."""
    read_body: Callable[[], Awaitable[bytes]]
    """Reads the body when it is wanted, so that nobody unknown can make the gateway read one. RequestError 413."""


@dataclass(slots=True)
class HttpReply:
    status: int
    body: bytes = b""
    headers: Headers = field(default=(JSON_TYPE, NO_STORE))


@dataclass(slots=True)
class HttpStream:
    """A reply whose body comes in pieces; whoever sends it closes `chunks` in the end."""

    chunks: AsyncGenerator[bytes, None]
    status: int = 200
    headers: Headers = STREAM_HEADERS


def json_reply(status: int, body: Mapping[str, object], headers: Headers = ()) -> HttpReply:
    return HttpReply(status, msgspec.json.encode(body), (JSON_TYPE, NO_STORE, *headers))
