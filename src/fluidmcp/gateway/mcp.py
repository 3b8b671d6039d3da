"""The MCP doors of one package: `POST /{package}/mcp`, its sessions, and the one-request stream `POST /{package}/sse`.

The caller is known by now. A request becomes an exchange on a channel; the reply is plain JSON unless the server says
something before its answer and the client takes an event stream.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeAlias, cast

from msgspec import UNSET, Raw

from fluidmcp.auth.principal import Principal
from fluidmcp.bridge.channel import CANCELLED, Channel
from fluidmcp.bridge.exchange import Exchange
from fluidmcp.bridge.servers import PackageServers
from fluidmcp.bridge.sessions import Session, SessionTable
from fluidmcp.errors import FluidMCPError, RequestError, ServerProcessError
from fluidmcp.gateway.errors import encode_rpc_error, rpc_error_reply
from fluidmcp.gateway.http import JSON_TYPE, NO_STORE, Headers, HttpReply, HttpRequest, HttpStream
from fluidmcp.processes.pool import Lease
from fluidmcp.protocol.headers import ReplyForm, parse_accept
from fluidmcp.protocol.inbound import classify_post
from fluidmcp.protocol.jsonrpc import (
    METHOD_NOT_FOUND,
    Envelope,
    InvalidMessageError,
    Json,
    encode_answer,
    encode_error,
    encode_notification,
    parse_message,
    parse_object,
)
from fluidmcp.protocol.meta import PROGRESS_TOKEN
from fluidmcp.protocol.sse import encode_event
from fluidmcp.protocol.versions import HANDSHAKE_VERSIONS

SESSION_HEADER: Final = "mcp-session-id"
VERSION_HEADER: Final = "mcp-protocol-version"

PROCESS_WIDE_METHODS: Final = frozenset({"logging/setLevel", "resources/subscribe", "resources/unsubscribe"})
"""They change what a server process does for everybody who uses it."""

ACCEPTED: Final = HttpReply(202, b"", (NO_STORE,))


class CancelledByClientError(ServerProcessError):
    code = "cancelled"


@dataclass(slots=True)
class Caller:
    """Who sends the request, and the token that only a process of this caller may get."""

    principal: Principal | None
    token: str | None


@dataclass(slots=True)
class Message:
    """A parsed message with the text it came from."""

    envelope: Envelope
    text: bytes

    @property
    def request_id(self) -> Json:
        return bytes(cast(Raw, self.envelope.id))

    @property
    def mentions_progress(self) -> bool:
        return PROGRESS_TOKEN in self.text


_Handler: TypeAlias = Callable[[HttpRequest, Message, Caller], Awaitable[HttpReply | HttpStream]]


class McpDoors:
    """The doors of one package."""

    def __init__(self, package: str, servers: PackageServers, sessions: SessionTable) -> None:
        self._package = package
        self._servers = servers
        self._sessions = sessions

    async def post_mcp(self, request: HttpRequest, caller: Caller) -> HttpReply | HttpStream:
        """Answer one message; failures that belong to it come as JSON-RPC errors under its id."""
        return await self._answer(request, caller, self._dispatch)

    async def post_sse(self, request: HttpRequest, caller: Caller) -> HttpReply | HttpStream:
        """One request, its notifications and its answer as `data:` events; the stream ends with the answer."""
        return await self._answer(request, caller, self._stream_bare)

    async def delete_mcp(self, request: HttpRequest, caller: Caller) -> HttpReply:
        """End a session and its process (2025-11-25, "Session Management" item 5)."""
        session = self._find_session(request.headers.get(SESSION_HEADER), caller)
        self._sessions.close(session)
        for _, exchange in session.in_flight.values():
            exchange.fail(CancelledByClientError("The session has been ended."))
        if session.worker_key is not None:
            await self._servers.discard(session.worker_key)
        return HttpReply(204, b"", (NO_STORE,))

    async def _answer(self, request: HttpRequest, caller: Caller, handle: _Handler) -> HttpReply | HttpStream:
        text = await request.read_body()
        try:
            message = Message(parse_message(text), text)
        except InvalidMessageError as error:
            return rpc_error_reply(error, error.request_id)
        try:
            return await handle(request, message, caller)
        except FluidMCPError as error:
            request_id = message.request_id if message.envelope.is_request else None
            return rpc_error_reply(error, request_id, show_stderr=not self._servers.is_shared(caller.principal))

    async def _stream_bare(self, request: HttpRequest, message: Message, caller: Caller) -> HttpReply | HttpStream:
        return await self._post_bare(message, caller, "event-stream")

    async def _dispatch(self, request: HttpRequest, message: Message, caller: Caller) -> HttpReply | HttpStream:
        """By the era and kind of the message (protocol/inbound)."""
        session_id = request.headers.get(SESSION_HEADER)
        version = request.headers.get(VERSION_HEADER)
        kind = classify_post(message.envelope, message.text, session_id=session_id, protocol_version=version)
        form = parse_accept(request.headers.get("accept"))
        match kind:
            case "stateless":
                return _refuse_stateless_era(message)
            case "unsupported_version":
                raise _unsupported_version()
            case "initialize":
                return await self._initialize(message, caller)
            case "session":
                return await self._post_in_session(message, caller, cast(str, session_id), form)
            case "bare":
                return await self._post_bare(message, caller, form)

    async def _post_bare(self, message: Message, caller: Caller, form: ReplyForm) -> HttpReply | HttpStream:
        """JSON-RPC without a handshake: the gateway has done one for the process it uses."""
        envelope = message.envelope
        if not envelope.is_request:
            return ACCEPTED
        method = cast(str, envelope.method)
        if method == "initialize" or (method in PROCESS_WIDE_METHODS and self._servers.is_shared(caller.principal)):
            raise RequestError(
                400,
                f"The method {method} needs a session.",
                hint=f"Send initialize to /{self._package}/mcp, and the Mcp-Session-Id of its answer with each call.",
            )
        if form == "either":
            form = "json"
        lease = await self._servers.acquire(caller.principal, caller.token)
        return await self._relay(message, lease, form, lease.release)

    async def _initialize(self, message: Message, caller: Caller) -> HttpReply:
        """Open a session: the server hears what this client says of itself, and its answer goes back unchanged."""
        envelope = message.envelope
        if not envelope.is_request or parse_object(envelope.params) is None:
            raise RequestError(400, "The method initialize is a request with params.")
        params = bytes(cast(Raw, envelope.params))
        session = self._sessions.open(self._package, caller.principal, params)
        try:
            lease = await self._acquire_for(session, caller)
        except BaseException:
            self._sessions.close(session)
            raise
        answer = cast(Envelope, lease.worker.initialize_answer)
        lease.release()
        headers: Headers = (JSON_TYPE, NO_STORE, (SESSION_HEADER.encode(), session.session_id.encode()))
        return HttpReply(200, encode_answer(message.request_id, answer), headers)

    async def _post_in_session(
        self, message: Message, caller: Caller, session_id: str, form: ReplyForm
    ) -> HttpReply | HttpStream:
        session = self._find_session(session_id, caller)
        envelope = message.envelope
        if not envelope.is_request:
            if envelope.is_notification:
                self._notify(session, caller, envelope)
            return ACCEPTED
        lease = await self._acquire_for(session, caller)
        request_id = message.request_id

        def finish() -> None:
            session.in_flight.pop(request_id, None)
            lease.release()

        return await self._relay(message, lease, form, finish, session)

    async def _acquire_for(self, session: Session, caller: Caller) -> Lease[Channel]:
        """The session's process; with a refreshed token a new one takes over, and the old one finishes its calls."""
        lease = await self._servers.acquire(
            caller.principal,
            caller.token,
            session_id=session.session_id,
            initialize_params=session.initialize_params,
        )
        key = self._servers.build_key(caller.principal, session.session_id)
        if session.worker_key is not None and session.worker_key != key:
            self._servers.retire(session.worker_key)
        session.worker_key = key
        return lease

    def _notify(self, session: Session, caller: Caller, envelope: Envelope) -> None:
        """Pass a client's notification on to the process that is running, if there is one."""
        if envelope.method == "notifications/initialized":
            return  # the gateway has said so itself, as soon as the server had answered
        if envelope.method == CANCELLED:
            _cancel(session, envelope)
            return
        lease = self._servers.acquire_ready(caller.principal, session.session_id)
        if lease is not None:
            with lease:
                lease.worker.send_notification(cast(str, envelope.method), envelope.params)

    def _find_session(self, session_id: str | None, caller: Caller) -> Session:
        if session_id is None:
            raise RequestError(400, "The header Mcp-Session-Id is missing.", hint="Send initialize first.")
        session = self._sessions.find(session_id, self._package, caller.principal)
        if session is None:
            raise RequestError(404, "There is no such session.", hint="Send initialize to open a new one.")
        return session

    async def _relay(
        self,
        message: Message,
        lease: Lease[Channel],
        form: ReplyForm,
        finish: Callable[[], None],
        session: Session | None = None,
    ) -> HttpReply | HttpStream:
        """Send the request and turn what comes back into a reply; `finish` runs exactly once, whatever happens."""
        request_id = message.request_id
        is_handed_on = False
        try:
            exchange = lease.worker.send_request(
                cast(str, message.envelope.method),
                message.envelope.params,
                mentions_progress=message.mentions_progress,
                wants_notifications=form != "json",
            )
            if session is not None:
                session.in_flight[request_id] = (lease.worker, exchange)
            if form == "event-stream":
                is_handed_on = True
                return HttpStream(_stream(exchange, request_id, None, finish))
            event = await exchange.next_event()
            if event.is_answer:
                return HttpReply(200, encode_answer(request_id, event))
            is_handed_on = True
            return HttpStream(_stream(exchange, request_id, event, finish))
        finally:
            if not is_handed_on:
                finish()


def _cancel(session: Session, envelope: Envelope) -> None:
    """Pass on `notifications/cancelled` under the id the server knows; what it still answers goes nowhere."""
    members = parse_object(envelope.params) or {}
    channel, exchange = session.in_flight.get(bytes(members.get("requestId", b"")), (None, None))
    if channel is not None and exchange is not None:
        channel.cancel(exchange, envelope.params)
        exchange.fail(CancelledByClientError("The request has been cancelled by its client."))


async def _stream(
    exchange: Exchange, request_id: Json, first: Envelope | None, finish: Callable[[], None]
) -> AsyncGenerator[bytes, None]:
    """Events until the answer; a failure becomes a JSON-RPC error, so that the stream always ends with one."""
    try:
        event = first
        while event is None or not event.is_answer:
            if event is not None:
                yield encode_event(encode_notification(cast(str, event.method), event.params))
            event = await exchange.next_event()
        yield encode_event(encode_answer(request_id, event))
    except FluidMCPError as error:
        yield encode_event(encode_rpc_error(error, request_id))
    finally:
        finish()


def _refuse_stateless_era(message: Message) -> HttpReply:
    """The answer that makes clients of revision 2026-07-28 fall back to `initialize`.

    A 400 whose error is none of that revision's own (-32020 to -32022): clients take those for a server that speaks
    it (2026-07-28, "Backward Compatibility").
    """
    request_id = message.request_id if message.envelope.id is not UNSET else None
    versions = ", ".join(HANDSHAKE_VERSIONS)
    text = f"This endpoint speaks the revisions that begin with initialize: {versions}."
    return HttpReply(400, encode_error(request_id, METHOD_NOT_FOUND, text))


def _unsupported_version() -> RequestError:
    versions = ", ".join(HANDSHAKE_VERSIONS)
    return RequestError(
        400, "The MCP-Protocol-Version of the request is not supported.", hint=f"Send one of {versions}."
    )
