"""What a handshake-era session hears of a stateless-era server without asking: changed lists, updated resources.

In the handshake era a server tells a session of changed lists by itself, and of a resource after `resources/subscribe`.
In the stateless era (2026-07-28) everything has to be listed in one `subscriptions/listen`, which stays open.
"""

import contextlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, NamedTuple, cast

from msgspec import UNSET, Raw, UnsetType

from fluidmcp.bridge.channel import Channel
from fluidmcp.bridge.exchange import Event, Exchange
from fluidmcp.bridge.handshake_answers import EMPTY, answer_here, build_error, to_handshake_answer
from fluidmcp.bridge.session import Session
from fluidmcp.errors import FluidMCPError, ServerProcessError
from fluidmcp.protocol.jsonrpc import INTERNAL_ERROR, Envelope, Json
from fluidmcp.protocol.objects import read_object, read_text, write_object
from fluidmcp.protocol.translate import without_subscription_id

MAX_SUBSCRIBED_BYTES: Final = 256 * 1024
"""The URIs that one session subscribes to, in all."""

LISTEN: Final = "subscriptions/listen"
ACKNOWLEDGED: Final = "notifications/subscriptions/acknowledged"
RESOURCE_UPDATED: Final = "notifications/resources/updated"

_LIST_CHANGES: Final = (
    ("tools", "toolsListChanged"),
    ("prompts", "promptsListChanged"),
    ("resources", "resourcesListChanged"),
)


class _Change(NamedTuple):
    """A client's request to hear of a resource, or with `text` None not to hear of it any more."""

    exchange: Exchange
    uri: str
    text: Json | None
    """The URI as the client spelled it: a JSON string."""


class SessionSubscription:
    """The one `subscriptions/listen` of a session: the lists that the server may change, and the client's resources.

    A change opens a new one, and ends the old one as soon as the new one is acknowledged, so that nothing is lost in
    between; the client may hear twice what both say. At most two are open: further changes wait for the
    acknowledgement, and so do the answers to the requests that made them.
    """

    def __init__(
        self,
        session: Session,
        channel: Channel,
        describe_client: Callable[[Json], Json],
        previous: "SessionSubscription | None",
    ) -> None:
        """`describe_client` completes the params of a request. What `previous` heard of is taken over from it."""
        self._session = session
        self._channel = channel
        self._describe_client = describe_client
        offered = _read_offered(channel)
        self.has_resources = _is_offered(offered, "resources", "subscribe")
        """Whether the server lets its clients subscribe to resources."""
        self._list_changes = tuple(kind for name, kind in _LIST_CHANGES if _is_offered(offered, name, "listChanged"))
        self._uris: dict[str, Json] = {}
        """The resources of the last subscription that was acknowledged."""
        self._wanted: dict[str, Json] = {}
        """The resources of the one that is being opened."""
        self._current: Exchange | None = None
        self._opening: Exchange | None = None
        self._opening_changes: list[_Change] = []
        self._next_changes: list[_Change] = []
        self._is_refused = False
        if previous is not None:
            self._uris = previous._uris
            self._next_changes = previous._close()

    def begin(self) -> None:
        """Subscribe if there is something to hear, and the server has neither been asked nor refused."""
        if self._current is None and self._opening is None and not self._is_refused:
            if self._list_changes or self._uris or self._next_changes:
                self._open()

    def change(self, uri: str, text: Json | None) -> Exchange:
        """Hear of a resource, or with `text` None not any more; `text` is the URI as the client spelled it.

        The exchange is answered once the server has acknowledged it, and at once if that changes nothing.
        """
        method = "resources/unsubscribe" if text is None else "resources/subscribe"
        is_settled = self._current is not None and self._opening is None
        if is_settled and (uri in self._uris) == (text is not None):
            return answer_here(method, EMPTY)
        if text is not None and self._count_bytes() + len(text) > MAX_SUBSCRIBED_BYTES:
            return answer_here(method, build_error(INTERNAL_ERROR, "The session subscribes to too many resources."))
        exchange = Exchange(0, method, client_token=None, wants_notifications=False)
        self._next_changes.append(_Change(exchange, uri, text))
        if self._opening is None:
            self._open()
        return exchange

    def receive_late(self, notification: Envelope) -> None:
        """A notification that the server still sent for a subscription that has been ended here."""
        if notification.method == RESOURCE_UPDATED:
            uri = read_text((read_object(notification.params) or {}).get("uri"))
            if uri not in self._uris:
                return
        if notification.method != ACKNOWLEDGED:
            self._tell(notification)

    def _tell(self, notification: Envelope) -> None:
        params = without_subscription_id(notification.params)
        stripped = params if isinstance(params, UnsetType) else Raw(params)
        self._session.tell(Envelope(method=notification.method, params=stripped), is_related=False)

    def _count_bytes(self) -> int:
        changed = sum(len(change.text or b"") for change in (*self._opening_changes, *self._next_changes))
        return changed + sum(map(len, self._uris.values()))

    def _open(self) -> None:
        self._opening_changes, self._next_changes = self._next_changes, []
        self._wanted = dict(self._uris)
        for change in self._opening_changes:
            if change.text is None:
                self._wanted.pop(change.uri, None)
            else:
                self._wanted[change.uri] = change.text
        if not self._list_changes and not self._wanted:
            self._replace_current(None)
            return
        params = self._describe_client(_encode_filter(self._list_changes, self._wanted))
        try:
            exchange = self._channel.send_request(LISTEN, params, wants_notifications=True)
        except ServerProcessError as failure:
            self._refuse_changes(failure)
            return
        exchange.subscription_id = b"%d" % exchange.wire_id
        self._opening = exchange
        exchange.divert(partial(self._receive, exchange))

    def _receive(self, exchange: Exchange, event: Event) -> None:
        if isinstance(event, FluidMCPError) or event.is_answer:
            self._receive_end(exchange, event)
        elif event.method != ACKNOWLEDGED:
            self._tell(event)
        elif exchange is self._opening:
            self._opening = None
            self._is_refused = False
            # It stays open as long as the session; the request timeout counted only up to here.
            self._channel.stop_clock(exchange)
            self._replace_current(exchange)
            if self._next_changes:
                self._open()

    def _replace_current(self, exchange: Exchange | None) -> None:
        old, self._current = self._current, exchange
        if old is not None:
            self._cancel(old)
        self._uris = self._wanted
        changes, self._opening_changes = self._opening_changes, []
        for change in changes:
            change.exchange.feed(EMPTY)

    def _receive_end(self, exchange: Exchange, event: Event) -> None:
        """The server refused, or ended what it had acknowledged; then the next request subscribes again."""
        if exchange is self._current:
            self._current = None
        if exchange is not self._opening:
            return
        self._opening = None
        self._is_refused = self._current is None
        if isinstance(event, FluidMCPError):
            self._refuse_changes(event)
        elif event.error is not UNSET:
            self._refuse_changes(to_handshake_answer(event))
        else:
            self._refuse_changes(build_error(INTERNAL_ERROR, "The server ended the subscription before it began."))
        if self._next_changes:
            self._open()

    def _refuse_changes(self, reason: Event) -> None:
        changes, self._opening_changes = self._opening_changes, []
        for change in changes:
            if isinstance(reason, FluidMCPError):
                change.exchange.fail(reason)
            else:
                change.exchange.feed(reason)

    def _close(self) -> list[_Change]:
        """End everything in favour of another process; the changes that are not acknowledged yet."""
        exchanges = (self._current, self._opening)
        self._current = self._opening = None
        for exchange in exchanges:
            if exchange is not None:
                self._cancel(exchange)
        changes = [*self._opening_changes, *self._next_changes]
        self._opening_changes, self._next_changes = [], []
        return changes

    def _cancel(self, exchange: Exchange) -> None:
        # A server that does not read its input loses its process sooner or later.
        with contextlib.suppress(ServerProcessError):
            self._channel.cancel(exchange)


def _encode_filter(list_changes: tuple[str, ...], uris: Mapping[str, Json]) -> Json:
    """The params of `subscriptions/listen` (2026-07-28, "Subscriptions")."""
    members = {kind: Raw(b"true") for kind in list_changes}
    if uris:
        members["resourceSubscriptions"] = Raw(b"[%b]" % b",".join(uris.values()))
    return write_object({"notifications": Raw(write_object(members))})


def _read_offered(channel: Channel) -> dict[str, Raw]:
    """The capabilities of the server."""
    discovery = read_object(cast(Envelope, channel.greeting).result) or {}
    return read_object(discovery.get("capabilities")) or {}


def _is_offered(capabilities: Mapping[str, Raw], name: str, detail: str) -> bool:
    return bytes((read_object(capabilities.get(name)) or {}).get(detail, Raw(b""))) == b"true"
