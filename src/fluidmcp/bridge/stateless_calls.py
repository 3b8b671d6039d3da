"""Requests of stateless-era clients (2026-07-28), carried to a server of either era.

A server of the stateless era gets the params as they came, and its answers pass unchanged. For one of the handshake era
the gateway is the client: what describes the client goes from the params, results say what the stateless era wants to
know, and questions of the server become answers that ask (`bridge/suspended`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias, cast

import msgspec
from msgspec import UNSET, Raw

from fluidmcp.authentication.person import Held
from fluidmcp.authentication.principal import Principal
from fluidmcp.bridge.changes import CHANGES, GroupKey
from fluidmcp.bridge.channel import CANCELLED, Channel
from fluidmcp.bridge.exchange import Exchange
from fluidmcp.bridge.servers import ChannelLease, PackageServers
from fluidmcp.bridge.suspended import RunningCall, SuspendedCalls
from fluidmcp.errors import WouldWaitError
from fluidmcp.protocol.input_required import list_interactive_capabilities, read_input_responses
from fluidmcp.protocol.jsonrpc import INVALID_PARAMS, Envelope
from fluidmcp.protocol.objects import read_object, read_text
from fluidmcp.protocol.stateless import LOG_LEVELS, StatelessError, StatelessRequest
from fluidmcp.protocol.translate import INPUT_METHODS, encode_handshake_params, to_discover_result

LOG_MESSAGE: Final = "notifications/message"

Publish: TypeAlias = Callable[[GroupKey, Envelope], None]


class ChannelCalls:
    """What is in flight on one channel for stateless-era clients; hears what its server says without naming a request.

    On stdio a question or a log line does not tell to which request it belongs. Whoever may be asked something, or
    wants log lines, is the only one of that kind on its channel (`PackageServers.acquire_stateless`).
    """

    def __init__(self, channel: Channel, group: GroupKey, publish: Publish) -> None:
        self._channel = channel
        self._group = group
        self._publish = publish
        self._calls: dict[RunningCall, None] = {}
        self._level: str | None = None
        greeting = (read_object(channel.greeting.result) if channel.greeting is not None else None) or {}
        is_handshake = channel.era == "handshake"
        self.server_info = greeting.get("serverInfo") if is_handshake else None
        self._takes_level = is_handshake and "logging" in (read_object(greeting.get("capabilities")) or {})
        channel.listener = self

    def add(self, call: RunningCall) -> None:
        self._calls[call] = None

    def remove(self, call: RunningCall) -> None:
        self._calls.pop(call, None)

    async def set_level(self, level: str) -> None:
        """Make a handshake-era server send log lines from `level` on, where it does not do so already.

        Raises:
            FluidMCPError: the process went away, or did not answer.
        """
        if self._takes_level and level != self._level:
            params = Raw(msgspec.json.encode({"level": level}))
            answer = await self._channel.send_request("logging/setLevel", params).answer()
            if answer.error is UNSET:
                self._level = level

    def receive_question(self, question: Envelope) -> bool:
        if self._channel.era == "stateless":
            return False
        asking = [exchange for exchange in self._channel.exchanges if exchange.method in INPUT_METHODS]
        if len(asking) != 1:
            # It may be the question of any of them, or of none.
            return False
        call = next((call for call in self._calls if call.exchange is asking[0]), None)
        return call is not None and call.receive_question(question)

    def receive_notification(self, notification: Envelope) -> None:
        if notification.method == LOG_MESSAGE:
            self._receive_log_line(notification)
        elif self._channel.era == "handshake" and notification.method == CANCELLED:
            members = read_object(notification.params) or {}
            for call in self._calls:
                call.withdraw(bytes(members.get("requestId", b"")))
        elif self._channel.era == "handshake" and notification.method in CHANGES:
            self._publish(self._group, notification)

    def receive_exit(self) -> None:
        for call in list(self._calls):
            call.receive_exit()

    def _receive_log_line(self, notification: Envelope) -> None:
        """Only to the request that asked for log lines, and from its level on (2026-07-28, "Logging")."""
        listening = [call for call in self._calls if call.request.log_level is not None]
        level = read_text((read_object(notification.params) or {}).get("level"))
        if len(listening) == 1 and level in LOG_LEVELS:
            call = listening[0]
            if LOG_LEVELS.index(level) >= LOG_LEVELS.index(cast(str, call.request.log_level)):
                call.exchange.feed(notification)


@dataclass(frozen=True, slots=True)
class StatelessCall:
    """What one HTTP request of a stateless-era client waits for."""

    exchange: Exchange
    """Its events, ending with the answer as the client gets it."""
    _running: RunningCall | None = None

    def finish(self) -> None:
        """The reply is made; every call needs it. The server hears of it if it has not answered."""
        if self._running is not None:
            self._running.finish(self.exchange)

    def cancel(self) -> None:
        """The client went away: the server is told, and the exchange fails, so that whoever reads it comes to an end.

        Nothing once the exchange has its answer.
        """
        if self._running is not None:
            self._running.cancel(self.exchange)


class StatelessBridge:
    """The stateless-era requests of one package. `publish` hears of changed lists and resources."""

    def __init__(self, servers: PackageServers, suspended: SuspendedCalls, publish: Publish) -> None:
        self._servers = servers
        self._suspended = suspended
        self._publish = publish

    def attach(self, channel: Channel, principal: Principal | None) -> ChannelCalls:
        """The listener of a channel from `acquire_stateless`, made by the first who asks."""
        listener = channel.listener
        if isinstance(listener, ChannelCalls):
            return listener
        group = (self._servers.package, self._servers.build_key(principal).token_digest)
        return ChannelCalls(channel, group, self._publish)

    async def open_call(
        self,
        request: StatelessRequest,
        principal: Principal | None,
        held: Held,
        *,
        wants_notifications: bool,
        can_wait: bool = True,
    ) -> StatelessCall:
        """Send a request to a server process, started if there is none, or continue the call that it is a retry of.

        Raises:
            StatelessError: -32602 with 400, for a retry that continues nothing or brings malformed answers.
            ServerProcessError, WouldWaitError: as `PackageServers.acquire_stateless` and `Channel.send_request`.
        """
        if request.method in INPUT_METHODS and "requestState" in request.members:
            resumed = self._suspended.resume(
                self._servers.package, request, principal, wants_notifications=wants_notifications
            )
            if resumed is not None:
                return StatelessCall(resumed.exchange, resumed)
        lease = await self._servers.acquire_stateless(
            principal,
            held,
            capabilities=list_interactive_capabilities(request.capabilities),
            wants_logs=request.log_level is not None,
            is_alone=request.method in INPUT_METHODS,
            can_wait=can_wait,
        )
        is_sent = False
        try:
            if lease.worker.era == "handshake" and request.method == "server/discover":
                return _discover(lease.worker)
            if request.log_level is not None and lease.worker.era == "handshake":
                if not can_wait:
                    raise WouldWaitError
                await self.attach(lease.worker, principal).set_level(request.log_level)
            running = self._send(lease, request, principal, wants_notifications=wants_notifications)
            is_sent = True
            return StatelessCall(running.exchange, running)
        finally:
            if not is_sent:
                lease.release()

    def _send(
        self, lease: ChannelLease, request: StatelessRequest, principal: Principal | None, *, wants_notifications: bool
    ) -> RunningCall:
        channel = lease.worker
        calls = self.attach(channel, principal)
        early_responses: dict[str, Raw] = {}
        if channel.era == "stateless":
            params = request.params
        else:
            early_responses = _read_early_responses(request)
            params = encode_handshake_params(request, None)
        exchange = channel.send_request(
            request.method,
            params,
            mentions_progress="progressToken" in request.meta,
            wants_notifications=wants_notifications,
        )

        def end(call: RunningCall) -> None:
            calls.remove(call)
            lease.release()

        running = RunningCall(
            channel,
            exchange,
            request,
            principal,
            server_info=calls.server_info,
            early_responses=early_responses,
            suspended=self._suspended,
            on_end=end,
        )
        calls.add(running)
        return running


def _read_early_responses(request: StatelessRequest) -> dict[str, Raw]:
    """Answers without a state belong to no call that waits: the call begins anew, and its server asks anew.

    Raises:
        StatelessError: -32602 with 400, for a state, which can only be a wrong one, and for malformed answers.
    """
    if request.method not in INPUT_METHODS:
        return {}
    responses, request_state = read_input_responses(request.members)
    if request_state is not None:
        raise StatelessError(INVALID_PARAMS, 400, "The requestState is not one of this request.")
    return responses or {}


def _discover(channel: Channel) -> StatelessCall:
    """The answer for a handshake-era server, made from what it said of itself when it was greeted."""
    greeting = cast(Envelope, channel.greeting)
    exchange = Exchange(0, "server/discover", None, False)
    exchange.feed(Envelope(result=Raw(to_discover_result(cast(Raw, greeting.result)))))
    return StatelessCall(exchange)
