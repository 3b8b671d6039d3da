"""The ASGI callable of a gateway: looks at the path first.

MCP endpoints go to the core; the rest of the documented HTTP surface is FastAPI's.
"""

from collections.abc import Mapping, MutableMapping
from functools import partial
from typing import Any, Final, TypeAlias, cast

from fluidmcp.config.urls import split_public_url
from fluidmcp.errors import RequestError
from fluidmcp.gateway.calls.observer import ANSWERED, NOT_ANSWERED, REQUEST_ID_HEADER, Call
from fluidmcp.gateway.composition import GatewayParts
from fluidmcp.gateway.errors import answer_always, error_reply
from fluidmcp.gateway.front.base_path import BasePath
from fluidmcp.gateway.guard import HeadGuard
from fluidmcp.gateway.health import answer_health, answer_ready
from fluidmcp.gateway.http import HttpReply, HttpRequest, Receive, RequestBody, Send, send_answer, send_reply
from fluidmcp.gateway.late_web import LateWeb
from fluidmcp.gateway.page.opened import is_opened_by_a_person, send_to_page
from fluidmcp.protocol.forwarded import FORWARDED_FOR
from fluidmcp.undo import undo_on_failure

Scope: TypeAlias = MutableMapping[str, Any]

WEBSOCKET_REFUSED: Final = 1008
"""RFC 6455 section 7.4.1; sent before the handshake is answered, it makes the answer a 403."""


class GatewayApp:
    """Serves `parts`; `web` has everything but the MCP endpoints."""

    def __init__(self, parts: GatewayParts, web: LateWeb) -> None:
        self.web = web
        self._core = parts.core
        self._state = parts.state
        self._streams = parts.calls.streams
        self._observer = parts.calls.observer
        self._request_guard = parts.logins.request_guard
        self._head_guard = HeadGuard(parts.settings)
        self._max_body_bytes = parts.settings.max_body_bytes
        self._base_path = BasePath(split_public_url(parts.settings.public_url)[1])
        self._proxies = parts.settings.trusted_proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": WEBSOCKET_REFUSED})
        if scope["type"] != "http":
            return  # no lifespan and no WebSocket is served
        method, path = cast(str, scope["method"]), self._base_path.take_off(cast(str, scope["path"]))
        body = RequestBody(receive, self._max_body_bytes)
        pairs = cast("list[tuple[bytes, bytes]]", scope["headers"])
        try:
            headers = self._head_guard.read(pairs, path or "")
            if path is None:
                raise RequestError(404, "There is nothing here.", hint=f"The gateway is at {self._base_path.base}.")
        except RequestError as error:
            call = self._open_call(method, path or "", _read_request_id(pairs))
            await send_answer(error_reply(error), self._streams, body, send, call)
            return
        if not self._core.is_mcp_path(path):
            early = (
                (send_to_page(path, headers, base=self._base_path.base) if method == "GET" else None)
                or await self._find_refusal(method, path, headers)
                or answer_health(method, path, _query_of(scope))
                or answer_ready(method, path, _query_of(scope), self._state)
            )
            if early is not None:
                await send_reply(early, send)
            else:
                await self._serve_web(scope, path, headers, body, send)
            return
        if method == "GET" and is_opened_by_a_person(path, headers):
            # The page asks by itself who comes, and shows strangers a login.
            await self._serve_web(scope, path, headers, body, send)
            return
        request = _build_request(scope, path, headers, body)
        request.call = call = self._open_call(method, path, headers)
        with undo_on_failure(partial(_end_unanswered, call)):
            try:
                reply = await self._core.handle(request)
            finally:
                body.end_watches()
        if call is not None and ANSWERED in scope:  # this reply reaches nobody
            call.end(scope[ANSWERED])
            call = None
        await send_answer(reply, self._streams, body, send, call)

    def _open_call(self, method: str, path: str, headers: Mapping[str, str]) -> Call | None:
        """What is noted of a request; None for one that is no call, and where nobody looks on."""
        if self._observer is None or not self._core.is_mcp_path(path):
            return None
        package, endpoint = path.split("/")[1:]
        if endpoint == "me":
            return None
        return Call(self._observer, package, "" if method == "POST" else method, headers)

    async def _serve_web(
        self, scope: Scope, path: str, headers: Mapping[str, str], body: RequestBody, send: Send
    ) -> None:
        """Let FastAPI answer."""
        web = await answer_always(self.web.get(), path)
        if isinstance(web, HttpReply):
            await send_reply(web, send)
            return
        self._find_client(scope, headers)
        # As ASGI has it: a path holds its root path, however the request was spelled.
        scope["path"], scope["root_path"] = self._base_path.base + path, self._base_path.base
        await web(scope, body.receive, send)

    def _find_client(self, scope: Scope, headers: Mapping[str, str]) -> None:
        """Put the client in the place of the proxy that passed its request on. Only what counts addresses asks."""
        client = cast("tuple[str, int] | None", scope.get("client"))
        server = cast("tuple[str, int | None] | None", scope.get("server"))
        if client is None and (server is None or server[1] is not None):
            return  # a client of a port who is gone already: only at a Unix socket nobody has an address
        peer = "" if client is None else client[0]
        if self._proxies.has(peer):
            found = self._proxies.find_client(peer, headers.get(FORWARDED_FOR))
            scope["client"] = (found, 0) if found else None

    async def _find_refusal(self, method: str, path: str, headers: Mapping[str, str]) -> HttpReply | None:
        """The reply to somebody who may not come in; None for everybody else."""
        if self._request_guard is None:
            return None
        admitted = await answer_always(self._request_guard.admit(method, path, headers), path)
        return admitted if isinstance(admitted, HttpReply) else None


def _build_request(scope: Scope, path: str, headers: Mapping[str, str], body: RequestBody) -> HttpRequest:
    return HttpRequest(
        method=cast(str, scope["method"]),
        path=path,
        query=_query_of(scope).decode("latin-1"),
        headers=headers,
        read_body=body.read,
        watch_disconnect=body.watch_disconnect,
    )


def _read_request_id(pairs: list[tuple[bytes, bytes]]) -> Mapping[str, str]:
    """All that is read of a head which is refused; none where it is given twice."""
    found = [value.decode("latin-1") for name, value in pairs if name.lower() == REQUEST_ID_HEADER.encode()]
    return {REQUEST_ID_HEADER: found[0]} if len(found) == 1 else {}


def _end_unanswered(call: Call | None) -> None:
    if call is not None:
        call.end(NOT_ANSWERED)


def _query_of(scope: Scope) -> bytes:
    return cast(bytes, scope.get("query_string", b""))
