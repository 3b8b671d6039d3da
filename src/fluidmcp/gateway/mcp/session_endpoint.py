"""Handshake-era sessions over HTTP: `initialize`, messages in a session, its streams, and its end.

A request whose answer comes first gets plain JSON. Once the server says something before, the reply becomes an event
stream with ids: what a client misses while it is disconnected waits for its `Last-Event-ID`. A disconnect ends
nothing (2025-11-25, "Sending Messages to the Server" item 6).
"""

from collections.abc import AsyncGenerator, Callable
from typing import cast

from msgspec import Raw

from fluidmcp.bridge.channel import CANCELLED, Channel
from fluidmcp.bridge.exchange import Event, Exchange
from fluidmcp.bridge.handshake_link import HandshakeLink
from fluidmcp.bridge.servers import ChannelLease, PackageServers
from fluidmcp.bridge.session import CancelledByClientError, ServerLink, Session, SessionTable, encode_event_message
from fluidmcp.bridge.stateless_link import StatelessLink
from fluidmcp.bridge.streams import EventReader, EventStream
from fluidmcp.errors import FluidMCPError, RequestError
from fluidmcp.gateway.calls.observer import Batch
from fluidmcp.gateway.errors import encode_rpc_error
from fluidmcp.gateway.http import JSON_TYPE, NO_STORE, Headers, HttpReply, HttpRequest, HttpStream
from fluidmcp.gateway.mcp.messages import ACCEPTED, SESSION_HEADER, Caller, McpHead, Message, answer_batch
from fluidmcp.gateway.mcp.pending import Patience, PendingReply
from fluidmcp.protocol.headers import ReplyForm, parse_accept
from fluidmcp.protocol.jsonrpc import Envelope, Json, encode_answer, parse_object
from fluidmcp.protocol.meta import without_interactive_capabilities
from fluidmcp.protocol.sse import encode_event, encode_priming
from fluidmcp.protocol.versions import ASSUMED_VERSION, BATCH_VERSION, HANDSHAKE_VERSIONS, PRIMING_SINCE
from fluidmcp.undo import undo_on_failure

LAST_EVENT_HEADER = "last-event-id"


class SessionEndpoint:
    """The sessions of one package."""

    def __init__(self, package: str, servers: PackageServers, sessions: SessionTable, patience: Patience) -> None:
        self._package = package
        self._servers = servers
        self._sessions = sessions
        self._patience = patience

    async def initialize(self, request: HttpRequest, message: Message, caller: Caller, form: ReplyForm) -> HttpReply:
        """Open a session: the server hears what this client says of itself, and its answer goes back unchanged.

        Whoever takes no event streams can be asked nothing, so the server is not told that it could.
        """
        request.require_wait()
        params = read_initialize_params(message.envelope)
        if form == "json":
            params = without_interactive_capabilities(params)
        session = self._sessions.open(self._package, caller.principal, params)
        request.early_headers = ((SESSION_HEADER.encode(), session.session_id.encode()),)
        with undo_on_failure(lambda: self._sessions.close(session)):
            answer = await self.greet(session, caller)
        headers: Headers = (JSON_TYPE, NO_STORE, *request.early_headers)
        return HttpReply(200, encode_answer(message.request_id, answer), headers)

    async def greet(self, session: Session, caller: Caller) -> Envelope:
        """Start the session's process; the answer to its client's `initialize`."""
        lease = await self._acquire(session, caller)
        answer = cast(ServerLink, session.link).build_initialize_answer()
        lease.release()
        session.protocol_version = _read_version(answer)
        return answer

    async def post(
        self, request: HttpRequest, message: Message, caller: Caller, form: ReplyForm
    ) -> HttpReply | HttpStream | PendingReply:
        session_id = request.headers[SESSION_HEADER]
        session = self.find(session_id, caller)
        if not message.is_request:
            self.receive(session, caller, message.envelope)
            return ACCEPTED
        lease = await self._acquire(session, caller, can_wait=request.can_wait)
        return self._begin(session, lease, message, form)

    def begin_now(self, head: McpHead, message: Message, caller: Caller) -> HttpStream | PendingReply | None:
        """As `post`, for a request whose process runs and serves the session already; None for every other one."""
        session = self.find(cast(str, head.session_id), caller)
        lease = self._servers.acquire_ready(caller.principal, session.session_id)
        if lease is None:
            return None
        link = session.link
        if link is None or link.channel is not lease.worker:
            lease.release()
            return None
        return self._begin(session, lease, message, head.form)

    def _begin(
        self, session: Session, lease: ChannelLease, message: Message, form: ReplyForm
    ) -> HttpStream | PendingReply:
        exchange, finish = self._send(session, lease, message, wants_notifications=form != "json")
        if session.streams.general.has_waiting:
            session.tell_waiting(exchange)
        patience = self._patience if form == "either" else None
        pending = SessionReply(session, exchange, message.request_id, finish, patience)
        return pending.open_stream(None) if form == "event-stream" else pending

    async def post_batch(self, texts: list[bytes], caller: Caller, session_id: str, noted: Batch | None) -> HttpReply:
        """`noted` as `answer_batch` has it."""
        session = self.find(session_id, caller)
        if session.protocol_version != BATCH_VERSION:
            raise RequestError(
                400, f"The revision {session.protocol_version} has no batches of messages.", hint="Send one at a time."
            )
        lease = await self._acquire(session, caller)
        endings: list[Callable[[], None]] = []

        def send(message: Message) -> Exchange | None:
            if not message.is_request:
                self.receive(session, caller, message.envelope)
                return None
            exchange, finish = self._send(session, lease, message, wants_notifications=False)
            endings.append(finish)
            return exchange

        try:
            return await answer_batch(texts, send, noted)
        finally:
            for finish in endings:
                finish()
            lease.release()

    async def post_on_stream(self, session: Session, message: Message, caller: Caller) -> None:
        """Send a request whose events and answer go to the session's one stream."""
        lease = await self._acquire(session, caller)
        exchange, finish = self._send(session, lease, message, wants_notifications=True)
        exchange.divert(_build_sink(session.streams.general, message.request_id, finish, is_last=False))

    def get(self, request: HttpRequest, caller: Caller) -> HttpStream:
        """The session's stream for what belongs to no request; with Last-Event-ID, the one that was interrupted."""
        session = self.find(request.headers[SESSION_HEADER], caller)
        accept = request.headers.get("accept")
        if accept is not None and "*/*" not in accept and parse_accept(accept) == "json":
            raise RequestError(406, "The answer is an event stream.", hint="Send Accept: text/event-stream.")
        last_event_id = request.headers.get(LAST_EVENT_HEADER)
        if last_event_id is None:
            if session.streams.general.has_reader:
                raise RequestError(409, "The session has a stream already.", hint="Use that, or close it first.")
            return _open(session, session.streams.general, session.streams.general.read(), is_standing=True)
        found = session.streams.find(last_event_id)
        if found is None:
            raise RequestError(
                400, "There is no event with that Last-Event-ID.", hint="Open a new stream, without the header."
            )
        stream, sequence = found
        return _open(session, stream, stream.read(sequence), is_standing=True)

    async def delete(self, request: HttpRequest, caller: Caller) -> HttpReply:
        """End a session and its process (2025-11-25, "Session Management" item 5)."""
        session_id = request.headers.get(SESSION_HEADER)
        if session_id is None:
            raise RequestError(400, "The header Mcp-Session-Id is missing.", hint="Send initialize first.")
        await self.close(self.find(session_id, caller))
        return HttpReply(204, b"", (NO_STORE,))

    async def close(self, session: Session) -> None:
        self._sessions.close(session)
        if session.worker_key is not None:
            await self._servers.discard(session.worker_key)

    def find(self, session_id: str, caller: Caller, *, is_single_stream: bool = False) -> Session:
        """Raises RequestError (404) for a session that is not this caller's: it does not exist for others."""
        session = self._sessions.find(session_id, self._package, caller.principal)
        if session is None or session.is_single_stream != is_single_stream:
            raise RequestError(404, "There is no such session.", hint="Send initialize to open a new one.")
        return session

    def receive(self, session: Session, caller: Caller, envelope: Envelope) -> None:
        """A notification of the client, or its answer to a question; a process that is not running misses nothing."""
        if envelope.is_answer:
            session.receive_answer(envelope)
        elif envelope.method == CANCELLED:
            _cancel(session, envelope)
        elif session.link is not None:
            lease = self._servers.acquire_ready(caller.principal, session.session_id)
            if lease is not None:
                link = _link_to(session, lease.worker)
                link.send_notification(cast(str, envelope.method), envelope.params)
                lease.release()

    def _send(
        self, session: Session, lease: ChannelLease, message: Message, *, wants_notifications: bool
    ) -> tuple[Exchange, Callable[[], None]]:
        """Send a request; the exchange, and what must be called once when it has ended.

        The lease is released when this raises.
        """
        with undo_on_failure(lease.release):
            link = _link_to(session, lease.worker)
            exchange = link.send_request(
                message.method,
                message.envelope.params,
                mentions_progress=message.mentions_progress,
                wants_notifications=wants_notifications,
            )
        request_id = message.request_id
        session.in_flight[request_id] = exchange

        def finish() -> None:
            if session.in_flight.get(request_id) is exchange:
                del session.in_flight[request_id]
            session.senders.pop(exchange, None)
            lease.release()

        return exchange, finish

    async def _acquire(self, session: Session, caller: Caller, *, can_wait: bool = True) -> ChannelLease:
        """The session's process; with a refreshed token a new one takes over, and the old one finishes its calls."""
        lease = await self._servers.acquire(
            caller.principal,
            caller.held,
            session_id=session.session_id,
            initialize_params=session.initialize_params,
            can_wait=can_wait,
        )
        key = self._servers.build_key(caller.principal, session.session_id)
        if session.worker_key is not None and session.worker_key != key:
            self._servers.retire(session.worker_key)
        session.worker_key = key
        _link_to(session, lease.worker)
        return lease


class SessionReply(PendingReply):
    """The reply to a request in a session; its event stream can be taken up again."""

    __slots__ = ("_session",)

    def __init__(
        self,
        session: Session,
        exchange: Exchange,
        request_id: Json,
        finish: Callable[[], None],
        patience: Patience | None,
    ) -> None:
        super().__init__(exchange, request_id, finish, patience=patience)
        self._session = session

    def open_stream(self, first: Envelope | None) -> HttpStream:
        """A stream of the session, with all that comes from here on; it goes on when its client has gone away."""
        stream = self._session.streams.open_stream()
        push = _build_sink(stream, self.request_id, self._finish)
        if first is not None:
            push(first)
        self.exchange.divert(push)
        return _open(self._session, stream, stream.read())


def read_initialize_params(envelope: Envelope) -> Json:
    """The params of `initialize`. Raises RequestError (400) when it is no request, or has none."""
    if not envelope.is_request or parse_object(envelope.params) is None:
        raise RequestError(400, "The method initialize is a request with params.")
    return bytes(cast(Raw, envelope.params))


def _link_to(session: Session, channel: Channel) -> ServerLink:
    """The session's link to this channel; a new process gets a new one."""
    if session.link is None or session.link.channel is not channel:
        if session.link is not None:
            for exchange in session.in_flight.values():
                session.senders.setdefault(exchange, session.link)
        is_handshake = channel.era == "handshake"
        session.link = HandshakeLink(session, channel) if is_handshake else StatelessLink(session, channel)
    return session.link


def _read_version(initialize_answer: Envelope) -> str:
    members = parse_object(initialize_answer.result) or {}
    version = bytes(members.get("protocolVersion", b"")).strip(b'"').decode("ascii", "replace")
    return version if version in HANDSHAKE_VERSIONS else ASSUMED_VERSION


def _cancel(session: Session, envelope: Envelope) -> None:
    """Pass on `notifications/cancelled` under the id the server knows; what it still answers goes nowhere."""
    members = parse_object(envelope.params) or {}
    exchange = session.in_flight.get(bytes(members.get("requestId", b"")))
    if exchange is not None and session.link is not None:
        session.senders.get(exchange, session.link).cancel(exchange, envelope.params)
        exchange.fail(CancelledByClientError("The request has been cancelled by its client."))


def _build_sink(
    stream: EventStream, request_id: Json, finish: Callable[[], None], *, is_last: bool = True
) -> Callable[[Event], None]:
    """What an exchange is diverted into: its events as texts, and the end of it all after the answer."""

    def push(event: Event) -> None:
        if isinstance(event, FluidMCPError):
            stream.push(encode_rpc_error(event, request_id))
        elif event.is_answer:
            stream.push(encode_answer(request_id, event))
        else:
            stream.push(encode_event_message(event))
            return
        if is_last:
            stream.end()
        finish()

    return push


def _open(session: Session, stream: EventStream, reader: EventReader, *, is_standing: bool = False) -> HttpStream:
    chunks = _encode_events(session, stream, reader)
    return HttpStream(chunks, is_standing=is_standing, on_disconnect=reader.leave)


async def _encode_events(session: Session, stream: EventStream, reader: EventReader) -> AsyncGenerator[bytes, None]:
    encode_id = session.streams.encode_id
    try:
        if session.protocol_version >= PRIMING_SINCE and stream.last_given == 0:
            yield encode_priming(encode_id(stream, 0))
        async for event in reader:
            events = (event, *reader.take_waiting())
            yield b"".join(encode_event(data, event_id=encode_id(stream, sequence)) for sequence, data in events)
    finally:
        reader.leave()
