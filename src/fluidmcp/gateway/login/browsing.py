"""What the endpoints that browsers come to have in common."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from fastapi import Request

from fluidmcp.errors import RequestError

PROTECTIVE_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Cache-Control": "no-store",
        "Pragma": "no-cache",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
        "X-Frame-Options": "DENY",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
)
"""For answers that are no pages: nobody keeps, frames or interprets them."""


CANONICAL: Final = "canonical"
"""A parameter that ends the redirect loop behind a proxy that changes the Host header."""


def is_opened_under_another_name(request: Request, public_host: str) -> bool:
    """Whether a login begins under another name of the gateway than its callback uses; false once redirected.

    The cookie has to be set for that name. The Host header is compared, never used.
    """
    if CANONICAL in request.query_params:
        return False
    try:
        host = urlsplit(f"//{request.headers.get('host', '')}").hostname
    except ValueError:
        return True
    return host != public_host


def require_navigation(request: Request) -> None:
    """Only a person's browser that goes to the page, or a program, begins or ends a login (Fetch metadata).

    Raises:
        RequestError: 403 for prefetches, images, frames and calls of scripts in pages.
    """
    headers = request.headers
    purposes = " ".join(headers.get(name, "") for name in ("sec-purpose", "purpose", "x-moz", "x-purpose")).lower()
    if "prefetch" in purposes or "prerender" in purposes or "preview" in purposes:
        raise RequestError(403, "Fetching this page ahead of time is refused")
    is_navigation = headers.get("sec-fetch-mode", "navigate") == "navigate"
    if not is_navigation or headers.get("sec-fetch-dest", "document") != "document":
        raise RequestError(
            403,
            "This page must be opened by itself",
            why="Logins do not begin or end in images, frames or scripts.",
            hint="Open the address in a browser tab; programs can ask for it with Accept: application/json.",
        )


def client_address(request: Request) -> str:
    return request.client.host if request.client is not None else ""
