"""Who looks at the page, and how much of it they see.

A guarded gateway shows a login to strangers and nothing else. One that nothing guards shows everything to this machine,
whose operator it serves; off this machine the names of packages only where nobody has to log in to anything, which is
what its answers say there too (`Core.names_packages`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from fluidmcp.authentication.principal import Principal
from fluidmcp.authorization_server.authorization_server import AuthorizationServer
from fluidmcp.config.settings import is_exposed
from fluidmcp.crypto.sealing import PREFIX as SEALED_PREFIX
from fluidmcp.errors import UnauthorizedError
from fluidmcp.gateway.composition import GatewayParts
from fluidmcp.gateway.guard import GATEWAY_TOKEN_HEADER
from fluidmcp.guards.gateway_auth import OPERATOR_ISSUER
from fluidmcp.protocol.headers import parse_bearer


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """Somebody who looks at the page. `principal` is None for somebody whom nobody knows."""

    principal: Principal | None = None
    is_stranger: bool = False
    """Nobody known, at a guarded gateway."""
    sees_names: bool = False
    """Whether the packages are listed."""
    is_operator: bool = False
    sees_people: bool = False
    """Whether they showed the operator's credential, and may see whose processes there are, and what these wrote."""


STRANGER = Visitor(is_stranger=True)


class PageAccess:
    """Tells who a visitor is."""

    def __init__(self, parts: GatewayParts) -> None:
        self._guard = parts.logins.request_guard
        self._deny_list = parts.logins.services.deny_list
        self._page_login: AuthorizationServer | None = parts.logins.clients.page
        is_here = not is_exposed(parts.settings)
        self._anybody = Visitor(sees_names=is_here or parts.core.names_packages, is_operator=is_here)

    @property
    def is_guarded(self) -> bool:
        return self._guard is not None

    async def admit(self, headers: Mapping[str, str]) -> Visitor:
        """The visitor, by the headers of a request. One without a token is a stranger, or anybody.

        Raises:
            UnauthorizedError, ForbiddenError, ProviderUnavailableError, StoreUnavailableError: there is a token, and it
                lets nobody in.
        """
        if self._guard is None:
            return self._anybody
        own = headers.get(GATEWAY_TOKEN_HEADER)
        token = parse_bearer(headers.get("authorization") if own is None else own)
        if token is None:
            return STRANGER
        if token.startswith(SEALED_PREFIX):
            principal, begun_at = await self._open(token)
        else:
            principal, begun_at = await self._guard.identify("/", headers), None
        await self._deny_list.check(None, principal.people, begun_at=begun_at)
        is_operator = principal.issuer == OPERATOR_ISSUER
        return Visitor(principal=principal, sees_names=True, is_operator=is_operator, sees_people=is_operator)

    async def _open(self, token: str) -> tuple[Principal, float]:
        """Whom a token of the page's own login stands for, and when that login began."""
        login = self._page_login
        opened = None if login is None else await login.open(token)
        principal = None if login is None or opened is None else await login.admit_to_gateway(opened)
        if opened is None or principal is None:
            raise UnauthorizedError(
                "The access token is not good here",
                reason="invalid_token",
                why="It is over, was revoked, or was made for something else.",
                hint="Log in again.",
            )
        return principal, opened.begun_at
