"""The pages that a browser sees at the end of `fluidmcp login`. Constant texts: nothing of a request is in them.

A page loads nothing from anywhere, and takes the code out of the address bar and the history. Pure module.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

# The code has been used when the page is shown, but it need not lie around in the history.
_SCRIPT: Final = 'history.replaceState(null, "", location.pathname)'
_STYLE: Final = (
    ":root{color-scheme:light dark}"
    "body{font:1.1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:18vh auto;padding:0 1.5rem}"
    "h1{font-size:1.5rem}"
)


@dataclass(frozen=True, slots=True)
class Page:
    """A whole HTTP answer."""

    status: int
    title: str
    text: str
    headers: tuple[tuple[str, str], ...] = ()

    def render(self) -> bytes:
        body = (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{self.title}</title>'
            '<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">'
            f"<style>{_STYLE}</style></head><body><main><h1>{self.title}</h1><p>{self.text}</p></main>"
            f"<script>{_SCRIPT}</script></body></html>"
        ).encode("ascii")
        head = [f"HTTP/1.1 {self.status} {_REASONS[self.status]}"]
        head += [f"{name}: {value}" for name, value in (*_HEADERS, *self.headers, ("Content-Length", str(len(body))))]
        return "\r\n".join([*head, "", ""]).encode("ascii") + body


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _policy() -> str:
    directives: Sequence[str] = (
        "default-src 'none'",
        f"script-src {_source(_SCRIPT)}",
        f"style-src {_source(_STYLE)}",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
    return "; ".join(directives)


_REASONS: Final = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed"}
_HEADERS: Final = (
    ("Content-Type", "text/html; charset=utf-8"),
    ("Cache-Control", "no-store"),
    ("Pragma", "no-cache"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", _policy()),
    ("Connection", "close"),
)

LOGGED_IN: Final = Page(200, "You are logged in", "Close this window and go back to the terminal.")
FAILED: Final = Page(400, "The login did not complete", "The terminal says why.")
NOT_EXPECTED: Final = Page(
    400, "This is not what the login waits for", "Finish the login in the window that it opened, or start it again."
)
NOT_FOUND: Final = Page(404, "Nothing here", "Only the answer of the provider is expected here.")
NOT_ALLOWED: Final = Page(405, "Only a browser's GET is answered here", "", (("Allow", "GET"),))
