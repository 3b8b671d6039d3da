"""The endpoints of the authorization servers: authorize, consent, token, register, revoke; and the gateway's callback.

What a person sees is a page; what a client asks is JSON. A request whose client or redirect URI is not good is told to
the person and sent nowhere.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from fastapi import Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from fluidmcp.authorization_server.authorization_server import AuthorizationServer, LoginStep, read_journey
from fluidmcp.authorization_server.authorize import AuthorizationRequest, ReturnError
from fluidmcp.authorization_server.consent import REMEMBER_SECONDS
from fluidmcp.authorization_server.grant import UpstreamName
from fluidmcp.authorization_server.page_client import PAGE
from fluidmcp.authorization_server.sealed_tokens import IssuedTokens
from fluidmcp.errors import FluidMCPError, LoginError, OAuthError, RequestError, StoreUnavailableError
from fluidmcp.gateway.login.browsing import (
    CANONICAL,
    PROTECTIVE_HEADERS,
    client_address,
    is_opened_under_another_name,
    require_navigation,
)
from fluidmcp.gateway.login.token_data import token_data_response
from fluidmcp.gateway.login.wellknown import CORS_HEADERS
from fluidmcp.guards.gateway_login import GatewayLogin
from fluidmcp.oauth_client.waiting_logins import TakenLogin
from fluidmcp.pages.consent import (
    consent_response,
    onward_response,
    problem_response,
    program_response,
    refusal_response,
    remembered_response,
)

MAX_FORM_BYTES: Final = 64 * 1024
MAX_FORM_FIELDS: Final = 40
MAX_REGISTRATION_BYTES: Final = 16 * 1024
FORM_TYPE: Final = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Form:
    """The fields of a form, each once, but `resource`, which may come repeatedly (RFC 8707 section 2)."""

    fields: Mapping[str, str] = field(repr=False)
    resources: tuple[str, ...]


class AuthorizationEndpoint:
    """The handlers. `page` is where people log in to the gateway itself, for its own page.

    The one package with a login also answers at the root, for clients that know no other place.
    """

    def __init__(
        self,
        authorization_servers: Mapping[str, AuthorizationServer],
        *,
        public_url: str,
        gateway_login: GatewayLogin | None,
        scope_texts: Mapping[str, Mapping[str, str]],
        page: AuthorizationServer | None = None,
    ) -> None:
        self._authorization_servers = authorization_servers
        self._page = page
        self._public_url = public_url
        self._is_secure = public_url.startswith("https:")
        self._gateway_login = gateway_login
        self._scope_texts = scope_texts

    async def authorize(self, request: Request, package: str) -> Response:
        return await self._authorize(request, self._find(package), issuer=None)

    async def authorize_root(self, request: Request) -> Response:
        return await self._authorize(request, self._find_only(), issuer=self._public_url)

    async def _authorize(
        self, request: Request, authorization_server: AuthorizationServer, *, issuer: str | None
    ) -> Response:
        """Ask the person, or go on where the browser remembers that they were asked."""
        require_navigation(request)
        if is_opened_under_another_name(request, urlsplit(self._public_url).hostname or ""):
            path = f"{issuer or authorization_server.issuer}/authorize"
            return RedirectResponse(f"{path}?{request.url.query}&{CANONICAL}=1", status_code=302)
        try:
            asked = await authorization_server.read_request(
                request.query_params.multi_items(),
                issuer=issuer or authorization_server.issuer,
                client_address=client_address(request),
            )
        except ReturnError as error:
            return refusal_response(error, request)
        if authorization_server.consents.is_remembered(asked, request.cookies):
            return self._send_on(await authorization_server.begin(asked, client_address=client_address(request)))
        browser = (
            authorization_server.consents.find_browser(request.cookies) or authorization_server.consents.new_browser()
        )
        response = consent_response(
            authorization_server,
            asked,
            field=authorization_server.consents.seal_form(asked, browser),
            gateway=urlsplit(self._public_url).netloc,
            scope_texts=self._scope_texts.get(authorization_server.package, {}),
        )
        self._set_cookie(response, authorization_server.consents.browser_cookie, browser, path="/", max_age=None)
        return response

    async def consent(self, request: Request, package: str) -> Response:
        """What the person answered. The origin of the form was checked by the host guard."""
        authorization_server = self._find(package)
        form = await read_form(request)
        asked = authorization_server.consents.open_form(form.fields.get("request", ""), request.cookies)
        if asked is None:
            raise OAuthError(
                "invalid_request",
                "This form is too old, or belongs to another browser.",
                why="A login has to be begun and allowed in one browser, within ten minutes.",
                hint="Start again from the program that sent you here.",
            )
        match form.fields.get("decision"):
            case "allow":
                response = self._send_on(
                    await authorization_server.begin(asked, client_address=client_address(request))
                )
                self._remember(
                    response, authorization_server, asked, request, is_wanted=form.fields.get("remember") == "1"
                )
                return response
            case "deny":
                return RedirectResponse(asked.answer_error("access_denied", "The person said no."), status_code=303)
            case _:
                raise OAuthError("invalid_request", "The form has no answer.", hint="Go back, and allow or deny.")

    async def show_remembered(self, request: Request, package: str) -> Response:
        authorization_server = self._find(package)
        require_navigation(request)
        return remembered_response(authorization_server, request.cookies, gateway=urlsplit(self._public_url).netloc)

    async def forget(self, request: Request, package: str) -> Response:
        authorization_server = self._find(package)
        forgotten = (await read_form(request)).fields.get("forget", "")
        response = RedirectResponse(f"{authorization_server.path}/consent/remembered", status_code=303)
        if forgotten in {one.cookie_name for one in authorization_server.consents.list_remembered(request.cookies)}:
            self._set_cookie(response, forgotten, "", path="/", max_age=0)
        return response

    async def finish_gateway_login(self, request: Request) -> Response:
        """The callback of the gateway's own login."""
        login = self._gateway_login
        if login is None:
            raise RequestError(404, "There is nothing here.")
        require_navigation(request)
        query = request.query_params.multi_items()
        try:
            taken = await login.take_login(query, request.cookies)
            response = await self.go_on(None, taken, query, request)
        except LoginError as error:
            response = problem_response(error)
        name = login.login_cookie_name(request.query_params.get("state", ""))
        if name in request.cookies:
            self.forget_login(response, name, path=login.cookie_path)
        return response

    def forget_login(self, response: Response, cookie: str, *, path: str) -> None:
        """Take the cookie of a login that has ended."""
        self._set_cookie(response, cookie, "", path=path, max_age=0)

    async def begin_for_browser(self, package: str, request: Request) -> Response:
        """On to the first login of a person who wants the tokens."""
        step = await self._find(package).begin(None, client_address=client_address(request))
        return self._send_on(step, status_code=302)

    async def refresh_for_browser(self, package: str, refresh_token: str, request: Request) -> Response:
        """The answer to a refresh of such tokens. Raises OAuthError."""
        issued = await self._find(package).refresh_for_browser(refresh_token, client_address=client_address(request))
        return token_data_response(package, issued)

    async def cancel(self, taken: TakenLogin, request: Request) -> Response:
        """The person does not go on with a login. Raises LoginError where no client waits."""
        journey = read_journey(taken)
        await self._find(journey.package).give_back(journey)
        asked = journey.request
        if asked is None:
            raise LoginError("The login was cancelled", why="Nothing was changed.")
        return program_response(asked.answer_error("access_denied", "The person said no."), request)

    async def go_on(
        self, name: UpstreamName, taken: TakenLogin, query: Sequence[tuple[str, str]], request: Request
    ) -> Response:
        """After a login: on to the next one, or back to the client, or the tokens for the person.

        Raises:
            FluidMCPError: no client waits, and the login cannot be finished.
        """
        journey = read_journey(taken)
        authorization_server = self._find(journey.package)
        following = await authorization_server.go_on(
            name, journey, taken, query, client_address=client_address(request)
        )
        if isinstance(following, LoginStep):
            location = following.start.location
            place = urlsplit(location).netloc
            response = onward_response(location, request, place=place, title="Another login follows")
            self._set_login_cookie(response, following)
            return response
        if isinstance(following, IssuedTokens):
            return token_data_response(journey.package, following)
        return program_response(following, request)

    async def token(self, request: Request, package: str) -> Response:
        return await self._token(request, self._find(package))

    async def token_root(self, request: Request) -> Response:
        return await self._token(request, self._find_only())

    async def _token(self, request: Request, authorization_server: AuthorizationServer) -> Response:
        form = await read_form(request)
        issued = await authorization_server.answer_token_request(
            form.fields, resources=form.resources, client_address=client_address(request)
        )
        return JSONResponse(issued.as_document())

    async def register(self, request: Request, package: str) -> Response:
        return await self._register(request, self._find(package))

    async def register_root(self, request: Request) -> Response:
        return await self._register(request, self._find_only())

    async def _register(self, request: Request, authorization_server: AuthorizationServer) -> Response:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise OAuthError("invalid_client_metadata", "The body must be application/json.")
        body = await read_body(request, max_bytes=MAX_REGISTRATION_BYTES)
        document = await authorization_server.register(body, client_address=client_address(request))
        return JSONResponse(document, status_code=201)

    async def revoke(self, request: Request, package: str) -> Response:
        form = await read_form(request)
        await self._find(package).revoke(form.fields, client_address=client_address(request))
        return Response(status_code=200)

    def _find(self, package: str) -> AuthorizationServer:
        authorization_server = self._page if package == PAGE else self._authorization_servers.get(package)
        if authorization_server is None:
            raise RequestError(404, "There is no login for MCP clients here.")
        return authorization_server

    def _find_only(self) -> AuthorizationServer:
        if len(self._authorization_servers) != 1:
            raise RequestError(
                404,
                "There is no login at the root of this gateway.",
                why="Each package has its own.",
                hint="MCP clients find it by the address of the package, http(s)://HOST/PACKAGE/mcp.",
            )
        return next(iter(self._authorization_servers.values()))

    def _send_on(self, step: LoginStep, *, status_code: int = 303) -> Response:
        """To the provider, with the cookie that belongs to this login."""
        response = RedirectResponse(step.start.location, status_code=status_code)
        self._set_login_cookie(response, step)
        return response

    def _set_login_cookie(self, response: Response, step: LoginStep) -> None:
        start = step.start
        self._set_cookie(
            response, start.cookie_name, start.cookie_value, path=step.cookie_path, max_age=start.max_age_seconds
        )

    def _remember(
        self,
        response: Response,
        authorization_server: AuthorizationServer,
        asked: AuthorizationRequest,
        request: Request,
        *,
        is_wanted: bool,
    ) -> None:
        cookie = authorization_server.consents.remember(asked, request.cookies) if is_wanted else None
        if cookie is not None:
            self._set_cookie(response, *cookie, path="/", max_age=REMEMBER_SECONDS)

    def _set_cookie(self, response: Response, name: str, value: str, *, path: str, max_age: int | None) -> None:
        response.set_cookie(
            name, value, max_age=max_age, path=path, secure=self._is_secure, httponly=True, samesite="lax"
        )


def oauth_error_response(error: FluidMCPError) -> Response:
    """The JSON answer of the token, registration and revocation endpoints (RFC 6749 section 5.2)."""
    headers = {**PROTECTIVE_HEADERS, **CORS_HEADERS}
    status, code = 500, "server_error"
    match error:
        case OAuthError(status=status, error=code, retry_after_seconds=retry_after):
            if retry_after is not None:
                headers["Retry-After"] = str(int(retry_after))
        case StoreUnavailableError(retry_after_seconds=retry_after):
            status, code = 503, "temporarily_unavailable"
            headers["Retry-After"] = str(math.ceil(retry_after))
        case RequestError(status=status):
            code = "invalid_request"
        case _:
            pass
    description = " ".join(part for part in (error.what, error.why, error.hint) if part)
    return JSONResponse({"error": code, "error_description": description}, status_code=status, headers=headers)


async def read_form(request: Request) -> Form:
    """The form of a request.

    Raises:
        OAuthError: `invalid_request`: not a form, a field twice (RFC 6749 section 3.2).
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM_TYPE:
        raise OAuthError("invalid_request", f"The body must be {FORM_TYPE}.")
    body = await read_body(request, max_bytes=MAX_FORM_BYTES)
    try:
        pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=MAX_FORM_FIELDS, errors="strict")
    except ValueError as error:
        raise OAuthError("invalid_request", "The form cannot be read.") from error
    resources = tuple(value for name, value in pairs if name == "resource")
    others = [(name, value) for name, value in pairs if name != "resource"]
    fields = dict(others)
    if len(fields) != len(others):
        raise OAuthError("invalid_request", "A parameter came twice.")
    return Form(fields, resources)


async def read_body(request: Request, *, max_bytes: int) -> bytes:
    """Raises OAuthError: it is too large."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise OAuthError("invalid_request", f"The body has more than {max_bytes} bytes.", status=413)
    return bytes(body)
