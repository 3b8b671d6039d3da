"""What a request must satisfy before anybody looks at its meaning: its Host, its Origin, its headers, its token.

Pure of HTTP machinery: it reads an HttpRequest and raises. Identity and paths never come from forwarding headers.
"""

import hmac
import ipaddress
from collections.abc import Collection, Iterable, Mapping
from typing import Final
from urllib.parse import urlsplit

from fluidmcp.authentication.principal import Principal
from fluidmcp.config.logins.keys import KEY_HEADER_PREFIX
from fluidmcp.config.settings import GatewaySettings
from fluidmcp.config.urls import is_loopback_host
from fluidmcp.crypto.sealing import PREFIX as SEALED_PREFIX
from fluidmcp.errors import ForbiddenError, RequestError, UnauthorizedError
from fluidmcp.gateway.http import HttpRequest, too_large
from fluidmcp.gateway.login.wellknown import is_open_to_pages
from fluidmcp.guards.gateway_auth import OPERATOR_ISSUER, GatewayGuard
from fluidmcp.oauth_client.token_endpoint import is_token_text
from fluidmcp.protocol.headers import is_json_content_type, parse_bearer

LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "[::1]")

GATEWAY_TOKEN_HEADER: Final = "x-fluidmcp-authorization"
"""Carries the gateway's token where `Authorization` carries the package's."""

SINGLE_HEADERS: Final = frozenset(
    {
        "host",
        "authorization",
        GATEWAY_TOKEN_HEADER,
        "origin",
        "content-type",
        "content-length",
        "mcp-session-id",
        "mcp-protocol-version",
    }
)
"""Headers that decide something: sent twice, two readers could disagree about which one counts. Keys of a
person do too.
"""

FORM_TYPE: Final = "application/x-www-form-urlencoded"


def read_headers(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by lower-case name. Raises RequestError (400) when one that decides something occurs twice."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in pairs:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1").strip(" \t")
        if name in headers:
            if name in SINGLE_HEADERS or name.startswith(KEY_HEADER_PREFIX):
                raise RequestError(400, f"The header {name} occurs twice.", hint="Send it once.")
            value = f"{headers[name]}, {value}"
        headers[name] = value
    return headers


class HostGuard:
    """Refuses requests that a foreign page made a browser send, whichever way: DNS rebinding, or plain cross-site."""

    def __init__(self, settings: GatewaySettings) -> None:
        public = urlsplit(settings.public_url)
        self._hosts = {*LOOPBACK_NAMES, *settings.allowed_hosts}
        if public.hostname:
            self._hosts.add(_bracketed(public.hostname))
        self._answers_to_addresses = settings.host is not None and not is_loopback_host(settings.host)
        if settings.host is not None:
            self._hosts.add(_bracketed(settings.host.lower()))
        ports = [settings.port] if settings.alias_port is None else [settings.port, settings.alias_port]
        if settings.uds is not None:
            ports = []
        scheme = "http" if settings.tls is None else "https"
        self._origins = {f"{scheme}://{name}:{port}" for name in LOOPBACK_NAMES for port in ports}
        self._origins |= {f"{public.scheme}://{public.netloc}".lower(), *settings.allowed_origins}

    def check(self, headers: dict[str, str], path: str = "") -> None:
        """Raises RequestError: 421 for a foreign Host, 403 for a foreign Origin (2025-11-25, "Security Warning").

        Pages of any origin may call the few paths at which an MCP client finds its login and gets its tokens.
        """
        if not self._is_own_host(headers.get("host", "")):
            raise RequestError(
                421,
                "This gateway does not answer to that host name.",
                hint="Use the address that it printed at start, or add the name to FMCP_ALLOWED_HOSTS.",
            )
        origin = headers.get("origin")
        if origin is not None:
            if origin.lower() not in self._origins and not is_open_to_pages(path):
                raise RequestError(
                    403,
                    "Requests from that origin are refused.",
                    hint="If the page is yours, add its origin to FMCP_ALLOWED_ORIGINS.",
                )
        elif headers.get("sec-fetch-site") in ("cross-site", "same-site") and not _is_navigation(headers):
            if is_open_to_pages(path):
                return
            raise RequestError(403, "Requests from pages of other sites are refused.")

    def _is_own_host(self, host: str) -> bool:
        name = _without_port(host.lower())
        if name in self._hosts:
            return True
        # An address cannot be rebound; a name can.
        return self._answers_to_addresses and _is_address(name)


class HeadGuard:
    """What every request passes first, whichever way it comes: its header fields, its Host and Origin, its length."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._host_guard = HostGuard(settings)
        self._max_body_bytes = settings.max_body_bytes

    def read(self, pairs: Iterable[tuple[bytes, bytes]], path: str) -> dict[str, str]:
        """The headers by lower-case name.

        Raises:
            RequestError: 400, 403, 413 or 421, the request goes no further.
        """
        headers = read_headers(pairs)
        self._host_guard.check(headers, path)
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit():
            raise RequestError(400, "The Content-Length is not a number.")
        if int(length.lstrip("0")[:20] or 0) > self._max_body_bytes:
            raise too_large(self._max_body_bytes)
        return headers


def _is_navigation(headers: dict[str, str]) -> bool:
    """A person followed a link (the callback from the provider is one); the page behind it cannot read the answer."""
    return headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest", "document") == "document"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


class RequestGuard:
    """The guard of the whole gateway, and where in a request its token stands.

    `public_routes` are the methods and paths at which nobody is asked (gateway/public_routes).
    """

    def __init__(
        self, guard: GatewayGuard, *, packages_with_login: Collection[str], public_routes: Collection[tuple[str, str]]
    ) -> None:
        self._guard = guard
        self._packages_with_login = frozenset(packages_with_login)
        self._open = frozenset(public_routes)

    async def admit(self, method: str, path: str, headers: Mapping[str, str]) -> Principal | None:
        """Whom the request's token for the gateway stands for; None at an open endpoint, where nobody is asked.

        `path` is the decoded path as it came: no other spelling of it opens anything.

        Raises:
            UnauthorizedError, ForbiddenError, ProviderUnavailableError: the request goes no further.
        """
        return None if (method, path) in self._open else await self.identify(path, headers)

    async def identify(self, path: str, headers: Mapping[str, str]) -> Principal:
        """Whom the request's token for the gateway stands for, at open endpoints too. Raises as `admit`."""
        token = self._read_token(path, headers)
        if not is_token_text(token) or token.startswith(SEALED_PREFIX):
            # A token that is sealed here is opened at its package, and no provider is ever asked about it.
            raise UnauthorizedError("The access token is not good here", reason="invalid_token")
        return await self._guard.authenticate(token)

    async def admit_operator(self, headers: Mapping[str, str]) -> None:
        """Let only the operator pass.

        Raises:
            UnauthorizedError, ForbiddenError, ProviderUnavailableError: it is somebody else, or nobody.
        """
        principal = await self.identify("/", headers)
        if principal.issuer != OPERATOR_ISSUER:
            raise ForbiddenError("Only the operator of this gateway may see that.")

    def _read_token(self, path: str, headers: Mapping[str, str]) -> str:
        """At a package with a login of its own, `Authorization` is the package's: it is neither read nor sent on."""
        own = headers.get(GATEWAY_TOKEN_HEADER)
        package = path.lstrip("/").partition("/")[0]
        has_login = package in self._packages_with_login
        token = parse_bearer(headers.get("authorization") if own is None and not has_login else own)
        if token is not None:
            return token
        if not has_login:
            raise UnauthorizedError(
                "This gateway needs an access token.", hint="Send it as Authorization: Bearer <token>."
            )
        raise UnauthorizedError(
            "The access token of the gateway is missing.",
            why=f"Authorization carries the token of {package} here.",
            hint="Send the gateway's token as X-FluidMCP-Authorization: Bearer <token>.",
        )


def read_bearer(request: HttpRequest) -> str:
    """The bearer token of the request's Authorization header; tokens in the query or body are never looked at.

    Raises:
        UnauthorizedError: there is none.
    """
    token = parse_bearer(request.headers.get("authorization"))
    if token is None:
        raise UnauthorizedError("This package needs an access token.", hint="Send it as Authorization: Bearer <token>.")
    gateway_token = parse_bearer(request.headers.get(GATEWAY_TOKEN_HEADER))
    if gateway_token is not None and hmac.compare_digest(token.encode(), gateway_token.encode()):
        # Verifying it could mean to show it to the package's provider, whom it does not concern.
        raise UnauthorizedError(
            "The access token of this package is needed in Authorization.",
            reason="invalid_token",
            why="Both headers hold the same token.",
            hint="Send the package's token as Authorization: Bearer <token>.",
        )
    return token


def check_content_type(request: HttpRequest) -> None:
    """Raises RequestError (415) unless the body is JSON.

    `curl -d` without a header says that it sends a form, so that is taken for JSON too, but not from a page: a form
    is what a foreign page can send without asking first (Fetch standard, "CORS-safelisted request-header").
    """
    content_type = request.headers.get("content-type")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise RequestError(415, "Compressed request bodies are not accepted.", hint="Send the JSON as it is.")
    if is_json_content_type(content_type):
        return
    is_bare = content_type is None or content_type.partition(";")[0].strip().lower() == FORM_TYPE
    if is_bare and "origin" not in request.headers and "sec-fetch-site" not in request.headers:
        return
    raise RequestError(415, "The body must be JSON.", hint="Send Content-Type: application/json.")
