"""Messages of stateless-era clients over HTTP (2026-07-28, "Streamable HTTP").

Each POST stands for itself: no session, nothing to resume. The status tells what kind of error an answer holds, so an
event stream begins only when the server says something before its answer. A client that goes away cancels its request.
"""

from collections.abc import Callable
from typing import Final

from msgspec import UNSET

from fluidmcp.bridge.stateless_calls import StatelessBridge, StatelessCall
from fluidmcp.bridge.tool_header_rules import ToolHeaders
from fluidmcp.errors import FluidMCPError
from fluidmcp.gateway.http import HttpReply, HttpRequest, HttpStream
from fluidmcp.gateway.mcp.messages import ACCEPTED, Caller, Message
from fluidmcp.gateway.mcp.pending import Patience, PendingReply, stream_exchange
from fluidmcp.gateway.mcp.subscription_endpoint import SubscriptionEndpoint
from fluidmcp.protocol.headers import ReplyForm
from fluidmcp.protocol.jsonrpc import (
    INVALID_REQUEST,
    Envelope,
    InvalidMessageError,
    Json,
    encode_answer,
    encode_error,
)
from fluidmcp.protocol.stateless import StatelessError, check_stateless_notification, read_stateless_request
from fluidmcp.protocol.translate import status_of_error

LISTEN: Final = "subscriptions/listen"


class StatelessEndpoint:
    """The stateless-era requests of one package."""

    def __init__(
        self,
        bridge: StatelessBridge,
        tool_headers: ToolHeaders,
        subscriptions: SubscriptionEndpoint,
        patience: Patience,
    ) -> None:
        self._patience = patience
        self._bridge = bridge
        self._tool_headers = tool_headers
        self._subscriptions = subscriptions

    async def post(
        self, request: HttpRequest, message: Message, caller: Caller, form: ReplyForm
    ) -> HttpReply | HttpStream | PendingReply:
        """Answer one message. A notification is accepted and goes nowhere: the era has none that a server needs.

        Raises:
            FluidMCPError: what is not a matter of the message's form.
        """
        if message.envelope.is_answer:
            raise InvalidMessageError(INVALID_REQUEST, "Answers of clients do not exist in this revision.")
        request_id = message.request_id if message.is_request else None
        try:
            if request_id is None:
                check_stateless_notification(request.headers)
                return ACCEPTED
            return await self._answer(request, message.envelope, request_id, caller, form)
        except StatelessError as error:
            return _refuse(error, request_id)

    async def _answer(
        self, request: HttpRequest, envelope: Envelope, request_id: Json, caller: Caller, form: ReplyForm
    ) -> HttpReply | HttpStream | PendingReply:
        parsed = read_stateless_request(envelope, request.headers)
        if parsed.method == LISTEN:
            request.require_wait()
            return await self._subscriptions.listen(parsed, request_id, caller, form, request)
        if parsed.method == "tools/call":
            await self._tool_headers.check(
                parsed, caller.principal, caller.held, request.headers, can_wait=request.can_wait
            )
        call = await self._bridge.open_call(
            parsed, caller.principal, caller.held, wants_notifications=form != "json", can_wait=request.can_wait
        )
        return StatelessReply(call, request_id, form, self._patience)


class StatelessReply(PendingReply):
    """The reply to a request of the stateless era: its status tells what kind of error an answer holds."""

    __slots__ = ("_call", "_is_stream")

    def __init__(self, call: StatelessCall, request_id: Json, form: ReplyForm, patience: Patience) -> None:
        super().__init__(call.exchange, request_id, call.finish, patience=None if form == "json" else patience)
        self._call = call
        self._is_stream = form == "event-stream"

    def cancel(self) -> None:
        """The client went away: that cancels its request (2026-07-28, "Streamable HTTP")."""
        self._call.cancel()

    def describe_answer(self, answer: Envelope) -> HttpReply | None:
        status = 200 if answer.error is UNSET else status_of_error(answer.error)
        if self._is_stream and status == 200:
            return None
        return HttpReply(status, encode_answer(self.request_id, answer))

    def describe_failure(self, failure: FluidMCPError) -> HttpReply:
        if isinstance(failure, StatelessError):
            return _refuse(failure, self.request_id)
        return super().describe_failure(failure)

    def open_stream(self, first: Envelope | None) -> HttpStream:
        chunks = stream_exchange(self.exchange, self.request_id, first, self._call.finish)
        return HttpStream(chunks, on_disconnect=self._call.cancel)

    def _watch(self, request: HttpRequest) -> Callable[[], None]:
        return request.watch_disconnect(self.cancel)


def _refuse(error: StatelessError, request_id: Json | None) -> HttpReply:
    return HttpReply(error.status, encode_error(request_id, error.rpc_code, error.what, error.data))
