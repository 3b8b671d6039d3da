"""The JSON-RPC link to one server process: ids of our own, and one table that tells whose answer a line is.

Two clients may use the same id at once, so ids and progress tokens on the wire are numbers of this channel; the
client's own are put back on the way out. A line that names no exchange of this channel reaches nobody.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, cast

from msgspec import UNSET, Raw, UnsetType

from fluidmcp.bridge.exchange import Exchange
from fluidmcp.errors import ServerExitedError, ServerTimeoutError
from fluidmcp.processes.process import ServerProcess
from fluidmcp.protocol.jsonrpc import (
    METHOD_NOT_FOUND,
    Envelope,
    InvalidMessageError,
    Json,
    encode_error,
    encode_notification,
    encode_raw,
    encode_request,
    parse_message,
    parse_object,
)
from fluidmcp.protocol.meta import replace_member, replace_progress_token

logger = logging.getLogger(__name__)

PROGRESS: Final = "notifications/progress"
CANCELLED: Final = "notifications/cancelled"


class Channel:
    """One per server process. `is_exclusive`: a single client owns the process, so what has no address is its."""

    def __init__(self, process: ServerProcess, *, is_exclusive: bool, request_timeout_seconds: float) -> None:
        self._process = process
        self._is_exclusive = is_exclusive
        self._request_timeout_seconds = request_timeout_seconds
        self._exchanges: dict[int, Exchange] = {}
        self._last_wire_id = 0
        self._exit_callbacks: list[Callable[[], None]] = []
        self.initialize_answer: Envelope | None = None
        """What the server answered to `initialize`, once it has."""
        process.connect(self._receive_line, self._receive_exit)

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive

    @property
    def stderr_tail(self) -> tuple[str, ...]:
        return self._process.stderr_tail()

    @property
    def exit_description(self) -> str:
        return self._process.exit_description()

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
    ) -> Exchange:
        """Write one request; its answer, and notifications if wanted, come through the returned exchange.

        `mentions_progress`: the text of the message holds a progress token somewhere, so `params` must be looked at.

        Raises:
            ServerExitedError: the process is gone.
            CapacityError: the server does not read its input.
        """
        self._last_wire_id = wire_id = self._last_wire_id + 1
        wire_text = b"%d" % wire_id
        client_token: Json | None = None
        if mentions_progress:
            params, client_token = replace_progress_token(params, wire_text)
        self._process.write(encode_request(wire_text, method, params))
        exchange = Exchange(wire_id, client_token=client_token, wants_notifications=wants_notifications)
        self._exchanges[wire_id] = exchange
        exchange.deadline = asyncio.get_running_loop().call_later(
            self._request_timeout_seconds, self._receive_timeout, exchange, method
        )
        return exchange

    def send_notification(self, method: str, params: Json | Raw | UnsetType = UNSET) -> None:
        self._process.write(encode_notification(method, params))

    def cancel(self, exchange: Exchange, params: Json | Raw | UnsetType = UNSET) -> None:
        """Tell the server to stop working on a request, under the id it knows; nothing if it has answered."""
        if self._exchanges.pop(exchange.wire_id, None) is None:
            return
        if exchange.deadline is not None:
            exchange.deadline.cancel()
        if not self.is_alive:
            return
        wire_text = b"%d" % exchange.wire_id
        known = replace_member(params, "requestId", wire_text)
        self.send_notification(CANCELLED, b'{"requestId":%b}' % wire_text if known is UNSET else known)

    def _receive_line(self, line: bytes) -> None:
        try:
            message = parse_message(line)
        except InvalidMessageError:
            if line.strip():
                # Some servers greet people on stdout. It is no message, and it may hold anything.
                logger.debug("package=%s wrote a line on stdout that is no message; ignored", self._process.package)
            return
        if message.is_answer:
            self._receive_answer(message)
        elif message.is_request:
            self._answer_server(message)
        else:
            self._receive_notification(message)

    def _receive_answer(self, answer: Envelope) -> None:
        exchange = self._exchanges.pop(_parse_wire_id(answer.id), None)
        if exchange is not None:
            exchange.feed(answer)

    def _answer_server(self, request: Envelope) -> None:
        """A server's request always gets an answer; no client can be asked yet, so only `ping` gets a good one."""
        request_id = bytes(cast(Raw, request.id))
        if request.method == "ping":
            reply = encode_raw(request_id, b',"result":', b"{}")
        else:
            reply = encode_error(request_id, METHOD_NOT_FOUND, "No client behind this gateway can answer that.")
        if self.is_alive:
            self._process.write(reply)

    def _receive_notification(self, message: Envelope) -> None:
        if message.method == PROGRESS:
            self._receive_progress(message)
        elif self._is_exclusive:
            # stdio does not say which request a log line belongs to: the newest one that can take it gets it.
            for exchange in reversed(self._exchanges.values()):
                if exchange.wants_notifications:
                    exchange.feed(message)
                    return

    def _receive_progress(self, message: Envelope) -> None:
        members = parse_object(message.params)
        token = members.get("progressToken") if members else None
        exchange = self._exchanges.get(_parse_wire_id(UNSET if token is None else token))
        if exchange is not None and exchange.client_token is not None:
            params = replace_member(message.params, "progressToken", exchange.client_token)
            exchange.feed(Envelope(method=PROGRESS, params=Raw(cast(bytes, params))))

    def _receive_timeout(self, exchange: Exchange, method: str) -> None:
        self.cancel(exchange)
        exchange.fail(
            ServerTimeoutError(
                f"The server {self._process.package} did not answer within {self._request_timeout_seconds:g} seconds.",
                why=f"The request was {method[:100]}; it has been cancelled.",
                hint="Try again, or raise FMCP_REQUEST_TIMEOUT_SECONDS if the tool needs that long.",
            )
        )

    def _receive_exit(self) -> None:
        exchanges, self._exchanges = self._exchanges, {}
        for exchange in exchanges.values():
            exchange.fail(self._describe_exit())
        for callback in self._exit_callbacks:
            callback()

    def _describe_exit(self) -> ServerExitedError:
        return ServerExitedError(
            f"The server {self._process.package} ended while it worked on the request.",
            why=f"Its process went away: {self._process.exit_description()}.",
            hint="Send the request again; a new process is started for it.",
        )


def _parse_wire_id(request_id: Raw | UnsetType) -> int:
    """Our id as the number that it is, 0 (which names nobody) for anything else."""
    try:
        return int(bytes(request_id)) if request_id is not UNSET and len(bytes(request_id)) < 20 else 0
    except ValueError:
        return 0
