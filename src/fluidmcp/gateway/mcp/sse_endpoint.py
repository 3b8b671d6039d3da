"""HTTP+SSE, the transport of revision 2024-11-05: one stream opened with GET carries everything the server says.

Its first event names the address for the client's messages, which are answered on the stream. The stream is the
session: when it closes, the session and its process end.
"""

import asyncio
from collections.abc import AsyncGenerator
from urllib.parse import parse_qs

from fluidmcp.bridge.session import Session, SessionTable
from fluidmcp.bridge.streams import EventReader
from fluidmcp.errors import FluidMCPError, RequestError
from fluidmcp.gateway.errors import encode_rpc_error
from fluidmcp.gateway.http import HttpReply, HttpRequest, HttpStream
from fluidmcp.gateway.mcp.messages import ACCEPTED, Caller, Message
from fluidmcp.gateway.mcp.session_endpoint import SessionEndpoint, read_initialize_params
from fluidmcp.protocol.jsonrpc import encode_answer
from fluidmcp.protocol.sse import encode_event

SESSION_PARAMETER = "sessionId"


class SseEndpoint:
    """`GET /{package}/sse`, and the messages that its clients send to `POST /{package}/sse?sessionId=...`."""

    def __init__(self, package: str, endpoints: SessionEndpoint, sessions: SessionTable, base_path: str) -> None:
        """`base_path` stands before our paths in the addresses of clients."""
        self._package = package
        self._base_path = base_path
        self._endpoints = endpoints
        self._sessions = sessions
        self._closing: set[asyncio.Task[None]] = set()

    def is_for_session(self, request: HttpRequest) -> bool:
        return SESSION_PARAMETER + "=" in request.query

    def get(self, caller: Caller) -> HttpStream:
        """Open a session. Raises CapacityError when the owner, or the gateway, has as many as allowed."""
        session = self._sessions.open(self._package, caller.principal, b"", is_single_stream=True)
        reader = session.streams.general.read()

        def leave() -> None:
            reader.leave()
            self._close(session)

        return HttpStream(self._encode_events(session, reader), is_standing=True, on_disconnect=leave)

    async def post(self, request: HttpRequest, message: Message, caller: Caller) -> HttpReply:
        """Take one message; its answer comes on the stream."""
        session_id = parse_qs(request.query, max_num_fields=20).get(SESSION_PARAMETER, [""])[0]
        session = self._endpoints.find(session_id, caller, is_single_stream=True)
        envelope = message.envelope
        if envelope.method == "initialize":
            session.initialize_params = read_initialize_params(envelope)
        elif not session.initialize_params:
            raise RequestError(400, "The first message of a session is initialize.")
        if not envelope.is_request:
            self._endpoints.receive(session, caller, envelope)
            return ACCEPTED
        general = session.streams.general
        try:
            if envelope.method == "initialize":
                answer = await self._endpoints.greet(session, caller)
                general.push(encode_answer(message.request_id, answer))
            else:
                await self._endpoints.post_on_stream(session, message, caller)
        except FluidMCPError as error:
            general.push(encode_rpc_error(error, message.request_id))
        return ACCEPTED

    async def _encode_events(self, session: Session, reader: EventReader) -> AsyncGenerator[bytes, None]:
        try:
            address = f"{self._base_path}/{self._package}/sse?{SESSION_PARAMETER}={session.session_id}"
            yield encode_event(address.encode(), event=b"endpoint")
            async for event in reader:
                events = (event, *reader.take_waiting())
                yield b"".join(encode_event(data, event=b"message") for _, data in events)
        finally:
            self._close(session)

    def _close(self, session: Session) -> None:
        """End the session and its process, without waiting for it; a second call does nothing."""
        task = asyncio.ensure_future(self._endpoints.close(session))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
