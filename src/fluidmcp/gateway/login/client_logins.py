"""The logins that MCP clients find by themselves, for all packages of a gateway: who has one, and where."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from fluidmcp.authorization_server.authorization_server import AuthorizationServer, ClientPolicy
from fluidmcp.authorization_server.metadata import ENDPOINTS, protected_resource, resource_url
from fluidmcp.authorization_server.page_client import PAGE
from fluidmcp.authorization_server.token_requests import Upstreams
from fluidmcp.gateway.login.wellknown import list_document_paths
from fluidmcp.gateway.public_routes import list_public_routes
from fluidmcp.guards.gateway_login import ForeignIssuer, GatewayLogin
from fluidmcp.guards.package_guard import PackageGuard
from fluidmcp.oauth_client.services import LoginServices
from fluidmcp.pages.names import PAGE_FILES

NO_SCOPES: Final = ()


class ClientLogins:
    """A package has an authorization server where it has an `auth` block, or where the gateway has a login.

    `authorization_servers` holds them by package. Where the gateway's own issuer registers MCP clients, packages
    without `auth` have a document that names that issuer instead (FMCP_OAUTH_REGISTERS_CLIENTS): `foreign` has those,
    by package and endpoint. `page` is where people log in to the gateway itself, for its own page and nothing else.
    """

    def __init__(
        self,
        auths: Mapping[str, PackageGuard | None],
        *,
        gateway_login: GatewayLogin | None,
        foreign_issuer: ForeignIssuer | None,
        services: LoginServices,
        clients: ClientPolicy,
    ) -> None:
        self.gateway_login = gateway_login
        self._foreign_scopes = () if foreign_issuer is None else foreign_issuer.scopes
        self.authorization_servers: dict[str, AuthorizationServer] = {}
        self.foreign: dict[str, Mapping[str, dict[str, object]]] = {}
        for name, auth in auths.items():
            logins = {} if auth is None else auth.logins_in_browser
            if logins or gateway_login is not None:
                upstreams = Upstreams(gateway=gateway_login, package=logins)
                self.authorization_servers[name] = AuthorizationServer(
                    name, upstreams, NO_SCOPES if auth is None else auth.scopes, services, clients
                )
            elif foreign_issuer is not None:
                self.foreign[name] = {
                    endpoint: protected_resource(
                        resource_url(services.public_url, name, endpoint),
                        authorization_server=foreign_issuer.issuer,
                        scopes=foreign_issuer.scopes,
                        name=name,
                    )
                    for endpoint in ENDPOINTS
                }

        self.page: AuthorizationServer | None = None
        if gateway_login is not None:
            upstreams = Upstreams(gateway=gateway_login, package={})
            own = ClientPolicy(documents=None, rules=replace(clients.rules, clients=(), dynamic_registration=False))
            self.page = AuthorizationServer(PAGE, upstreams, NO_SCOPES, services, own)

    def has_document(self, package: str) -> bool:
        """Whether a document says how MCP clients log in to this package."""
        return package in self.authorization_servers or package in self.foreign

    def scopes_of(self, package: str) -> tuple[str, ...]:
        """The scopes that a client should ask for."""
        if package in self.foreign:
            return self._foreign_scopes
        authorization_server = self.authorization_servers.get(package)
        # `offline_access` is between client and authorization server, no scope of the resource.
        return (
            ()
            if authorization_server is None
            else tuple(scope for scope in authorization_server.scopes if scope != "offline_access")
        )

    def list_public_routes(self, guards: Mapping[str, PackageGuard]) -> list[tuple[str, str]]:
        """What a guarded gateway leaves open, for these logins and those of the packages."""
        return list(
            list_public_routes(
                logins={name: tuple(guard.logins) for name, guard in guards.items()},
                keys=[name for name, guard in guards.items() if guard.keys is not None and guard.keys.has_page],
                authorization_servers=self.authorization_servers,
                has_gateway_login=self.gateway_login is not None,
                documents=list_document_paths(self.authorization_servers, self.foreign),
                page_files=PAGE_FILES,
            )
        )
