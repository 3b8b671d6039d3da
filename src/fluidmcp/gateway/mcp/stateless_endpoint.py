"""Messages of stateless-era clients over HTTP (2026-07-28, "Streamable HTTP").

Each POST stands for itself: no session, nothing to resume. The status tells what kind of error an answer holds, so an
event stream begins only when the server says something before its answer. A client that goes away cancels its request.
"""

from typing import Final

from msgspec import UNSET

from fluidmcp.bridge.stateless_calls import StatelessBridge, StatelessCall
from fluidmcp.bridge.tool_header_rules import ToolHeaders
from fluidmcp.gateway.http import HttpReply, HttpRequest, HttpStream
from fluidmcp.gateway.mcp.messages import ACCEPTED, Caller, Message, stream_exchange
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

    def __init__(self, bridge: StatelessBridge, tool_headers: ToolHeaders, subscriptions: SubscriptionEndpoint) -> None:
        self._bridge = bridge
        self._tool_headers = tool_headers
        self._subscriptions = subscriptions

    async def post(
        self, request: HttpRequest, message: Message, caller: Caller, form: ReplyForm
    ) -> HttpReply | HttpStream:
        """Answer one message. A notification is accepted and goes nowhere: the era has none that a server needs.

        Raises:
            FluidMCPError: what is not a matter of the message's form.
        """
        if message.envelope.is_answer:
            raise InvalidMessageError(INVALID_REQUEST, "Answers of clients do not exist in this revision.")
        request_id = message.request_id if message.envelope.is_request else None
        try:
            if request_id is None:
                check_stateless_notification(request.headers)
                return ACCEPTED
            return await self._answer(request, message.envelope, request_id, caller, form)
        except StatelessError as error:
            return HttpReply(error.status, encode_error(request_id, error.rpc_code, error.what, error.data))

    async def _answer(
        self, request: HttpRequest, envelope: Envelope, request_id: Json, caller: Caller, form: ReplyForm
    ) -> HttpReply | HttpStream:
        parsed = read_stateless_request(envelope, request.headers)
        if parsed.method == LISTEN:
            return await self._subscriptions.listen(parsed, request_id, caller, form, request)
        if parsed.method == "tools/call":
            await self._tool_headers.check(parsed, caller.principal, caller.token, request.headers)
        call = await self._bridge.open_call(parsed, caller.principal, caller.token, wants_notifications=form != "json")
        return await _reply(request, call, request_id, form)


async def _reply(
    request: HttpRequest, call: StatelessCall, request_id: Json, form: ReplyForm
) -> HttpReply | HttpStream:
    end_watch = request.watch_disconnect(call.cancel)
    is_handed_on = False
    try:
        event = await call.exchange.first_event(request.patience_seconds)
        if event is None and form == "json":
            event = await call.exchange.next_event()
        if event is not None and event.is_answer:
            status = 200 if event.error is UNSET else status_of_error(event.error)
            if form != "event-stream" or status != 200:
                return HttpReply(status, encode_answer(request_id, event))
        is_handed_on = True
        chunks = stream_exchange(call.exchange, request_id, event, call.finish)
        return HttpStream(chunks, on_disconnect=call.cancel)
    finally:
        end_watch()
        if not is_handed_on:
            call.finish()
