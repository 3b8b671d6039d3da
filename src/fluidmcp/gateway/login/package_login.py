"""The login endpoints of the packages: begin, callback, refresh.

Addresses are built from the configured public URL, never from the request. Nothing that a request says is repeated in
an answer. Whoever does not navigate (images, frames, prefetch, HEAD) neither begins nor ends a login.
"""

import math
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import urlsplit

import msgspec
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi.routing import APIRoute

from fluidmcp.authorization_server.grant import UpstreamName
from fluidmcp.errors import (
    FluidMCPError,
    ForbiddenError,
    LoginError,
    OAuthError,
    ProviderAnswerError,
    ProviderUnavailableError,
    RequestError,
    StoreUnavailableError,
)
from fluidmcp.gateway.login.browsing import (
    CANONICAL,
    PROTECTIVE_HEADERS,
    client_address,
    is_opened_under_another_name,
    require_navigation,
)
from fluidmcp.gateway.login.token_data import token_data_response
from fluidmcp.gateway.openapi import login as openapi
from fluidmcp.guards.package_auth import PackageAuth
from fluidmcp.guards.package_guard import PackageGuard
from fluidmcp.oauth_client.waiting_logins import TakenLogin

MAX_REFRESH_BODY_BYTES = 16 * 1024
_Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class ClientLogins(Protocol):
    """Who goes on with a login that an MCP client began. AuthorizationEndpoint is one."""

    async def go_on(
        self, name: UpstreamName, taken: TakenLogin, query: Sequence[tuple[str, str]], request: Request
    ) -> Response:
        """After a login: on to the next one, back to the client, or the tokens for the person. Raises FluidMCPError."""
        ...

    async def begin_for_browser(self, package: str, request: Request) -> Response:
        """On to the first login of a person who wants the tokens. Raises LoginError."""
        ...

    async def refresh_for_browser(self, package: str, refresh_token: str, request: Request) -> Response:
        """The answer to a refresh of such tokens. Raises OAuthError."""
        ...


def build_login_router(
    packages: Mapping[str, PackageGuard | None],
    *,
    public_url: str,
    is_anything_guarded: bool,
    client_logins: ClientLogins,
) -> APIRouter:
    """The routes of all packages; None stands for a package without auth block.

    `is_anything_guarded`: callers must not learn which packages exist.
    """
    router = APIRouter(route_class=_LoginRoute, tags=["login"])
    endpoints = _LoginEndpoints(
        packages, public_url=public_url, is_anything_guarded=is_anything_guarded, client_logins=client_logins
    )
    router.add_api_route("/{package}/auth/login", endpoints.begin, methods=["GET"], **openapi.LOGIN)
    router.add_api_route("/{package}/auth/callback", endpoints.finish, methods=["GET"], **openapi.CALLBACK)
    router.add_api_route("/{package}/auth/callback/{login}", endpoints.finish, methods=["GET"], **openapi.CALLBACK_OF)
    router.add_api_route("/{package}/auth/refresh", endpoints.refresh, methods=["POST"], **openapi.REFRESH)
    others = ["HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]
    for endpoint, allowed in (("login", "GET"), ("callback", "GET"), ("refresh", "POST")):
        methods = [*others, "POST" if allowed == "GET" else "GET"]
        refuse = _refuse_method(allowed)
        router.add_api_route(f"/{{package}}/auth/{endpoint}", refuse, methods=methods, include_in_schema=False)
    return router


def login_error_answer(error: FluidMCPError) -> Response:
    """The JSON answer of a failed login, callback or refresh: `error`, and `message` and `hint` where there are any."""
    body = {"error": error.what}
    if error.why:
        body["message"] = error.why
    if error.hint:
        body["hint"] = error.hint
    headers = dict(PROTECTIVE_HEADERS)
    status = 500
    match error:
        case RequestError(status=status):
            pass
        case (
            LoginError(status=status, retry_after_seconds=retry_after)
            | OAuthError(status=status, retry_after_seconds=retry_after)
        ):
            if retry_after is not None:
                headers["Retry-After"] = str(math.ceil(retry_after))
        case ForbiddenError():
            status = 403
        case ProviderAnswerError():
            status = 400 if error.provider_error == "invalid_grant" else 502
        case ProviderUnavailableError():
            status = 503
        case StoreUnavailableError(retry_after_seconds=retry_after):
            status = 503
            headers["Retry-After"] = str(math.ceil(retry_after))
        case _:
            body = {"error": "The request failed"}
    return JSONResponse(body, status_code=status, headers=headers)


class _RefreshBody(msgspec.Struct, frozen=True):
    refresh_token: str

    def __repr__(self) -> str:
        return "_RefreshBody()"


class _LoginRoute(APIRoute):
    """Puts the protective headers on every answer and turns our own errors into answers."""

    def get_route_handler(self) -> _Handler:
        handle = super().get_route_handler()

        async def handle_protected(request: Request) -> Response:
            try:
                response = await handle(request)
            except FluidMCPError as error:
                response = login_error_answer(error)
            for name, value in PROTECTIVE_HEADERS.items():
                response.headers.setdefault(name, value)
            return response

        return handle_protected


class _LoginEndpoints:
    def __init__(
        self,
        packages: Mapping[str, PackageGuard | None],
        *,
        public_url: str,
        is_anything_guarded: bool,
        client_logins: ClientLogins,
    ) -> None:
        self._packages = packages
        self._client_logins = client_logins
        self._is_anything_guarded = is_anything_guarded
        self._public_host = urlsplit(public_url).hostname or ""
        self._is_secure = public_url.startswith("https:")

    async def begin(self, request: Request, package: str) -> Response:
        guard = self._find(package)
        _require_tokens_in_browser(guard)
        if not guard.logins_in_browser:
            raise LoginError(
                "This package has no login page",
                status=404,
                why="Its keys come in headers of each request.",
                hint="" if guard.keys is None else f"Send {', '.join(key.header for key in guard.keys.keys)}.",
            )
        guard.require_variables()
        if _asks_for_json(request):
            # No login begins for a script: the browser that opens the address gets the login, and its cookie.
            return JSONResponse(
                {
                    "package": guard.package,
                    "login_url": guard.login_url,
                    "message": "Open login_url in a browser to log in.",
                }
            )
        require_navigation(request)
        if is_opened_under_another_name(request, self._public_host):
            return RedirectResponse(f"{guard.login_url}?{CANONICAL}=1", status_code=302)
        if guard.only is None:
            return await self._client_logins.begin_for_browser(package, request)
        auth = guard.only
        start = await auth.begin_login(client_address=client_address(request))
        response = RedirectResponse(start.location, status_code=302)
        self._set_cookie(response, auth, start.cookie_name, start.cookie_value, start.max_age_seconds)
        return response

    async def finish(self, request: Request, package: str, login: str = "") -> Response:
        auth = self._find(package).find_provider(login)
        if auth is None:
            raise LoginError("This package has no such login", status=404)
        require_navigation(request)
        query = request.query_params.multi_items()
        try:
            taken = await auth.take_login(query, request.cookies)
            if taken.kind == "client":
                response = await self._client_logins.go_on(login, taken, query, request)
            else:
                response = token_data_response(package, await auth.redeem(taken, query))
        except StoreUnavailableError as error:
            # The login still waits: with its cookie, the same address finishes it a moment later.
            return login_error_answer(error)
        except FluidMCPError as error:
            response = login_error_answer(error)
        name = auth.login_cookie_name(request.query_params.get("state", ""))
        if name in request.cookies:
            self._set_cookie(response, auth, name, "", 0)
        return response

    async def refresh(self, request: Request, package: str) -> Response:
        guard = self._find(package)
        _require_tokens_in_browser(guard)
        if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            raise RequestError(403, "Refreshing from another site is refused")
        if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
            raise RequestError(
                415, "The body must be JSON", hint='Send {"refresh_token": "..."} with Content-Type: application/json.'
            )
        refresh_token = _read_refresh_token(await _read_body(request))
        if guard.only is None:
            return await self._client_logins.refresh_for_browser(package, refresh_token, request)
        answer = await guard.only.refresh(refresh_token, client_address=client_address(request))
        return token_data_response(package, answer)

    def _find(self, package: str) -> PackageGuard:
        if package not in self._packages:
            names = ", ".join(sorted(self._packages))
            hint = "" if self._is_anything_guarded or not names else f"Packages here: {names}."
            raise LoginError("Unknown package", status=404, hint=hint)
        auth = self._packages[package]
        if auth is None:
            raise LoginError("Package does not require OAuth authentication", status=404)
        return auth

    def _set_cookie(self, response: Response, auth: PackageAuth, name: str, value: str, max_age: int) -> None:
        response.set_cookie(
            name,
            value,
            max_age=max_age,
            path=auth.cookie_path,
            secure=self._is_secure,
            httponly=True,
            samesite="lax",
        )


def _require_tokens_in_browser(guard: PackageGuard) -> None:
    """Raises LoginError 403 where nobody gets tokens but MCP clients."""
    if not guard.hands_out_tokens:
        raise LoginError(
            "Logins that hand out tokens in the browser are turned off",
            status=403,
            why="The auth block of the package says accept_provider_tokens: false.",
            hint=f"MCP clients log in by themselves at {guard.resource_url}.",
        )


def _asks_for_json(request: Request) -> bool:
    """Whether `Accept` names JSON and not HTML; `*/*` alone, as curl sends it, does not."""
    accepted = {part.split(";")[0].strip().lower() for part in request.headers.get("accept", "").split(",")}
    return "application/json" in accepted and "text/html" not in accepted


async def _read_body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_REFRESH_BODY_BYTES:
            raise RequestError(413, "The body is too large", why=f"It has more than {MAX_REFRESH_BODY_BYTES} bytes.")
    return bytes(body)


def _read_refresh_token(body: bytes) -> str:
    try:
        refresh_token = msgspec.json.decode(body, type=_RefreshBody).refresh_token
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise LoginError("refresh_token not found", hint='Send {"refresh_token": "..."}.') from error
    return refresh_token


def _refuse_method(allowed: str) -> Callable[[], Coroutine[Any, Any, Response]]:
    async def refuse() -> Response:
        return JSONResponse({"error": "Method not allowed"}, status_code=405, headers={"Allow": allowed})

    return refuse
