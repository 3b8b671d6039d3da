"""What the request headers of the MCP endpoints mean. Pure module: text in, value out."""

from functools import lru_cache
from typing import Final, Literal

ReplyForm = Literal["json", "either", "event-stream"]

MAX_REMEMBERED_CHARACTERS: Final = 200
"""Clients have one Accept header each; what is longer is nobody's, and is not remembered."""


def parse_accept(accept: str | None) -> ReplyForm:
    """Which forms of answer a client takes.

    The specification lets a server be lenient (no 406): without the header, with `*/*` or with JSON alone the answer
    is plain JSON; with both types either; with `text/event-stream` alone an event stream.
    """
    if accept is None:
        return "json"
    return _parse_accept(accept) if len(accept) > MAX_REMEMBERED_CHARACTERS else _parse_short_accept(accept)


def _parse_accept(accept: str) -> ReplyForm:
    json_accepted = stream_accepted = False
    for item in accept.lower().split(","):
        media_type, _, parameters = item.partition(";")
        if _is_refused(parameters):
            continue
        match media_type.strip():
            case "text/event-stream":
                stream_accepted = True
            case "application/json" | "application/*" | "*/*":
                json_accepted = True
            case _:
                pass
    if not stream_accepted:
        return "json"
    return "either" if json_accepted else "event-stream"


_parse_short_accept: Final = lru_cache(maxsize=64)(_parse_accept)


def _is_refused(parameters: str) -> bool:
    """RFC 9110 section 12.4.2: a weight of 0 means "not acceptable"."""
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            return value.strip().rstrip("0") in ("", ".", "0.") and value.strip()[:1] == "0"
    return False


def parse_bearer(authorization: str | None) -> str | None:
    """The token of `Authorization: Bearer ...` (RFC 6750 section 2.1), None for anything else."""
    if authorization is None:
        return None
    scheme, _, token = authorization.partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        return None
    return token


def is_json_content_type(content_type: str | None) -> bool:
    if content_type is None:
        return False
    return content_type.partition(";")[0].strip().lower() == "application/json"
