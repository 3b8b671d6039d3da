"""The logins that MCP clients find by themselves, for all packages of a gateway: who has one, and its doors."""

from collections.abc import Mapping, Sequence
from typing import Final

from fastapi import APIRouter

from fluidmcp.auth.facade import Facade, FacadeParts
from fluidmcp.auth.gateway_login import ForeignIssuer, GatewayLogin
from fluidmcp.auth.package import PackageAuth
from fluidmcp.auth.server.metadata import DOORS, protected_resource, resource_url
from fluidmcp.auth.server.token import Upstreams
from fluidmcp.gateway.authorization import AuthorizationDoors
from fluidmcp.gateway.authorization_routes import build_authorization_router
from fluidmcp.gateway.open_doors import list_open_doors
from fluidmcp.gateway.wellknown import build_wellknown_router, list_document_paths

NO_SCOPES: Final = ()


class ClientLogins:
    """A package has a login for MCP clients (a facade) where it has an `auth` block, or the gateway has a login.

    `facades` holds them by package. Where the gateway's own issuer registers MCP clients, packages without `auth` have
    a document that names that issuer instead (FMCP_OAUTH_REGISTERS_CLIENTS).
    """

    def __init__(
        self,
        auths: Mapping[str, PackageAuth | None],
        *,
        gateway_login: GatewayLogin | None,
        foreign_issuer: ForeignIssuer | None,
        parts: FacadeParts,
    ) -> None:
        self._auths = auths
        self._gateway_login = gateway_login
        self._public_url = parts.public_url
        self._foreign_scopes = () if foreign_issuer is None else foreign_issuer.scopes
        self.facades: dict[str, Facade] = {}
        self._foreign: dict[str, Mapping[str, dict[str, object]]] = {}
        for name, auth in auths.items():
            if auth is not None or gateway_login is not None:
                upstreams = Upstreams(gateway=gateway_login, package=auth)
                self.facades[name] = Facade(name, upstreams, NO_SCOPES if auth is None else auth.scopes, parts)
            elif foreign_issuer is not None:
                self._foreign[name] = {
                    door: protected_resource(
                        resource_url(parts.public_url, name, door),
                        authorization_server=foreign_issuer.issuer,
                        scopes=foreign_issuer.scopes,
                        name=name,
                    )
                    for door in DOORS
                }

    def has_document(self, package: str) -> bool:
        """Whether a document says how MCP clients log in to this package."""
        return package in self.facades or package in self._foreign

    def scopes_of(self, package: str) -> tuple[str, ...]:
        """The scopes that a client should ask for."""
        if package in self._foreign:
            return self._foreign_scopes
        facade = self.facades.get(package)
        # `offline_access` is between client and authorization server, no scope of the resource.
        return () if facade is None else tuple(scope for scope in facade.scopes if scope != "offline_access")

    def list_open_doors(self, packages_with_login: Sequence[str]) -> list[tuple[str, str]]:
        """What a guarded gateway leaves open, for these logins and those of the packages."""
        return list(
            list_open_doors(
                logins=packages_with_login,
                facades=self.facades,
                has_gateway_login=self._gateway_login is not None,
                documents=list_document_paths(self.facades, self._foreign),
            )
        )

    def build_doors(self) -> AuthorizationDoors:
        return AuthorizationDoors(
            self.facades,
            public_url=self._public_url,
            gateway_login=self._gateway_login,
            scope_texts={name: auth.scope_descriptions for name, auth in self._auths.items() if auth is not None},
        )

    def build_routers(self, doors: AuthorizationDoors) -> Sequence[APIRouter]:
        return (
            build_wellknown_router(self.facades, public_url=self._public_url, foreign=self._foreign),
            build_authorization_router(
                doors, has_root=len(self.facades) == 1, has_gateway_login=self._gateway_login is not None
            ),
        )
