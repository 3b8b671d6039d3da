"""A person's consent to one MCP client, before anybody is sent to a provider (MCP security best practices).

The consent form carries the request sealed, bound to a cookie of the browser that it was shown in: nothing waits on the
server, and no other browser can send it. What a person lets the browser remember is a cookie of its own, sealed too,
for one package, client, redirect URI and choice of scopes; a client that changes asks again.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from fluidmcp.authorization_server.authorize import AuthorizationRequest
from fluidmcp.config.redirects import redirect_kind
from fluidmcp.crypto.sealing import Sealer
from fluidmcp.oauth_client.pkce import create_code_verifier

REMEMBER_SECONDS: Final = 30 * 24 * 3600
MAX_REMEMBERED: Final = 20
"""Remembered consents of one browser and package: they travel with every request to the gateway."""
BROWSER_COOKIE: Final = "fmcp_browser"
REMEMBERED_PREFIX: Final = "fmcp_allowed_"
HOST_PREFIX: Final = "__Host-"

_FORM: Final = "consent form"
_REMEMBERED: Final = "remembered consent"
_BROWSER: Final = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)


class _Remembered(msgspec.Struct, frozen=True, array_like=True):
    key: str
    client_name: str
    redirect_uri: str
    scopes: tuple[str, ...]
    ends_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RememberedConsent:
    """What a browser remembers; `cookie_name` is its cookie, `ends_at` in seconds since the epoch."""

    cookie_name: str
    client_name: str
    redirect_uri: str
    scopes: tuple[str, ...]
    ends_at: int


class Consents:
    """The consents of one package. `is_secure`: cookies only over https, and only from this very host."""

    def __init__(
        self,
        sealer: Sealer,
        context: tuple[str, ...],
        *,
        is_secure: bool,
        now: Callable[[], float],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._sealer = sealer
        self._context = context
        self._prefix = HOST_PREFIX if is_secure else ""
        self._now = now
        self._random_bytes = random_bytes

    @property
    def browser_cookie(self) -> str:
        """The name of the cookie that tells one browser from another."""
        return self._prefix + BROWSER_COOKIE

    def find_browser(self, cookies: Mapping[str, str]) -> str | None:
        """What the browser's cookie says; None for a browser that has none yet."""
        value = cookies.get(self.browser_cookie, "")
        return value if _BROWSER.fullmatch(value) else None

    def new_browser(self) -> str:
        return create_code_verifier(self._random_bytes)

    def seal_form(self, request: AuthorizationRequest, browser: str) -> str:
        """The hidden field of the form that is shown in this browser."""
        return self._sealer.seal(_FORM, (*self._context, browser), msgspec.msgpack.encode(request))

    def open_form(self, field: str, cookies: Mapping[str, str]) -> AuthorizationRequest | None:
        """The request of a form; None when it was not shown in this browser, or too long ago."""
        browser = self.find_browser(cookies)
        opened = None if browser is None else self._sealer.open(_FORM, (*self._context, browser), field)
        if opened is None:
            return None
        request = msgspec.msgpack.decode(opened, type=AuthorizationRequest)
        return request if self._now() < request.ends_at else None

    def can_remember(self, request: AuthorizationRequest) -> bool:
        """Whether it may be remembered: only its owner gets what a host is sent, but any program can be on a device."""
        return redirect_kind(request.redirect_uri) == "https"

    def is_remembered(self, request: AuthorizationRequest, cookies: Mapping[str, str]) -> bool:
        if request.must_ask or not self.can_remember(request):
            return False
        remembered = self._open(cookies.get(self._cookie_name(request), ""))
        return remembered is not None and remembered.key == _key(request)

    def remember(self, request: AuthorizationRequest, cookies: Mapping[str, str]) -> tuple[str, str] | None:
        """The name and value of the cookie that remembers the consent; None where nothing is remembered."""
        name = self._cookie_name(request)
        others = {one.cookie_name for one in self.list_remembered(cookies)} - {name}
        if not self.can_remember(request) or len(others) >= MAX_REMEMBERED:
            return None
        remembered = _Remembered(
            _key(request),
            request.client_name,
            request.redirect_uri,
            request.scopes,
            int(self._now()) + REMEMBER_SECONDS,
        )
        return name, self._sealer.seal(_REMEMBERED, self._context, msgspec.msgpack.encode(remembered))

    def list_remembered(self, cookies: Mapping[str, str]) -> Sequence[RememberedConsent]:
        """What this browser remembers for this package, in no particular order."""
        found: list[RememberedConsent] = []
        for name, value in cookies.items():
            remembered = self._open(value) if name.startswith(self._prefix + REMEMBERED_PREFIX) else None
            if remembered is not None:
                found.append(
                    RememberedConsent(
                        cookie_name=name,
                        client_name=remembered.client_name,
                        redirect_uri=remembered.redirect_uri,
                        scopes=remembered.scopes,
                        ends_at=remembered.ends_at,
                    )
                )
        return found

    def _cookie_name(self, request: AuthorizationRequest) -> str:
        package = "\n".join((*self._context, _key(request)))
        return f"{self._prefix}{REMEMBERED_PREFIX}{hashlib.sha256(package.encode()).hexdigest()[:16]}"

    def _open(self, value: str) -> _Remembered | None:
        opened = self._sealer.open(_REMEMBERED, self._context, value)
        if opened is None:
            return None
        remembered = msgspec.msgpack.decode(opened, type=_Remembered)
        return remembered if self._now() < remembered.ends_at else None


def _key(request: AuthorizationRequest) -> str:
    """A digest of what was consented to."""
    parts = msgspec.json.encode([request.client_digest, request.redirect_uri, sorted(request.scopes)])
    return hashlib.sha256(parts).hexdigest()
