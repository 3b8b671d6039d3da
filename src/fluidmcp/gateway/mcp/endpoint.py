"""The MCP endpoints of one package: which message goes through which, by its era and kind.

`POST /{package}/mcp` serves clients of every era and those without any handshake; `/{package}/sse` is the one-request
stream of the documents and, with GET, the transport of 2024-11-05. The caller is known by now.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final, TypeAlias

from fluidmcp.bridge.exchange import Exchange
from fluidmcp.bridge.servers import ChannelLease, PackageServers
from fluidmcp.bridge.session import SessionTable
from fluidmcp.bridge.stateless_link import send_bare_request
from fluidmcp.errors import FluidMCPError, RequestError
from fluidmcp.gateway.errors import rpc_error_reply, run_now
from fluidmcp.gateway.http import HttpReply, HttpRequest, HttpStream
from fluidmcp.gateway.mcp.messages import (
    ACCEPTED,
    SESSION_HEADER,
    VERSION_HEADER,
    Caller,
    McpHead,
    Message,
    answer_batch,
)
from fluidmcp.gateway.mcp.pending import Outcome, Patience, PendingReply
from fluidmcp.gateway.mcp.session_endpoint import SessionEndpoint
from fluidmcp.gateway.mcp.slow_start import answer_or_stream
from fluidmcp.gateway.mcp.sse_endpoint import SseEndpoint
from fluidmcp.gateway.mcp.stateless_endpoint import StatelessEndpoint
from fluidmcp.protocol.headers import ReplyForm, parse_accept
from fluidmcp.protocol.inbound import InboundKind, classify_post
from fluidmcp.protocol.jsonrpc import InvalidMessageError, parse_batch
from fluidmcp.protocol.versions import BATCH_VERSION, HANDSHAKE_VERSIONS

PROCESS_WIDE_METHODS: Final = frozenset({"logging/setLevel", "resources/subscribe", "resources/unsubscribe"})
"""They change what a server process does for everybody who uses it."""
ASKS_FOR_SESSION: Final = PROCESS_WIDE_METHODS | {"initialize"}

_Handler: TypeAlias = Callable[[HttpRequest, Message, Caller], Awaitable[Outcome]]


class McpEndpoint:
    """The endpoints of one package."""

    def __init__(
        self,
        package: str,
        servers: PackageServers,
        sessions: SessionTable,
        stateless: StatelessEndpoint,
        patience: Patience,
        base_path: str = "",
    ) -> None:
        self._package = package
        self._servers = servers
        self._stateless = stateless
        self._patience_seconds = patience.seconds
        self._sessions = SessionEndpoint(package, servers, sessions, patience)
        self._single_stream = SseEndpoint(package, self._sessions, sessions, base_path)

    async def post_mcp(self, request: HttpRequest, caller: Caller) -> HttpReply | HttpStream:
        """Answer one message; failures that belong to it come as JSON-RPC errors under its id."""
        takes_stream = parse_accept(request.headers.get("accept")) != "json"
        return await self._answer(request, caller, self._dispatch, takes_stream=takes_stream)

    def begin_now(self, request: HttpRequest, head: McpHead, text: bytes, caller: Caller) -> Outcome | None:
        """Send one message on its way, in one go; `request` has `can_wait` off, and `head` is what its headers say.

        None: the message would have to wait before it could be sent, for a process say. Nothing has been done then.
        """
        if text[:1] != b"{":
            return None  # a batch, or nothing
        message: Message | None = None
        try:
            message = Message(text)
            if request.call is not None:
                request.call.method = message.method
            kind = _classify(message, head)
            # Most messages are of these two kinds. For them a coroutine would be a fifth of the cost.
            if kind == "bare" and message.is_request:
                if message.method in ASKS_FOR_SESSION:
                    self._check_bare(message, caller)
                lease = self._servers.acquire_ready(caller.principal)
                outcome = None if lease is None else _begin_bare(lease, message, head.form)
            elif kind == "session" and message.is_request:
                outcome = self._sessions.begin_now(head, message, caller)
            else:
                outcome = run_now(self._handle(kind, request, head, message, caller))
        except FluidMCPError as error:
            return self._describe(error, message, caller)
        return None if outcome is None else self._note_owner(outcome, caller)

    def get_mcp(self, request: HttpRequest, caller: Caller) -> HttpStream:
        """The stream of a session for what belongs to no request, or one that was interrupted."""
        return self._sessions.get(request, caller)

    async def delete_mcp(self, request: HttpRequest, caller: Caller) -> HttpReply:
        """End a session and its process (2025-11-25, "Session Management" item 5)."""
        return await self._sessions.delete(request, caller)

    async def post_sse(self, request: HttpRequest, caller: Caller) -> HttpReply | HttpStream:
        """One request, its notifications and its answer as `data:` events; the stream ends with the answer.

        With a `sessionId` in the query it is the message of a client of 2024-11-05, answered on that client's stream.
        """
        if self._single_stream.is_for_session(request):
            return await self._answer(request, caller, self._single_stream.post, takes_stream=False)
        return await self._answer(request, caller, self._stream_bare, takes_stream=True)

    def get_sse(self, caller: Caller) -> HttpStream:
        """The one stream of a client of 2024-11-05."""
        return self._single_stream.get(caller)

    async def _answer(
        self, request: HttpRequest, caller: Caller, handle: _Handler, *, takes_stream: bool
    ) -> HttpReply | HttpStream:
        text = await request.read_body()
        message: Message | None = None
        try:
            batch = None if text[:1] == b"{" else parse_batch(text)
            if batch is not None:
                return await self._answer_batch(request, batch, caller)
            message = Message(text)
            if request.call is not None:
                request.call.method = message.method
        except FluidMCPError as error:
            return self._describe(error, message, caller)
        carry_out = partial(self._carry_out, message, caller, handle)
        if takes_stream and message.is_request:
            return await answer_or_stream(
                request,
                carry_out,
                package=self._package,
                patience_seconds=self._patience_seconds,
                describe=partial(self._servers.describe_own_start, caller.principal),
            )
        outcome = await carry_out(request)
        return await outcome.wait(request) if isinstance(outcome, PendingReply) else outcome

    async def _carry_out(self, message: Message, caller: Caller, handle: _Handler, request: HttpRequest) -> Outcome:
        """Send a message on its way; the outcome of a failure is the reply that tells it."""
        try:
            return self._note_owner(await handle(request, message, caller), caller)
        except FluidMCPError as error:
            return self._describe(error, message, caller)

    def _describe(self, error: FluidMCPError, message: Message | None, caller: Caller) -> HttpReply:
        """The reply to a message that failed before it was on its way."""
        if isinstance(error, InvalidMessageError):
            return rpc_error_reply(error, error.request_id)
        request_id = message.request_id if message is not None and message.is_request else None
        return rpc_error_reply(error, request_id, show_stderr=self._is_owner(caller))

    def _note_owner(self, outcome: Outcome, caller: Caller) -> Outcome:
        if isinstance(outcome, PendingReply):
            outcome.show_stderr = caller.principal is not None and self._is_owner(caller)
        return outcome

    def _is_owner(self, caller: Caller) -> bool:
        """Whether the process that serves this caller serves nobody else."""
        return not self._servers.is_shared(caller.principal)

    async def _stream_bare(self, request: HttpRequest, message: Message, caller: Caller) -> Outcome:
        return await self._post_bare(request, message, caller, "event-stream")

    async def _dispatch(self, request: HttpRequest, message: Message, caller: Caller) -> Outcome:
        """By the era and kind of the message (protocol/inbound)."""
        head = read_mcp_head(request.headers)
        return await self._handle(_classify(message, head), request, head, message, caller)

    async def _handle(
        self, kind: InboundKind, request: HttpRequest, head: McpHead, message: Message, caller: Caller
    ) -> Outcome:
        form = head.form
        match kind:
            case "stateless":
                return await self._stateless.post(request, message, caller, form)
            case "unsupported_version":
                raise _unsupported_version()
            case "initialize":
                return await self._sessions.initialize(request, message, caller, form)
            case "session":
                return await self._sessions.post(request, message, caller, form)
            case "bare":
                return await self._post_bare(request, message, caller, form)

    async def _post_bare(self, request: HttpRequest, message: Message, caller: Caller, form: ReplyForm) -> Outcome:
        """JSON-RPC without a handshake: the gateway has done one for the process it uses."""
        if not message.is_request:
            return ACCEPTED
        self._check_bare(message, caller)
        lease = await self._servers.acquire(caller.principal, caller.held, can_wait=request.can_wait)
        return _begin_bare(lease, message, form)

    def _check_bare(self, message: Message, caller: Caller) -> None:
        method = message.method
        if method == "initialize" or (method in PROCESS_WIDE_METHODS and self._servers.is_shared(caller.principal)):
            raise RequestError(
                400,
                f"The method {method} needs a session.",
                hint=f"Send initialize to /{self._package}/mcp, and the Mcp-Session-Id of its answer with each call.",
            )

    async def _answer_batch(self, request: HttpRequest, texts: list[bytes], caller: Caller) -> HttpReply:
        """Several messages in one array: only clients of 2025-03-26 may send them; the answers come as one array."""
        request.require_wait()
        noted = None if request.call is None else request.call.begin_batch(len(texts))
        session_id = request.headers.get(SESSION_HEADER)
        version = request.headers.get(VERSION_HEADER)
        if session_id is not None:
            return await self._sessions.post_batch(texts, caller, session_id, noted)
        if version not in (None, BATCH_VERSION):
            raise RequestError(400, f"The revision {version} has no batches of messages.", hint="Send one at a time.")
        lease = await self._servers.acquire(caller.principal, caller.held)

        def send(message: Message) -> Exchange | None:
            if not message.is_request:
                return None
            self._check_bare(message, caller)
            return _send_bare(lease, message, wants_notifications=False)

        try:
            return await answer_batch(texts, send, noted)
        finally:
            lease.release()


def read_mcp_head(headers: Mapping[str, str]) -> McpHead:
    return McpHead(headers.get(SESSION_HEADER), headers.get(VERSION_HEADER), parse_accept(headers.get("accept")))


def _classify(message: Message, head: McpHead) -> InboundKind:
    return classify_post(
        message.envelope,
        may_be_stateless=message.may_be_stateless,
        session_id=head.session_id,
        protocol_version=head.version,
    )


def _begin_bare(lease: ChannelLease, message: Message, form: ReplyForm) -> HttpStream | PendingReply:
    try:
        if lease.worker.era == "handshake":
            exchange = lease.worker.send_request(
                message.method,
                message.envelope.params,
                mentions_progress=message.mentions_progress,
                wants_notifications=form == "event-stream",
            )
        else:
            exchange = _send_bare(lease, message, wants_notifications=form == "event-stream")
    except FluidMCPError:
        lease.release()
        raise
    pending = PendingReply(exchange, message.request_id, lease.release)
    return pending.open_stream(None) if form == "event-stream" else pending


def _send_bare(lease: ChannelLease, message: Message, *, wants_notifications: bool) -> Exchange:
    channel, method, params = lease.worker, message.method, message.envelope.params
    mentions_progress = message.mentions_progress
    if channel.era == "handshake":
        return channel.send_request(
            method, params, mentions_progress=mentions_progress, wants_notifications=wants_notifications
        )
    return send_bare_request(
        channel, method, params, mentions_progress=mentions_progress, wants_notifications=wants_notifications
    )


def _unsupported_version() -> RequestError:
    versions = ", ".join(HANDSHAKE_VERSIONS)
    return RequestError(
        400, "The MCP-Protocol-Version of the request is not supported.", hint=f"Send one of {versions}."
    )
