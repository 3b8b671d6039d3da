"""The bundled authorization server and mail API of `fluidmcp demo`: DEVELOPMENT ONLY.

Anybody who can open its pages may sign in as either of two made-up people without a password. It therefore listens on
127.0.0.1 alone, answers only loopback peers that call it by a loopback name, knows a single client with one redirect
address, makes its keys anew at every start and forgets everything at its end. Never put it in front of real data.
"""

import time
from collections.abc import Callable
from importlib.resources import files
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fluidmcp.demo.grants import GrantBook, OAuthError
from fluidmcp.demo.mail_api import MailApi
from fluidmcp.demo.registration import Registration
from fluidmcp.demo.sign_in import PageError, SignIn
from fluidmcp.demo.token_endpoints import TokenEndpoints

MAX_BODY_BYTES: Final = 16 * 1024

_STATIC: Final = {"style.css": "text/css; charset=utf-8", "icon.svg": "image/svg+xml"}


def create_provider(registration: Registration, *, now: Callable[[], float] = time.time) -> ASGIApp:
    """The provider as one ASGI application; `now` gives seconds since the epoch."""
    grants = GrantBook(now=now)
    sign_in = SignIn(registration, grants, now=now)
    tokens = TokenEndpoints(registration, grants)

    async def show_problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, PageError)
        return sign_in.show_problem(error)

    async def show_http_problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        page = PageError("There is no such page", "Nothing is answered at this address.", status=error.status_code)
        if error.status_code != 404:
            page.title, page.text = "This request cannot be answered", error.detail
        return sign_in.show_problem(page)

    return Starlette(
        routes=[
            *sign_in.routes(),
            *tokens.routes(),
            *MailApi(grants).routes(),
            Route("/static/{name}", _serve_static, methods=["GET"]),
        ],
        middleware=[
            Middleware(LoopbackOnly, registration=registration),
            Middleware(RequestBodyLimitMiddleware, max_body_size=MAX_BODY_BYTES),
        ],
        exception_handlers={
            PageError: show_problem,
            OAuthError: _answer_oauth_error,
            HTTPException: show_http_problem,
        },
    )


class LoopbackOnly:
    """Refuses other peers and other names (DNS rebinding), and puts the security headers on every answer."""

    def __init__(self, app: ASGIApp, registration: Registration) -> None:
        self._app = app
        self._hosts = registration.hosts
        redirect = urlsplit(registration.redirect_uri)
        # Browsers apply form-action to the redirect that follows a form, so the client's origin has to be in it.
        self._headers = {
            "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; "
            f"form-action 'self' {redirect.scheme}://{redirect.netloc}; frame-ancestors 'none'",
            "Cache-Control": "no-store",
            "Pragma": "no-cache",
            # Not no-referrer: with it, browsers send `Origin: null` with our own forms.
            "Referrer-Policy": "same-origin",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers[name] = value
            await send(message)

        app = self._app if self._is_welcome(scope) else PlainTextResponse("Misdirected request\n", status_code=421)
        await app(scope, receive, send_with_headers)

    def _is_welcome(self, scope: Scope) -> bool:
        client: tuple[str, int] | None = scope.get("client")
        names = Headers(scope=scope).getlist("host")
        return (
            client is not None
            and ip_address(client[0]).is_loopback
            and len(names) == 1
            and names[0].lower() in self._hosts
        )


async def _answer_oauth_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, OAuthError)
    headers = {"WWW-Authenticate": 'Basic realm="development provider"'} if error.status == 401 else None
    body = {"error": error.code, "error_description": error.description}
    return JSONResponse(body, status_code=error.status, headers=headers)


async def _serve_static(request: Request) -> Response:
    name = str(request.path_params["name"])
    if name not in _STATIC:
        raise HTTPException(404)
    return Response(files("fluidmcp.demo").joinpath("static", name).read_bytes(), media_type=_STATIC[name])
