"""A handshake-era session with a server of the handshake era: everything passes, under the ids of the other side.

The process serves this session alone, so whatever the server says without naming a request is for its client.
"""

import asyncio
from functools import partial
from typing import Final, cast

from msgspec import Raw, UnsetType

from fluidmcp.bridge.changes import CHANGES
from fluidmcp.bridge.channel import CANCELLED, Channel
from fluidmcp.bridge.exchange import Exchange
from fluidmcp.bridge.session import Session
from fluidmcp.protocol.jsonrpc import INTERNAL_ERROR, Envelope, Json, parse_object

QUESTION_SECONDS: Final = 600.0
"""How long a person may take to answer a server's question; the request timeout does not count meanwhile."""


class HandshakeLink:
    def __init__(self, session: Session, channel: Channel) -> None:
        self.channel = channel
        self._session = session
        self._asked: dict[Json, tuple[Json, asyncio.TimerHandle]] = {}
        """By the server's id of each open question: the client's id of it, and the end of its time."""
        channel.listener = self

    def build_initialize_answer(self) -> Envelope:
        return cast(Envelope, self.channel.greeting)

    def send_request(
        self, method: str, params: Raw | UnsetType, *, mentions_progress: bool, wants_notifications: bool
    ) -> Exchange:
        return self.channel.send_request(
            method, params, mentions_progress=mentions_progress, wants_notifications=wants_notifications
        )

    def send_notification(self, method: str, params: Raw | UnsetType) -> None:
        # The gateway itself has sent `initialized`, as soon as the server had answered.
        if method != "notifications/initialized":
            self.channel.send_notification(method, params)

    def cancel(self, exchange: Exchange, params: Raw | UnsetType) -> None:
        self.channel.cancel(exchange, params)

    def receive_question(self, question: Envelope) -> bool:
        server_id = bytes(cast(Raw, question.id))
        client_id = self._session.ask(
            cast(str, question.method), question.params, partial(self._receive_answer, server_id)
        )
        if client_id is None:
            return False
        timer = asyncio.get_running_loop().call_later(QUESTION_SECONDS, self._give_up, server_id)
        self._asked[server_id] = (client_id, timer)
        for exchange in self.channel.exchanges:
            self.channel.stop_clock(exchange)
        return True

    def receive_notification(self, notification: Envelope) -> None:
        if notification.method == CANCELLED:
            members = parse_object(notification.params) or {}
            asked = self._asked.pop(bytes(members.get("requestId", b"")), None)
            if asked is not None:
                asked[1].cancel()
                self._session.withdraw(asked[0], notification.params)
                self._start_clocks()
            return
        self._session.tell(notification, is_related=notification.method not in CHANGES)

    def receive_exit(self) -> None:
        asked, self._asked = self._asked, {}
        for client_id, timer in asked.values():
            timer.cancel()
            self._session.withdraw(client_id)

    def _receive_answer(self, server_id: Json, answer: Envelope) -> None:
        asked = self._asked.pop(server_id, None)
        if asked is not None:
            asked[1].cancel()
            self.channel.answer_question(server_id, answer)
            self._start_clocks()

    def _give_up(self, server_id: Json) -> None:
        client_id, _ = self._asked.pop(server_id)
        self._session.withdraw(client_id)
        self.channel.refuse_question(server_id, INTERNAL_ERROR, "The client did not answer in time.")
        self._start_clocks()

    def _start_clocks(self) -> None:
        """The request timeout counts again, from the beginning, once nobody is asked anything."""
        if not self._asked:
            for exchange in self.channel.exchanges:
                self.channel.start_clock(exchange)
