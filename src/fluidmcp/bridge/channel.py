"""The JSON-RPC link to one server process: ids of our own, and one table that tells whose answer a line is.

Two clients may use the same id at once, so ids and progress tokens on the wire are numbers of this channel; the
client's own are put back on the way out. A line that names no exchange of this channel goes to the channel's listener,
which knows whether one client owns the process; without a listener it reaches nobody.

All that is said to a server goes through here, whatever kind of client says it: so this is where the tools that an
entry does not serve are kept away, on the way in and from lists on the way out.
"""

import contextlib
import logging
from collections.abc import Callable, Iterable
from typing import Final, Literal, Protocol, cast

from msgspec import UNSET, Raw, UnsetType

from fluidmcp.bridge.exchange import Exchange
from fluidmcp.bridge.handshake_answers import answer_here, build_error
from fluidmcp.config.settings import ProcessLimits
from fluidmcp.config.tools import ToolFilter
from fluidmcp.delays import Delays
from fluidmcp.errors import CapacityError, ServerExitedError, ServerTimeoutError
from fluidmcp.processes.process import ServerProcess
from fluidmcp.protocol.jsonrpc import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    Envelope,
    InvalidMessageError,
    Json,
    encode_answer,
    encode_error,
    encode_notification,
    encode_raw,
    encode_request,
    parse_message,
    parse_object,
)
from fluidmcp.protocol.meta import replace_member, replace_progress_token
from fluidmcp.protocol.tool_lists import CALL_TOOL, LIST_TOOLS, is_misspelt_call, keep_tools, read_called_tool
from fluidmcp.protocol.translate import SUBSCRIPTION_ID, with_subscription_id

logger = logging.getLogger(__name__)

PROGRESS: Final = "notifications/progress"
CANCELLED: Final = "notifications/cancelled"
MAX_SHOWN_NAME: Final = 100

Era = Literal["handshake", "stateless"]


class ChannelListener(Protocol):
    """Who hears what a server says without naming one of our requests. Called by the event loop; must not raise."""

    def receive_question(self, question: Envelope) -> bool:
        """A request of the server. False: nobody can be asked, and the channel says so to the server."""
        ...

    def receive_notification(self, notification: Envelope) -> None:
        """A notification that belongs to no exchange: a log line, a changed list, a question that is withdrawn."""
        ...

    def receive_exit(self) -> None:
        """The process is gone; its exchanges have failed already."""
        ...


class Channel:
    """One per server process. `era` and `greeting` are set by the handshake, `listener` by whoever uses the channel."""

    def __init__(self, process: ServerProcess, limits: ProcessLimits, tools: ToolFilter | None = None) -> None:
        """`tools`: those that are served; None: all of them."""
        self._process = process
        self._limits = limits
        self._tools = tools
        self._exchanges: dict[int, Exchange] = {}
        self._last_wire_id = 0
        self._exit_callbacks: list[Callable[[], None]] = []
        self._clock = Delays[Exchange](limits.request_timeout_seconds, self._give_up)
        self.era: Era = "handshake"
        self.greeting: Envelope | None = None
        """What the server answered to `initialize`, or to `server/discover` in the stateless era."""
        self.listener: ChannelListener | None = None
        process.connect(self._receive_line, self._receive_exit)

    @property
    def package(self) -> str:
        return self._process.package

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive

    @property
    def stderr_tail(self) -> tuple[str, ...]:
        return self._process.stderr_tail()

    @property
    def exit_code(self) -> int | None:
        return self._process.exit_code

    @property
    def exit_description(self) -> str:
        return self._process.exit_description()

    @property
    def exchanges(self) -> Iterable[Exchange]:
        """Those in flight, oldest first."""
        return self._exchanges.values()

    async def exits_within(self, seconds: float) -> bool:
        """Whether the process has ended, its last words read, before so much time is over."""
        return await self._process.exits_within(seconds)

    def add_exit_callback(self, callback: Callable[[], None]) -> None:
        self._exit_callbacks.append(callback)

    async def stop(self) -> None:
        await self._process.stop()

    def send_request(
        self,
        method: str,
        params: Json | Raw | UnsetType,
        *,
        mentions_progress: bool = False,
        wants_notifications: bool = False,
        has_deadline: bool = True,
    ) -> Exchange:
        """Write one request; its answer, and notifications if wanted, come through the returned exchange.

        `mentions_progress`: the text of the message holds a progress token somewhere, so `params` must be looked at.
        `has_deadline`: whether the request timeout applies; a subscription has none.
        A call of a tool that is not served is answered as one that the server does not have, and not written.

        Raises:
            ServerExitedError: the process is gone.
            CapacityError: the server does not read its input.
        """
        if self._tools is not None and is_misspelt_call(method):
            return answer_here(method, build_error(METHOD_NOT_FOUND, "Method not found: it is written tools/call."))
        if self._tools is not None and method == CALL_TOOL:
            name, params = read_called_tool(params)
            if name is None or not self._tools.allows(name):
                return answer_here(method, _refuse_tool(name))
        if mentions_progress:
            wire_id, client_token = self._write_request(method, params, mentions_progress)
        else:
            self._last_wire_id = wire_id = self._last_wire_id + 1
            client_token = None
            self._process.write(encode_request(b"%d" % wire_id, method, params))
        exchange = Exchange(wire_id, method, client_token, wants_notifications)
        self._exchanges[wire_id] = exchange
        if has_deadline:
            exchange.clock = self._clock
            self._clock.begin(exchange)
        return exchange

    def send_again(self, exchange: Exchange, params: Json | Raw | UnsetType, *, mentions_progress: bool) -> None:
        """Write a request whose answer belongs to an exchange that goes on; raises like `send_request`."""
        wire_id, client_token = self._write_request(exchange.method, params, mentions_progress)
        exchange.wire_id = wire_id
        exchange.client_token = client_token
        self._exchanges[wire_id] = exchange
        self.start_clock(exchange)

    def send_notification(self, method: str, params: Json | Raw | UnsetType = UNSET) -> None:
        if self._tools is None or not (
            method == CALL_TOOL or is_misspelt_call(method)
        ):  # one without an id would be a call whose answer nobody reads
            self._process.write(encode_notification(method, params))

    def hand_over(self, old: Exchange, new: Exchange) -> None:
        """Let what the server still says about a request reach another exchange."""
        self.stop_clock(old)
        new.wire_id = old.wire_id
        if old.wire_id in self._exchanges:
            self._exchanges[old.wire_id] = new

    def answer_question(self, request_id: Json, answer: Envelope) -> None:
        """Write a client's answer to the server that asked; nothing if it is gone."""
        self._reply(encode_answer(request_id, answer))

    def refuse_question(self, request_id: Json, code: int, message: str) -> None:
        self._reply(encode_error(request_id, code, message))

    def cancel(self, exchange: Exchange, params: Json | Raw | UnsetType = UNSET) -> None:
        """Tell the server to stop working on a request, under the id it knows; nothing if it has answered."""
        if self._exchanges.get(exchange.wire_id) is not exchange:
            return
        del self._exchanges[exchange.wire_id]
        self.stop_clock(exchange)
        if not self.is_alive:
            return
        wire_text = b"%d" % exchange.wire_id
        known = replace_member(params, "requestId", wire_text)
        self._reply(encode_notification(CANCELLED, b'{"requestId":%b}' % wire_text if known is UNSET else known))

    def start_clock(self, exchange: Exchange) -> None:
        """Let the request timeout count from now."""
        exchange.clock = self._clock
        self._clock.begin(exchange)

    def stop_clock(self, exchange: Exchange) -> None:
        """Let a request wait without end, as while a person is asked something."""
        exchange.clock = None
        self._clock.end(exchange)

    def _write_request(
        self, method: str, params: Json | Raw | UnsetType, mentions_progress: bool
    ) -> tuple[int, Json | None]:
        self._last_wire_id = wire_id = self._last_wire_id + 1
        wire_text = b"%d" % wire_id
        client_token: Json | None = None
        if mentions_progress:
            params, client_token = replace_progress_token(params, wire_text)
        self._process.write(encode_request(wire_text, method, params))
        return wire_id, client_token

    def _receive_line(self, line: bytes) -> None:
        try:
            message = parse_message(line)
        except InvalidMessageError:
            if line.strip():
                # Some servers greet people on stdout. It is no message, and it may hold anything.
                logger.debug("package=%s wrote a line on stdout that is no message; ignored", self._process.package)
            return
        if message.method is UNSET:
            exchange = self._exchanges.pop(_parse_wire_id(message.id), None)
            if exchange is not None:
                self._receive_answer(exchange, message)
        elif message.is_request:
            self._receive_question(message)
        else:
            self._receive_notification(message)

    def _receive_answer(self, exchange: Exchange, answer: Envelope) -> None:
        if self._tools is not None and exchange.method == LIST_TOOLS:
            answer = _keep_tools(answer, self._tools)
        if exchange.translate is not None:
            translated = exchange.translate(answer)
            if translated is None:
                return
            answer = translated
        exchange.feed(answer)

    def _receive_question(self, question: Envelope) -> None:
        """A server's request always gets an answer, from here if nobody else can give it."""
        request_id = bytes(cast(Raw, question.id))
        if question.method == "ping":
            self._reply(encode_raw(request_id, b',"result":', b"{}"))
        elif self.listener is None or not self.listener.receive_question(question):
            self.refuse_question(request_id, METHOD_NOT_FOUND, "No client behind this gateway can answer that.")

    def _reply(self, line: Json) -> None:
        # A server that is gone, or does not read, need not hear it.
        with contextlib.suppress(ServerExitedError, CapacityError):
            self._process.write(line)

    def _receive_notification(self, message: Envelope) -> None:
        if message.method == PROGRESS:
            self._receive_progress(message)
        elif self.era == "stateless" and message.method == CANCELLED:
            self._receive_end_of_subscription(message)
        elif self.era == "stateless" and (exchange := self._find_subscription(message)) is not None:
            params = with_subscription_id(message.params, cast(Json, exchange.subscription_id))
            exchange.feed(Envelope(method=message.method, params=Raw(params)))
        elif self.listener is not None:
            self.listener.receive_notification(message)

    def _receive_progress(self, message: Envelope) -> None:
        members = parse_object(message.params)
        token = members.get("progressToken") if members else None
        exchange = self._exchanges.get(_parse_wire_id(UNSET if token is None else token))
        if exchange is not None:
            if exchange.clock is not None:
                self._clock.begin(exchange)
            if exchange.client_token is not None:
                params = replace_member(message.params, "progressToken", exchange.client_token)
                exchange.feed(Envelope(method=PROGRESS, params=Raw(cast(bytes, params))))

    def _find_subscription(self, message: Envelope) -> Exchange | None:
        """The subscription that a notification names in its `_meta` (2026-07-28, "Subscriptions")."""
        members = parse_object(message.params)
        meta = parse_object(members["_meta"]) if members and "_meta" in members else None
        if meta is None or SUBSCRIPTION_ID not in meta:
            return None
        exchange = self._exchanges.get(_parse_wire_id(meta[SUBSCRIPTION_ID]))
        return None if exchange is None or exchange.subscription_id is None else exchange

    def _receive_end_of_subscription(self, message: Envelope) -> None:
        """On stdio a server ends a subscription by cancelling the request that opened it."""
        members = parse_object(message.params) or {}
        exchange = self._exchanges.get(_parse_wire_id(members.get("requestId", UNSET)))
        if exchange is not None and exchange.subscription_id is not None:
            del self._exchanges[exchange.wire_id]
            result = b'{"resultType":"complete","_meta":{"%b":%b}}' % (
                SUBSCRIPTION_ID.encode(),
                exchange.subscription_id,
            )
            exchange.feed(Envelope(id=Raw(exchange.subscription_id), result=Raw(result)))

    def _give_up(self, exchange: Exchange) -> None:
        """The request timeout is over, counted from the last progress that the server has shown."""
        exchange.clock = None
        self.cancel(exchange)
        exchange.fail(
            ServerTimeoutError(
                f"The server {self._process.package} did not answer within {self._clock.seconds:g} seconds.",
                why=f"The request was {exchange.method[:100]}; it has been cancelled.",
                hint=f"Try again, or raise {self._limits.request_timeout_name} if the tool needs that long.",
            )
        )

    def _receive_exit(self) -> None:
        exchanges, self._exchanges = self._exchanges, {}
        for exchange in exchanges.values():
            exchange.fail(self._describe_exit())
        self._clock.clear()
        if self.listener is not None:
            self.listener.receive_exit()
        for callback in self._exit_callbacks:
            callback()

    def _describe_exit(self) -> ServerExitedError:
        return ServerExitedError(
            f"The server {self._process.package} ended while it worked on the request.",
            why=f"Its process went away: {self._process.exit_description()}.",
            hint="Send the request again; a new process is started for it.",
        )


def _refuse_tool(name: str | None) -> Envelope:
    """The answer of a server that has no such tool (2025-11-25, "Tools", "Error Handling")."""
    if name is None:
        return build_error(INVALID_PARAMS, "The params of tools/call must name the tool once, as a string.")
    return build_error(INVALID_PARAMS, f"Unknown tool: {name[:MAX_SHOWN_NAME]}")


def _keep_tools(answer: Envelope, tools: ToolFilter) -> Envelope:
    if answer.result is UNSET:
        return answer
    kept = keep_tools(answer.result, tools.allows)
    if kept is None:
        error = build_error(INTERNAL_ERROR, "The server's list of tools cannot be read, and not all of it is served.")
        return Envelope(id=answer.id, error=error.error)
    return Envelope(id=answer.id, result=Raw(kept))


def _parse_wire_id(request_id: Raw | UnsetType) -> int:
    """Our id as the number that it is, 0 (which names nobody) for anything else."""
    text = b"" if request_id is UNSET else bytes(request_id)
    return int(text) if len(text) < 20 and text.isdigit() else 0
