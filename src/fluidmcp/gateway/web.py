"""What FastAPI serves of a gateway: everything but the MCP endpoints. Imported when somebody asks for it."""

from collections.abc import Mapping

from fastapi import FastAPI

from fluidmcp import __version__
from fluidmcp.gateway.composition import GatewayParts
from fluidmcp.gateway.login.authorization_endpoint import AuthorizationEndpoint
from fluidmcp.gateway.login.authorization_routes import build_authorization_router
from fluidmcp.gateway.login.keys_endpoint import build_keys_router
from fluidmcp.gateway.login.package_login import build_login_router
from fluidmcp.gateway.login.wellknown_routes import build_wellknown_router
from fluidmcp.gateway.operations.deny_list import AdmitOperator, build_deny_router
from fluidmcp.gateway.operations.readiness import Readiness
from fluidmcp.gateway.operations.routes import Detail, add_error_answers, add_operations
from fluidmcp.gateway.page.routes import build_page_router
from fluidmcp.pages.docs import mount_docs


def build_web(parts: GatewayParts, describe_health: Detail, admit_operator: AdmitOperator) -> FastAPI:
    """The application. `describe_health` as `add_operations` has it, `admit_operator` as `build_deny_router`."""
    web = FastAPI(
        title="FluidMCP",
        version=__version__,
        summary="MCP servers behind one HTTP gateway, with a login per package.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    add_error_answers(web)
    add_operations(web, describe_health, parts.state, Readiness(parts).describe)
    web.include_router(build_deny_router(parts.logins.services.deny_list, admit_operator))
    mount_docs(web)
    web.include_router(build_page_router(parts))
    _add_logins(web, parts)
    return web


def _add_logins(web: FastAPI, parts: GatewayParts) -> None:
    auths, clients, public_url = parts.logins.auths, parts.logins.clients, parts.settings.public_url
    scope_texts: Mapping[str, Mapping[str, str]] = {
        name: auth.scope_descriptions for name, auth in auths.items() if auth is not None
    }
    endpoints = AuthorizationEndpoint(
        clients.authorization_servers,
        public_url=public_url,
        gateway_login=clients.gateway_login,
        scope_texts=scope_texts,
        page=clients.page,
    )
    web.include_router(
        build_wellknown_router(clients.authorization_servers, public_url=public_url, foreign=clients.foreign)
    )
    # Before the packages' own routes: "/auth/callback" is no package.
    web.include_router(
        build_authorization_router(
            endpoints,
            has_root=len(clients.authorization_servers) == 1,
            has_gateway_login=clients.gateway_login is not None,
        )
    )
    if any(auth is not None and auth.keys is not None for auth in auths.values()):
        web.include_router(build_keys_router(auths, public_url=public_url, client_logins=endpoints))
    web.include_router(
        build_login_router(
            auths,
            public_url=public_url,
            is_anything_guarded=parts.logins.request_guard is not None or any(auths.values()),
            client_logins=endpoints,
        )
    )
