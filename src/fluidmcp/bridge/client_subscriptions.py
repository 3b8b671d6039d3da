"""`subscriptions/listen` of stateless-era clients, behind a server of either era (2026-07-28, "Subscriptions").

A server of the stateless era gets one such request per subscription of a client. At one of the handshake era the
gateway subscribes to each named resource once per process, however many clients want it, and passes on what the
processes of the client's group tell. A subscription outlives the process: a new one takes over.
"""

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from typing import Final, TypeAlias, cast

import msgspec
from msgspec import UNSET, Raw

from fluidmcp.authentication.person import Held
from fluidmcp.authentication.principal import Principal
from fluidmcp.bridge.changes import TOOLS_CHANGED, ChangeFilter, ChangeHub, GroupKey, read_filter
from fluidmcp.bridge.channel import PROGRESS, Channel
from fluidmcp.bridge.exchange import MAX_WAITING_EVENTS, Event, Exchange
from fluidmcp.bridge.servers import ChannelLease, PackageServers
from fluidmcp.bridge.session import CancelledByClientError
from fluidmcp.errors import CapacityError, FluidMCPError, ServerBackingOffError, ServerExitedError, ServerProcessError
from fluidmcp.protocol.input_required import list_interactive_capabilities
from fluidmcp.protocol.jsonrpc import Envelope, Json
from fluidmcp.protocol.objects import Text, read_object, write_object
from fluidmcp.protocol.stateless import LOG_LEVEL, StatelessRequest
from fluidmcp.protocol.translate import SUBSCRIPTION_ID, with_subscription_id
from fluidmcp.undo import undo_on_failure

LISTEN: Final = "subscriptions/listen"
ACKNOWLEDGED: Final = "notifications/subscriptions/acknowledged"

MAX_SUBSCRIPTIONS: Final = 1000
MAX_SUBSCRIPTIONS_PER_OWNER: Final = 20

MAX_ATTEMPTS: Final = 3
"""New processes that a subscription tries in a row when its own has gone."""

MAX_PAUSE_SECONDS: Final = 10.0
"""How long a subscription waits for a process that may not be started yet; if that is not enough it ends."""

MAX_TIMER_SECONDS: Final = 24 * 60 * 60.0
"""The wall clock may be set: the end of a token is looked at again after this time."""

_NOT_OF_SUBSCRIPTIONS: Final = frozenset((PROGRESS, "notifications/message"))
"""What a server may say of other requests, and never of a subscription."""

Attach: TypeAlias = Callable[[Channel, Principal | None], object]
"""Makes sure that a channel has the listener which publishes its changes."""


class SubscriptionRefusedError(FluidMCPError):
    """The server answered `subscriptions/listen` with an error; `answer` is that answer."""

    code = "subscription_refused"

    def __init__(self, answer: Envelope) -> None:
        super().__init__("The server refused the subscription.")
        self.answer = answer


class Subscriptions:
    """All subscriptions of a gateway, bounded in all and per owner."""

    def __init__(
        self,
        *,
        max_all: int = MAX_SUBSCRIPTIONS,
        max_per_owner: int = MAX_SUBSCRIPTIONS_PER_OWNER,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.hub = ChangeHub()
        self.now = now
        self._max_all = max_all
        self._max_per_owner = max_per_owner
        self._count = 0
        self._by_owner: Counter[tuple[str, str, str]] = Counter()
        self._watches: dict[Channel, ChannelWatch] = {}

    def __len__(self) -> int:
        return self._count

    def watch(self, channel: Channel) -> "ChannelWatch":
        """What the subscribers of a running handshake-era process share."""
        watch = self._watches.get(channel)
        if watch is None:
            watch = self._watches[channel] = ChannelWatch(channel)
            channel.add_exit_callback(partial(self._receive_exit, watch))
        return watch

    def claim(self, principal: Principal | None) -> Callable[[], None]:
        """A place for one more; the returned function gives it back, once. Raises CapacityError."""
        owner = None if principal is None else principal.owner
        if self._count >= self._max_all or (owner is not None and self._by_owner[owner] >= self._max_per_owner):
            raise CapacityError(
                "No further subscription can be opened now.",
                why="As many as allowed are open.",
                hint="Close one that is not needed any more.",
                retry_after_seconds=60,
            )
        self._count += 1
        if owner is not None:
            self._by_owner[owner] += 1
        is_given_back = False

        def give_back() -> None:
            nonlocal is_given_back
            if is_given_back:
                return
            is_given_back = True
            self._count -= 1
            if owner is not None:
                self._by_owner[owner] -= 1
                if not self._by_owner[owner]:
                    del self._by_owner[owner]

        return give_back

    def _receive_exit(self, watch: "ChannelWatch") -> None:
        del self._watches[watch.channel]
        for subscriber in tuple(watch.subscribers):
            subscriber.receive_exit()


class _Resource:
    """A resource that a process was asked to watch, and how many subscribers want that."""

    __slots__ = ("outcome", "users")

    def __init__(self) -> None:
        self.users = 0
        self.outcome: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        """The answer to `resources/subscribe`, or the failure in its place."""


class ChannelWatch:
    """What the subscribers of one handshake-era process share: the news of its end, and its resources."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.subscribers: dict[Subscription, None] = {}
        self._resources: dict[str, _Resource] = {}

    def take(self, uri: str) -> _Resource:
        """Subscribe to a resource unless that was done already. Raises like `Channel.send_request`."""
        resource = self._resources.get(uri)
        if resource is None:
            exchange = self.channel.send_request("resources/subscribe", _name(uri))
            resource = self._resources[uri] = _Resource()
            exchange.divert(partial(self._receive_outcome, uri, resource))
        resource.users += 1
        return resource

    def give_back(self, uri: str, resource: _Resource) -> None:
        """Unsubscribe if nobody else wants it; nobody waits for the answer."""
        resource.users -= 1
        if resource.users or self._resources.get(uri) is not resource:
            return
        del self._resources[uri]
        with contextlib.suppress(ServerProcessError):
            self.channel.send_request("resources/unsubscribe", _name(uri))

    def _receive_outcome(self, uri: str, resource: _Resource, outcome: Event) -> None:
        resource.outcome.set_result(outcome)
        is_refused = isinstance(outcome, FluidMCPError) or outcome.error is not UNSET
        if is_refused and self._resources.get(uri) is resource:
            # Whoever comes later asks anew.
            del self._resources[uri]


class HeldResources:
    """The resources of one subscription at one process, from `take` to `release`, each called once."""

    def __init__(self, watch: ChannelWatch) -> None:
        self._watch = watch
        self._taken: dict[str, _Resource] = {}

    async def take(self, uris: tuple[str, ...]) -> tuple[str, ...]:
        """Subscribe to different resources; those that the server did not refuse.

        Raises:
            ServerProcessError: the process went away, or did not answer.
        """
        for uri in uris:
            self._taken[uri] = self._watch.take(uri)
        if self._taken:
            # Others wait for the same outcomes: whoever is cancelled here must not cancel them.
            await asyncio.wait([resource.outcome for resource in self._taken.values()])
        outcomes = {uri: resource.outcome.result() for uri, resource in self._taken.items()}
        for outcome in outcomes.values():
            if isinstance(outcome, FluidMCPError):
                raise outcome
        return tuple(uri for uri, outcome in outcomes.items() if cast(Envelope, outcome).error is UNSET)

    def release(self) -> None:
        for uri, resource in self._taken.items():
            self._watch.give_back(uri, resource)


def _name(uri: str) -> Raw:
    return Raw(msgspec.json.encode({"uri": uri}))


class Subscription:
    """One `subscriptions/listen` of one client, from `open` to `close`.

    `exchange` is what the client reads: the acknowledgement, changes, and at the end an answer or a failure.
    """

    def __init__(
        self,
        request: StatelessRequest,
        request_id: Json,
        principal: Principal | None,
        held: Held,
        *,
        servers: PackageServers,
        subscriptions: Subscriptions,
        attach: Attach,
    ) -> None:
        """Takes one of the places of `subscriptions`, which `close` gives back.

        Raises:
            StatelessError: -32602, the filter has another form.
            CapacityError: too many subscriptions are open.
        """
        self._wanted = read_filter(request.params)
        self._capabilities = list_interactive_capabilities(request.capabilities)
        self._params = _without_log_level(request)
        self._mentions_progress = "progressToken" in request.meta
        self._request_id = request_id
        self._principal = principal
        self._from_logins = held
        self._servers = servers
        self._subscriptions = subscriptions
        self._attach = attach
        self._group: GroupKey = (servers.package, servers.build_key(principal).token_digest)
        self._lease: ChannelLease | None = None
        self._is_subscribed = False
        """Whether a process that has not gone serves this subscription."""
        self._wire: Exchange | None = None
        """Its request to a stateless-era server."""
        self._watch: ChannelWatch | None = None
        self._held: HeldResources | None = None
        self._honoured = ChangeFilter()
        """What a handshake-era server is listened to for."""
        self._is_acknowledged = False
        self._early: deque[Envelope] = deque(maxlen=MAX_WAITING_EVENTS)
        """Changes that were told before the acknowledgement, which comes first."""
        self._task: asyncio.Task[None] | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self.exchange = Exchange(0, LISTEN, client_token=None, wants_notifications=True)
        self._give_back = subscriptions.claim(principal)

    async def open(self) -> None:
        """Subscribe at the server; when this returns, `exchange` holds the acknowledgement.

        Raises:
            SubscriptionRefusedError: the server does not take the subscription.
            CancelledByClientError: `close` was called meanwhile.
            ServerProcessError: as `PackageServers.acquire_stateless` and `Channel.send_request`.
        """
        task = self._task = asyncio.get_running_loop().create_task(self._subscribe())
        with undo_on_failure(self.close):
            await asyncio.wait((task,))
            if task.cancelled():
                raise CancelledByClientError("The client went away before its subscription was open.")
            task.result()
        self._check_expiry()

    def close(self) -> None:
        """The client or the gateway goes away: unsubscribe, and let go of the process. Twice is once.

        After this the client is told, if it is still there, only that the subscription has ended.
        """
        self._end()
        self._give_back()

    def receive_change(self, notification: Envelope) -> None:
        """A handshake-era process of the group told of a change."""
        if self._honoured.matches(notification):
            params = Raw(with_subscription_id(notification.params, self._request_id))
            self._tell(Envelope(method=notification.method, params=params))

    def receive_exit(self) -> None:
        """The process is gone. A new one takes over; changes in between are not made up."""
        # While the subscription is being made, the task that makes it hears of the exit too.
        if self._is_subscribed:
            self._leave_server()
            self._task = asyncio.get_running_loop().create_task(self._subscribe_again())

    async def _subscribe(self) -> None:
        self._lease = await self._servers.acquire_stateless(
            self._principal, self._from_logins, capabilities=self._capabilities, wants_logs=False, is_alone=False
        )
        channel = self._lease.worker
        self._attach(channel, self._principal)
        if channel.era == "stateless":
            await self._subscribe_once(channel)
        else:
            await self._subscribe_each(channel)

    async def _subscribe_again(self) -> None:
        for _ in range(MAX_ATTEMPTS):
            try:
                await self._subscribe()
                return
            except (CapacityError, ServerBackingOffError) as failure:
                self._leave_server()
                if failure.retry_after_seconds > MAX_PAUSE_SECONDS:
                    break
                await asyncio.sleep(failure.retry_after_seconds)
            except SubscriptionRefusedError:
                break
            except FluidMCPError:
                self._leave_server()
        self._end()

    async def _subscribe_once(self, channel: Channel) -> None:
        """A subscription of our own at a server that knows subscriptions."""
        exchange = self._wire = channel.send_request(
            LISTEN, self._params, mentions_progress=self._mentions_progress, wants_notifications=True
        )
        exchange.subscription_id = self._request_id
        exchange.translate = self._translate_end
        event = await exchange.next_event()
        while not event.is_answer and event.method != ACKNOWLEDGED:
            self._receive(event)
            event = await exchange.next_event()
        if event.error is not UNSET:
            raise SubscriptionRefusedError(event)
        # The request timeout counted only up to here.
        channel.stop_clock(exchange)
        self._is_subscribed = True
        self._receive(event)
        exchange.divert(self._receive)

    async def _subscribe_each(self, channel: Channel) -> None:
        """What a handshake-era server tells anyhow, and the resources that it has to be asked for."""
        greeting = read_object(cast(Envelope, channel.greeting).result) or {}
        self._honoured = self._wanted.keep_promised(greeting.get("capabilities"))
        # Before the first question, so that no change between its answer and this one is missed.
        self._subscriptions.hub.add(self._group, self)
        self._watch = self._subscriptions.watch(channel)
        self._watch.subscribers[self] = None
        self._held = HeldResources(self._watch)
        uris = await self._held.take(self._honoured.uris)
        if not channel.is_alive:
            # The process ended after its last answer, and told so while nothing was subscribed yet.
            raise ServerExitedError("The server ended while it was subscribed to.", hint="Send the request again.")
        self._honoured = ChangeFilter(self._honoured.methods, uris)
        self._is_subscribed = True
        params = with_subscription_id(b'{"notifications":%b}' % self._honoured.encode(), self._request_id)
        self._acknowledge(Envelope(method=ACKNOWLEDGED, params=Raw(params)))

    def _receive(self, event: Event) -> None:
        """What a stateless-era server says of the subscription."""
        if isinstance(event, FluidMCPError):
            self.receive_exit()
        elif event.is_answer:
            self.exchange.feed(event)
            self._end()
        elif event.method == ACKNOWLEDGED:
            self._acknowledge(event)
        elif event.method not in _NOT_OF_SUBSCRIPTIONS:
            if event.method == TOOLS_CHANGED:
                self._subscriptions.hub.tell_tools_changed(self._group)
            self._tell(event)

    def _acknowledge(self, acknowledgement: Envelope) -> None:
        if self._is_acknowledged:
            return  # by a process whose place this one took
        self._is_acknowledged = True
        self.exchange.feed(acknowledgement)
        for notification in self._early:
            if self._watch is None or self._honoured.matches(notification):
                self._tell(notification)
        self._early.clear()

    def _tell(self, notification: Envelope) -> None:
        if not self._is_acknowledged:
            self._early.append(notification)
            return
        self.exchange.feed(notification)
        if self.exchange.is_done:
            # The client reads more slowly than the server writes.
            self._leave_server()

    def _translate_end(self, answer: Envelope) -> Envelope:
        if answer.error is not UNSET or answer.result is UNSET:
            return answer
        return Envelope(id=answer.id, result=Raw(with_subscription_id(answer.result, self._request_id)))

    def _check_expiry(self) -> None:
        """End the subscription once its token has expired: no message is sent after that."""
        if self._principal is None or self._principal.expires_at is None or self.exchange.is_done:
            return
        remaining_seconds = self._principal.expires_at - self._subscriptions.now()
        if remaining_seconds <= 0:
            self._end()
            return
        delay = min(max(remaining_seconds, 0.002), MAX_TIMER_SECONDS)
        self._expiry = asyncio.get_running_loop().call_later(delay, self._check_expiry)

    def _end(self) -> None:
        """Nothing more comes: say so, as a server does that ends a subscription. Twice is once."""
        result = b'{"resultType":"complete","_meta":{"%b":%b}}' % (SUBSCRIPTION_ID.encode(), self._request_id)
        self.exchange.feed(Envelope(result=Raw(result)))
        if self._expiry is not None:
            self._expiry.cancel()
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
        self._leave_server()

    def _leave_server(self) -> None:
        self._is_subscribed = False
        self._subscriptions.hub.remove(self._group, self)
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.subscribers.pop(self, None)
        held, self._held = self._held, None
        if held is not None:
            held.release()
        lease, self._lease = self._lease, None
        wire, self._wire = self._wire, None
        if lease is None:
            return
        if wire is not None and not wire.is_done:
            lease.worker.cancel(wire)
        lease.release()


def _without_log_level(request: StatelessRequest) -> Text:
    """A subscription gets no log lines (2026-07-28, "Logging"); on stdio they would reach somebody else."""
    if LOG_LEVEL not in request.meta:
        return request.params
    meta = {name: value for name, value in request.meta.items() if name != LOG_LEVEL}
    return write_object({**request.members, "_meta": Raw(write_object(meta))})
