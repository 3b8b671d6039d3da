"""Whether a GET is a person's, who opened the address of a package in a browser."""

from collections.abc import Mapping
from typing import Final

from fluidmcp.config.entries import RESERVED_NAMES, is_package_name
from fluidmcp.gateway.http import EMPTY_HEADERS, HttpReply

_HTML: Final = "text/html"
_STREAM: Final = "text/event-stream"
_OF_CLIENTS: Final = ("mcp-session-id", "mcp-protocol-version", "last-event-id")
_OWN_NAMES: Final = RESERVED_NAMES | {"deny-list"}
"""Where the gateway itself answers. A package may have the last name, but without `/mcp` it is the gateway's."""


def is_opened_by_a_person(path: str, headers: Mapping[str, str]) -> bool:
    """`path` of a GET. MCP clients take event streams, and say so; no browser does when it opens an address."""
    if not path.endswith("/mcp") or path.count("/") != 2:  # /{package}/mcp
        return False
    return _is_of_a_browser(headers)


def send_to_page(path: str, headers: Mapping[str, str], *, base: str) -> HttpReply | None:
    """The way from `/{package}` to the page at `/{package}/mcp`; None for all that is no person's GET of such a path.

    `base` is the path of the public URL. Any name is sent there, without a look at what is served: the page decides
    what it tells to whom. Where people end is also the address that they give to an MCP client.
    """
    name = path.removeprefix("/").removesuffix("/")
    if not is_package_name(name) or name in _OWN_NAMES or not _is_of_a_browser(headers):
        return None
    return HttpReply(302, headers=(*EMPTY_HEADERS, (b"location", f"{base}/{name}/mcp".encode())))


def _is_of_a_browser(headers: Mapping[str, str]) -> bool:
    accept = headers.get("accept", "")
    return _HTML in accept and _STREAM not in accept and not any(name in headers for name in _OF_CLIENTS)
