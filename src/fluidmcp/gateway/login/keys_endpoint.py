"""The page on which people type their keys.

The page belongs to a login that waits, bound to a cookie of the browser that began it; nothing of an address or of
another site fills it in. What was typed is never shown again, and a wrong key ends nothing: the page asks once more.
"""

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response

from fluidmcp.authorization_server.authorization_server import read_journey
from fluidmcp.errors import OAuthError, ProviderUnavailableError, RequestError
from fluidmcp.gateway.login.authorization_endpoint import AuthorizationEndpoint, read_form
from fluidmcp.gateway.login.browsing import client_address, require_navigation
from fluidmcp.gateway.login.routes import PageRoute
from fluidmcp.gateway.openapi import login as openapi
from fluidmcp.guards.keys_login import KeysLogin, KeysRefusedError
from fluidmcp.guards.package_guard import PackageGuard
from fluidmcp.oauth_client.waiting_logins import TakenLogin
from fluidmcp.pages.keys import FIELD_PREFIX, keys_response

PATH: Final = "/{package}/auth/keys"


def build_keys_router(
    guards: Mapping[str, PackageGuard | None], *, public_url: str, client_logins: AuthorizationEndpoint
) -> APIRouter:
    """The routes of all packages whose people type keys."""
    endpoint = _KeysEndpoint(guards, gateway=urlsplit(public_url).netloc, client_logins=client_logins)
    router = APIRouter(route_class=PageRoute, tags=["login"])
    router.add_api_route(PATH, endpoint.show, methods=["GET"], **openapi.KEYS)
    router.add_api_route(PATH, endpoint.read, methods=["POST"], **openapi.TYPED_KEYS)
    return router


class _KeysEndpoint:
    def __init__(
        self, guards: Mapping[str, PackageGuard | None], *, gateway: str, client_logins: AuthorizationEndpoint
    ) -> None:
        self._guards = guards
        self._gateway = gateway
        self._client_logins = client_logins

    async def show(self, request: Request, package: str) -> Response:
        login = self._find(package)
        require_navigation(request)
        state = request.query_params.get("state", "")
        return self._respond(login, await login.look(state, request.cookies), state)

    async def read(self, request: Request, package: str) -> Response:
        """What the person typed. The origin of the form was checked by the host guard."""
        login = self._find(package)
        form = (await read_form(request)).fields
        state = form.get("state", "")
        waiting = await login.look(state, request.cookies)
        match form.get("decision"):
            case "deny":
                taken = await login.take(state, request.cookies)
                return self._ended(login, state, await self._client_logins.cancel(taken, request))
            case "allow":
                pass
            case _:
                raise OAuthError("invalid_request", "The form has no answer.", hint="Go back, and go on or cancel.")
        typed = {key.name: form.get(FIELD_PREFIX + key.name, "") for key in login.keys}
        try:
            keys = await login.check(typed, client_address=client_address(request))
        except KeysRefusedError as refusal:
            return self._respond(login, waiting, state, refusal.faults)
        except ProviderUnavailableError as error:
            problem = f"{error.what}: {error.why} {error.hint}"
            return self._respond(login, waiting, state, {"": problem}, is_unchecked=True)
        # Taken only now, so that a typing error costs nothing; of several forms at once one goes on.
        taken = await login.take(state, request.cookies)
        response = await self._client_logins.go_on(login.login, taken, tuple(keys.items()), request)
        return self._ended(login, state, response)

    def _ended(self, login: KeysLogin, state: str, response: Response) -> Response:
        self._client_logins.forget_login(response, login.login_cookie_name(state), path=login.cookie_path)
        return response

    def _find(self, package: str) -> KeysLogin:
        guard = self._guards.get(package)
        login = None if guard is None else guard.keys
        if login is None or not login.has_page:
            raise RequestError(404, "There is no page for keys here.")
        return login

    def _respond(
        self,
        login: KeysLogin,
        waiting: TakenLogin,
        state: str,
        faults: Mapping[str, str] | None = None,
        *,
        is_unchecked: bool = False,
    ) -> Response:
        asked = read_journey(waiting).request
        return keys_response(login, asked, state=state, gateway=self._gateway, faults=faults, is_unchecked=is_unchecked)
