"""The reply to `subscriptions/listen`: an event stream that lasts until somebody ends it."""

from typing import cast

from msgspec import Raw

from fluidmcp.bridge.client_subscriptions import Attach, Subscription, SubscriptionRefusedError, Subscriptions
from fluidmcp.bridge.servers import PackageServers
from fluidmcp.errors import RequestError
from fluidmcp.gateway.http import HttpReply, HttpRequest, HttpStream
from fluidmcp.gateway.mcp.messages import Caller
from fluidmcp.gateway.mcp.pending import stream_exchange
from fluidmcp.protocol.headers import ReplyForm
from fluidmcp.protocol.jsonrpc import Json, encode_answer
from fluidmcp.protocol.stateless import StatelessRequest
from fluidmcp.protocol.translate import status_of_error


class SubscriptionEndpoint:
    """The subscriptions of one package's clients. `attach` gives a channel the listener that publishes its changes."""

    def __init__(self, servers: PackageServers, subscriptions: Subscriptions, attach: Attach) -> None:
        self._servers = servers
        self._subscriptions = subscriptions
        self._attach = attach

    async def listen(
        self,
        parsed: StatelessRequest,
        request_id: Json,
        caller: Caller,
        form: ReplyForm,
        request: HttpRequest,
    ) -> HttpReply | HttpStream:
        """Open a subscription; its first message is the acknowledgement. A client that goes away before ends it.

        Raises:
            RequestError: 406, the client takes no event stream.
            StatelessError: -32602, the filter has another form.
            CapacityError, ServerProcessError: it cannot be opened now.
        """
        if form == "json":
            raise RequestError(406, "The answer is an event stream.", hint="Send Accept: text/event-stream.")
        subscription = Subscription(
            parsed,
            request_id,
            caller.principal,
            caller.held,
            servers=self._servers,
            subscriptions=self._subscriptions,
            attach=self._attach,
        )
        end_watch = request.watch_disconnect(subscription.close)
        try:
            await subscription.open()
        except SubscriptionRefusedError as refusal:
            status = status_of_error(cast(Raw, refusal.answer.error))
            return HttpReply(status, encode_answer(request_id, refusal.answer))
        finally:
            end_watch()
        chunks = stream_exchange(subscription.exchange, request_id, None, subscription.close)
        return HttpStream(chunks, is_standing=True, on_disconnect=subscription.close)
