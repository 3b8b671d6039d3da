"""What changed in a package's server, on its way to those who asked to be told (2026-07-28, "Subscriptions").

A server of the handshake era tells of changes without being asked, each of its processes for itself. All processes of
a group (a package and, where people are known, one token) tell of the same lists, so a change that one of them tells
reaches every subscriber of the group.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

import msgspec
from msgspec import Raw

from fluidmcp.protocol.jsonrpc import INVALID_PARAMS, Envelope, Json
from fluidmcp.protocol.objects import read_object, read_text
from fluidmcp.protocol.stateless import StatelessError

GroupKey: TypeAlias = tuple[str, str | None]
"""A package and, where people are known, the digest of a token."""

TOOLS_CHANGED: Final = "notifications/tools/list_changed"
RESOURCE_UPDATED: Final = "notifications/resources/updated"

MAX_URIS: Final = 256
"""Resources that one subscription may name."""

MAX_PARAMS_BYTES: Final = 256 * 1024
"""Bound on the params of one subscription. They are kept as long as it lives, for the next process."""

LIST_FLAGS: Final = {
    TOOLS_CHANGED: ("toolsListChanged", "tools"),
    "notifications/prompts/list_changed": ("promptsListChanged", "prompts"),
    "notifications/resources/list_changed": ("resourcesListChanged", "resources"),
}
"""The member of a filter that asks for a notification, and the capability that promises it."""

CHANGES: Final = frozenset({*LIST_FLAGS, RESOURCE_UPDATED})
"""What belongs to no request: handshake-era servers tell it unasked, and stateless-era clients subscribe to it."""


@dataclass(frozen=True, slots=True)
class ChangeFilter:
    """What a subscriber wants to hear of: methods of list changes, and addresses of resources."""

    methods: frozenset[str] = frozenset()
    uris: tuple[str, ...] = ()

    def matches(self, notification: Envelope) -> bool:
        """A resource below a named one counts too: servers may tell of just the part that changed ("Subscriptions")."""
        if notification.method != RESOURCE_UPDATED:
            return notification.method in self.methods
        updated = read_text((read_object(notification.params) or {}).get("uri"))
        return updated is not None and any(_is_within(updated, uri) for uri in self.uris)

    def encode(self) -> Json:
        members: dict[str, object] = {LIST_FLAGS[name][0]: True for name in LIST_FLAGS if name in self.methods}
        if self.uris:
            members["resourceSubscriptions"] = list(self.uris)
        return msgspec.json.encode(members)

    def keep_promised(self, capabilities: Raw | None) -> "ChangeFilter":
        """The part that a handshake-era server with these capabilities tells of."""
        promised = read_object(capabilities) or {}

        def promises(capability: str, flag: str) -> bool:
            return bytes((read_object(promised.get(capability)) or {}).get(flag, b"")) == b"true"

        methods = frozenset(name for name in self.methods if promises(LIST_FLAGS[name][1], "listChanged"))
        return ChangeFilter(methods, self.uris if promises("resources", "subscribe") else ())


def _is_within(updated: str, uri: str) -> bool:
    return updated == uri or (uri != "" and updated.startswith(uri if uri[-1] == "/" else f"{uri}/"))


class _Wanted(msgspec.Struct, rename="camel"):
    tools_list_changed: bool | None = None
    prompts_list_changed: bool | None = None
    resources_list_changed: bool | None = None
    resource_subscriptions: list[str] | None = None


class _ListenParams(msgspec.Struct):
    notifications: _Wanted


_decode_params = msgspec.json.Decoder(_ListenParams).decode


def read_filter(params: Raw) -> ChangeFilter:
    """The filter of `subscriptions/listen`; kinds that are unknown here are passed over.

    Raises:
        StatelessError: -32602 when `notifications` has another form, names too many resources, or is too long.
    """
    if len(bytes(params)) > MAX_PARAMS_BYTES:
        raise StatelessError(INVALID_PARAMS, 400, f"The params of one subscription may have {MAX_PARAMS_BYTES} bytes.")
    try:
        wanted = _decode_params(params).notifications
    except (msgspec.DecodeError, RecursionError):
        raise StatelessError(INVALID_PARAMS, 400, "The member notifications of params must be a filter.") from None
    uris = tuple(dict.fromkeys(wanted.resource_subscriptions or ()))
    if len(uris) > MAX_URIS:
        raise StatelessError(INVALID_PARAMS, 400, f"One subscription may name {MAX_URIS} resources.")
    flags = (wanted.tools_list_changed, wanted.prompts_list_changed, wanted.resources_list_changed)
    return ChangeFilter(frozenset(name for name, flag in zip(LIST_FLAGS, flags, strict=True) if flag), uris)


class Subscriber(Protocol):
    def receive_change(self, notification: Envelope) -> None:
        """Something changed; called by the event loop, must not raise."""
        ...


class ChangeHub:
    """Who hears of the changes of which group. One per gateway."""

    def __init__(self) -> None:
        self._subscribers: dict[GroupKey, dict[Subscriber, None]] = {}
        self._tools_watchers: list[Callable[[GroupKey], None]] = []

    def add(self, group: GroupKey, subscriber: Subscriber) -> None:
        self._subscribers.setdefault(group, {})[subscriber] = None

    def remove(self, group: GroupKey, subscriber: Subscriber) -> None:
        """A second call does nothing."""
        own = self._subscribers.get(group, {})
        own.pop(subscriber, None)
        if not own:
            self._subscribers.pop(group, None)

    def watch_tools(self, callback: Callable[[GroupKey], None]) -> None:
        """Call back whenever the tools of any group may have changed."""
        self._tools_watchers.append(callback)

    def publish(self, group: GroupKey, notification: Envelope) -> None:
        """Tell all subscribers of a group what one of its processes has told."""
        for subscriber in tuple(self._subscribers.get(group, ())):
            subscriber.receive_change(notification)
        if notification.method == TOOLS_CHANGED:
            self.tell_tools_changed(group)

    def tell_tools_changed(self, group: GroupKey) -> None:
        """Call those of `watch_tools`; for a server that tells its subscribers itself."""
        for callback in self._tools_watchers:
            callback(group)
