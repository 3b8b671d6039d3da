"""The routes of the authorization servers, with what all their answers have in common."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from fluidmcp.errors import FluidMCPError
from fluidmcp.gateway.login.authorization_endpoint import AuthorizationEndpoint, oauth_error_response
from fluidmcp.gateway.login.browsing import PROTECTIVE_HEADERS
from fluidmcp.gateway.login.routes import PageRoute
from fluidmcp.gateway.login.wellknown import CORS_HEADERS
from fluidmcp.gateway.login.wellknown_routes import answer_preflight
from fluidmcp.gateway.openapi import authorization as openapi

_Handler = Callable[[Request], Coroutine[Any, Any, Response]]


def build_authorization_router(
    endpoints: AuthorizationEndpoint, *, has_root: bool, has_gateway_login: bool
) -> APIRouter:
    """`has_root`: one package has a login, which older clients expect at the root."""
    router = APIRouter()
    pages = APIRouter(route_class=PageRoute, tags=["login for MCP clients"])
    calls = APIRouter(route_class=_CallRoute, tags=["login for MCP clients"])
    remembered = "/{package}/consent/remembered"
    pages.add_api_route("/{package}/authorize", endpoints.authorize, methods=["GET"], **openapi.AUTHORIZE)
    pages.add_api_route("/{package}/consent", endpoints.consent, methods=["POST"], **openapi.CONSENT)
    pages.add_api_route(remembered, endpoints.show_remembered, methods=["GET"], **openapi.REMEMBERED)
    pages.add_api_route(remembered, endpoints.forget, methods=["POST"], **openapi.FORGET)
    if has_gateway_login:
        pages.add_api_route(
            "/auth/callback", endpoints.finish_gateway_login, methods=["GET"], **openapi.GATEWAY_CALLBACK
        )
    calls.add_api_route("/{package}/token", endpoints.token, methods=["POST"], **openapi.TOKEN)
    calls.add_api_route("/{package}/register", endpoints.register, methods=["POST"], **openapi.REGISTER)
    calls.add_api_route("/{package}/revoke", endpoints.revoke, methods=["POST"], **openapi.REVOKE)
    for name in ("token", "register", "revoke"):
        calls.add_api_route(f"/{{package}}/{name}", answer_preflight, methods=["OPTIONS"], include_in_schema=False)
        calls.add_api_route(f"/{{package}}/{name}", _refuse_method, methods=["GET"], include_in_schema=False)
    if has_root:
        pages.add_api_route("/authorize", endpoints.authorize_root, methods=["GET"], include_in_schema=False)
        calls.add_api_route("/token", endpoints.token_root, methods=["POST"], include_in_schema=False)
        calls.add_api_route("/register", endpoints.register_root, methods=["POST"], include_in_schema=False)
        for name in ("token", "register"):
            calls.add_api_route(f"/{name}", answer_preflight, methods=["OPTIONS"], include_in_schema=False)
    # The root first: it must not be taken for a package.
    router.include_router(pages)
    router.include_router(calls)
    return router


async def _refuse_method() -> Response:
    body = {"error": "invalid_request", "error_description": "Send a POST."}
    return JSONResponse(body, status_code=405, headers={"Allow": "POST, OPTIONS", **CORS_HEADERS})


class _CallRoute(APIRoute):
    """Failures are JSON as RFC 6749 section 5.2 has it; pages of any origin may call."""

    def get_route_handler(self) -> _Handler:
        handle = super().get_route_handler()

        async def handle_call(request: Request) -> Response:
            try:
                response = await handle(request)
            except FluidMCPError as error:
                response = oauth_error_response(error)
            for name, value in (*PROTECTIVE_HEADERS.items(), *CORS_HEADERS.items()):
                response.headers[name] = value
            # A page of another origin may read what it asked for.
            response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
            return response

        return handle_call
