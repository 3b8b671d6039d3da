"""The routes of the page: `/`, the part of one package, the end of a login, and the files that they load."""

import time
from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from fluidmcp.authorization_server.page_client import CALLBACK_PATH
from fluidmcp.config.urls import is_loopback_host, split_public_url
from fluidmcp.errors import FluidMCPError
from fluidmcp.gateway.composition import GatewayParts
from fluidmcp.gateway.errors import describe_problem
from fluidmcp.gateway.login.browsing import CANONICAL, is_opened_under_another_name
from fluidmcp.gateway.login.routes import PageRoute
from fluidmcp.gateway.page.access import PageAccess
from fluidmcp.gateway.page.views import PageViews
from fluidmcp.pages.consent import respond
from fluidmcp.pages.files import build_page_files
from fluidmcp.pages.home import render_callback, render_home, render_refusal


def build_page_router(parts: GatewayParts) -> APIRouter:
    """The router. It answers strangers too: what it tells them is decided by PageAccess."""
    access = PageAccess(parts)
    views = PageViews(parts, access)
    files = build_page_files()
    url = parts.settings.public_url
    host, root = urlsplit(url).hostname or "", split_public_url(url)[1]
    router = APIRouter(include_in_schema=False)
    pages = APIRouter(route_class=PageRoute, include_in_schema=False)

    async def show(request: Request, package: str = "") -> Response:
        if is_loopback_host(host) and _is_page_elsewhere(request, host):
            # A login ends under the public name; under another one the page would wait for it in vain.
            return RedirectResponse(f"{url}{_own_path(request)}?{CANONICAL}=1", status_code=302)
        try:
            visitor = await access.admit(request.headers)
        except FluidMCPError as error:
            title, status = error.what.rstrip("."), describe_problem(error).status
            return respond(render_refusal(root=root, title=title, text=error.why, hint=error.hint, status=status))
        view = await views.build(visitor, request.cookies, now=time.monotonic(), only=package)
        is_missing = bool(package) and not view.packages and not view.is_stranger
        return respond(render_home(view, status=404 if is_missing else 200))

    async def show_all(request: Request) -> Response:
        return await show(request)

    async def show_package(request: Request, package: str) -> Response:
        return await show(request, package)

    async def end_login() -> Response:
        return respond(render_callback(root=root))

    async def send_file(request: Request, file: str) -> Response:
        static = files.get(file)
        if static is None:
            return JSONResponse({"error": "not_found", "message": "There is no such file"}, status_code=404)
        tag = f'"{static.digest}"'
        headers = {"ETag": tag, "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(static.content, media_type=static.media_type, headers=headers)

    pages.add_api_route("/", show_all, methods=["GET"])
    pages.add_api_route("/{package}/mcp", show_package, methods=["GET"])
    pages.add_api_route(CALLBACK_PATH, end_login, methods=["GET"])
    router.include_router(pages)
    router.add_api_route("/-/assets/{file}", send_file, methods=["GET"])
    return router


def _is_page_elsewhere(request: Request, host: str) -> bool:
    """Whether a browser that goes to the page uses another name than the gateway's own; scripts are left alone."""
    is_navigation = request.headers.get("sec-fetch-mode") == "navigate"
    return is_navigation and is_opened_under_another_name(request, host)


def _own_path(request: Request) -> str:
    root = str(request.scope.get("root_path", ""))
    return request.url.path.removeprefix(root)
