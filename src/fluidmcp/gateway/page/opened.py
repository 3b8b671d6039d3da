"""Whether a GET of an MCP endpoint is a person's, who opened its address in a browser."""

from collections.abc import Mapping
from typing import Final

_HTML: Final = "text/html"
_STREAM: Final = "text/event-stream"
_OF_CLIENTS: Final = ("mcp-session-id", "mcp-protocol-version", "last-event-id")


def is_opened_by_a_person(path: str, headers: Mapping[str, str]) -> bool:
    """`path` of a GET. MCP clients take event streams, and say so; no browser does when it opens an address."""
    if not path.endswith("/mcp") or path.count("/") != 2:  # /{package}/mcp
        return False
    accept = headers.get("accept", "")
    return _HTML in accept and _STREAM not in accept and not any(name in headers for name in _OF_CLIENTS)
