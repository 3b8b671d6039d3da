"""The logins that MCP clients find by themselves, for all packages of a gateway: who has one, and where."""

from collections.abc import Mapping, Sequence
from typing import Final

from fastapi import APIRouter

from fluidmcp.authorization_server.authorization_server import AuthorizationServer, ClientPolicy
from fluidmcp.authorization_server.metadata import ENDPOINTS, protected_resource, resource_url
from fluidmcp.authorization_server.token_requests import Upstreams
from fluidmcp.gateway.login.authorization_endpoint import AuthorizationEndpoint
from fluidmcp.gateway.login.authorization_routes import build_authorization_router
from fluidmcp.gateway.login.wellknown import build_wellknown_router, list_document_paths
from fluidmcp.gateway.public_routes import list_public_routes
from fluidmcp.guards.gateway_login import ForeignIssuer, GatewayLogin
from fluidmcp.guards.package_auth import PackageAuth
from fluidmcp.oauth_client.services import LoginServices

NO_SCOPES: Final = ()


class ClientLogins:
    """A package has an authorization server where it has an `auth` block, or where the gateway has a login.

    `authorization_servers` holds them by package. Where the gateway's own issuer registers MCP clients, packages
    without `auth` have a document that names that issuer instead (FMCP_OAUTH_REGISTERS_CLIENTS).
    """

    def __init__(
        self,
        auths: Mapping[str, PackageAuth | None],
        *,
        gateway_login: GatewayLogin | None,
        foreign_issuer: ForeignIssuer | None,
        services: LoginServices,
        clients: ClientPolicy,
    ) -> None:
        self._auths = auths
        self._gateway_login = gateway_login
        self._public_url = services.public_url
        self._foreign_scopes = () if foreign_issuer is None else foreign_issuer.scopes
        self.authorization_servers: dict[str, AuthorizationServer] = {}
        self._foreign: dict[str, Mapping[str, dict[str, object]]] = {}
        for name, auth in auths.items():
            if auth is not None or gateway_login is not None:
                upstreams = Upstreams(gateway=gateway_login, package=auth)
                self.authorization_servers[name] = AuthorizationServer(
                    name, upstreams, NO_SCOPES if auth is None else auth.scopes, services, clients
                )
            elif foreign_issuer is not None:
                self._foreign[name] = {
                    endpoint: protected_resource(
                        resource_url(services.public_url, name, endpoint),
                        authorization_server=foreign_issuer.issuer,
                        scopes=foreign_issuer.scopes,
                        name=name,
                    )
                    for endpoint in ENDPOINTS
                }

    def has_document(self, package: str) -> bool:
        """Whether a document says how MCP clients log in to this package."""
        return package in self.authorization_servers or package in self._foreign

    def scopes_of(self, package: str) -> tuple[str, ...]:
        """The scopes that a client should ask for."""
        if package in self._foreign:
            return self._foreign_scopes
        authorization_server = self.authorization_servers.get(package)
        # `offline_access` is between client and authorization server, no scope of the resource.
        return (
            ()
            if authorization_server is None
            else tuple(scope for scope in authorization_server.scopes if scope != "offline_access")
        )

    def list_public_routes(self, packages_with_login: Sequence[str]) -> list[tuple[str, str]]:
        """What a guarded gateway leaves open, for these logins and those of the packages."""
        return list(
            list_public_routes(
                logins=packages_with_login,
                authorization_servers=self.authorization_servers,
                has_gateway_login=self._gateway_login is not None,
                documents=list_document_paths(self.authorization_servers, self._foreign),
            )
        )

    def build_endpoints(self) -> AuthorizationEndpoint:
        return AuthorizationEndpoint(
            self.authorization_servers,
            public_url=self._public_url,
            gateway_login=self._gateway_login,
            scope_texts={name: auth.scope_descriptions for name, auth in self._auths.items() if auth is not None},
        )

    def build_routers(self, endpoints: AuthorizationEndpoint) -> Sequence[APIRouter]:
        return (
            build_wellknown_router(self.authorization_servers, public_url=self._public_url, foreign=self._foreign),
            build_authorization_router(
                endpoints,
                has_root=len(self.authorization_servers) == 1,
                has_gateway_login=self._gateway_login is not None,
            ),
        )
