"""Handshake-era sessions: who owns one, what its client said when it opened it, and what is still to be told to it.

A session is not a process. It remembers the `initialize` of its client, so that a process which ended, or which was
started with a token that has been refreshed since, is replaced under the same session id.
"""

import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol, cast

from msgspec import UNSET, Raw, UnsetType

from fluidmcp.authentication.principal import Principal
from fluidmcp.bridge.channel import CANCELLED, Channel
from fluidmcp.bridge.exchange import Exchange
from fluidmcp.bridge.streams import SessionStreams
from fluidmcp.errors import CapacityError, ServerProcessError
from fluidmcp.processes.pool.slots import WorkerKey
from fluidmcp.protocol.jsonrpc import Envelope, Json, encode_notification, encode_request, parse_message
from fluidmcp.protocol.meta import replace_member
from fluidmcp.protocol.versions import ASSUMED_VERSION

SESSION_SECONDS: Final = 24 * 3600.0
"""How long a session that nobody uses stays; many clients never say that they are done."""

SWEEP_SECONDS: Final = 60.0
"""How often, at most, such sessions are looked for: when another one is opened."""

MAX_OPEN_QUESTIONS: Final = 100
"""Questions of a server that one client may have to answer at a time."""


class SessionClosedError(ServerProcessError):
    code = "session_closed"


class CancelledByClientError(ServerProcessError):
    code = "cancelled"


class ServerLink(Protocol):
    """What a session says to the server process that serves it, in whichever era that process speaks."""

    channel: Channel

    def build_initialize_answer(self) -> Envelope:
        """The answer to the client's `initialize`."""
        ...

    def send_request(
        self, method: str, params: Raw | UnsetType, *, mentions_progress: bool, wants_notifications: bool
    ) -> Exchange:
        """Raises ServerExitedError or CapacityError like the channel."""
        ...

    def send_notification(self, method: str, params: Raw | UnsetType) -> None:
        """Pass on a notification of the client, where the server's era has it."""
        ...

    def cancel(self, exchange: Exchange, params: Raw | UnsetType) -> None:
        """Pass on the client's `notifications/cancelled` for a request in flight."""
        ...


@dataclass(slots=True, eq=False)
class Session:
    """One MCP session (`Mcp-Session-Id`) of one owner with one package."""

    session_id: str
    package: str
    owner: tuple[str, str, str] | None
    scopes: frozenset[str]
    initialize_params: Json
    last_used_at: float
    people: tuple[tuple[str, str], ...] = ()
    """Issuer and subject of the owner at each of their logins."""
    is_single_stream: bool = False
    """Whether it is one of HTTP+SSE (2024-11-05): one stream carries everything, and its end is the session's."""
    protocol_version: str = ASSUMED_VERSION
    """The revision that server and client agreed on."""
    worker_key: WorkerKey | None = None
    """The process that serves it now; another one takes over when the owner comes with a refreshed token."""
    link: ServerLink | None = None
    in_flight: dict[Json, Exchange] = field(default_factory=dict[Json, Exchange])
    """Its requests by the client's own id."""
    senders: dict[Exchange, ServerLink] = field(default_factory=dict[Exchange, ServerLink])
    """Those of them that are another link's than the one of now: their process finishes them."""
    streams: SessionStreams = field(default_factory=SessionStreams)
    _questions: dict[Json, Callable[[Envelope], None]] = field(default_factory=dict[Json, Callable[[Envelope], None]])
    _last_question: int = 0

    @property
    def is_in_use(self) -> bool:
        """Whether its client waits for something."""
        return bool(self.in_flight) or self.streams.general.has_reader

    def tell(self, event: Envelope, *, is_related: bool, exchange: Exchange | None = None) -> None:
        """Send something to the client on exactly one stream (2025-11-25, "Multiple Connections").

        `exchange`: the request in flight that it belongs to, where that is known. `is_related`: it may belong to one,
        so the newest of them that takes events gets it. What belongs to none goes to the stream that the client opened
        with GET. Without a stream it waits for one.
        """
        if exchange is not None and exchange.wants_notifications and not exchange.is_done:
            exchange.feed(event)
            return
        general = self.streams.general
        if (is_related or not general.has_reader) and not self.is_single_stream:
            for exchange in reversed(self.in_flight.values()):
                if exchange.wants_notifications and not exchange.is_done:
                    exchange.feed(event)
                    return
        general.push(encode_event_message(event))

    def tell_waiting(self, exchange: Exchange) -> None:
        """Hand what waits for a stream to a request that takes events, unless a GET stream is open."""
        general = self.streams.general
        if exchange.wants_notifications and not general.has_reader and not self.is_single_stream:
            for text in general.take_waiting():
                exchange.feed(parse_message(text))

    def ask(
        self,
        method: str,
        params: Raw | UnsetType,
        on_answer: Callable[[Envelope], None],
        *,
        exchange: Exchange | None = None,
    ) -> Json | None:
        """Ask the client something; `on_answer` is called once with its answer, or never.

        `exchange`: the request on whose behalf it is asked, where that is known. Returns the id of the question, None
        when too many are open.
        """
        if len(self._questions) >= MAX_OPEN_QUESTIONS:
            return None
        self._last_question += 1
        question_id = b"%d" % self._last_question
        self._questions[question_id] = on_answer
        self.tell(Envelope(id=Raw(question_id), method=method, params=params), is_related=True, exchange=exchange)
        return question_id

    def withdraw(self, question_id: Json, params: Raw | UnsetType = UNSET) -> None:
        """Tell the client that a question needs no answer any more; nothing if it is answered."""
        if self._questions.pop(question_id, None) is None:
            return
        known = replace_member(params, "requestId", question_id)
        text = b'{"requestId":%b}' % question_id if known is UNSET else bytes(cast(Json, known))
        self.tell(Envelope(method=CANCELLED, params=Raw(text)), is_related=True)

    def receive_answer(self, answer: Envelope) -> None:
        """The client's answer to a question; one that nobody asked is passed over."""
        on_answer = self._questions.pop(bytes(cast(Raw, answer.id)), None)
        if on_answer is not None:
            on_answer(answer)

    def end(self) -> None:
        """Fail what is in flight and end all streams."""
        for exchange in list(self.in_flight.values()):
            exchange.fail(SessionClosedError("The session has been ended."))
        self._questions.clear()
        self.streams.close_all()


def encode_event_message(event: Envelope) -> Json:
    """A notification or a question as the text of one message."""
    if event.id is UNSET:
        return encode_notification(cast(str, event.method), event.params)
    return encode_request(bytes(event.id), cast(str, event.method), event.params)


class SessionTable:
    """All sessions of a gateway, bounded in all and per owner. One that nobody uses for a day ends.

    Where a bound is reached, the owner's own longest unused session goes first, if it has been idle for
    `idle_seconds`; a session never goes because of another owner. `replica` is what their ids begin with, so that a
    balancer can find the gateway in which one lives.
    """

    def __init__(
        self,
        *,
        max_sessions: int,
        max_sessions_per_principal: int,
        idle_seconds: float,
        replica: str = "",
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_sessions = max_sessions
        self._max_sessions_per_principal = max_sessions_per_principal
        self._idle_seconds = idle_seconds
        self._prefix = replica and f"{replica}."
        self._now = now
        self._swept_at = now()
        self._sessions: dict[str, Session] = {}
        self._by_owner: dict[tuple[str, str, str] | None, dict[str, Session]] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Session]:
        return iter(self._sessions.values())

    def open(
        self, package: str, principal: Principal | None, initialize_params: Json, *, is_single_stream: bool = False
    ) -> Session:
        """Raises CapacityError when the owner, or the gateway, has as many sessions as it may."""
        self._close_forgotten()
        owner = None if principal is None else principal.owner
        own = self._by_owner.get(owner, {})
        limit = self._max_sessions if owner is None else self._max_sessions_per_principal
        if (len(own) >= limit or len(self._sessions) >= self._max_sessions) and not self._close_idle(own):
            raise CapacityError(
                "No further session can be opened now.",
                why="You have as many sessions as one caller may." if len(own) >= limit else "The gateway is full.",
                hint="End a session with DELETE and its Mcp-Session-Id, or wait until one has been idle for a while.",
                retry_after_seconds=60,
            )
        session = Session(
            session_id=self._prefix + secrets.token_urlsafe(32),
            package=package,
            owner=owner,
            scopes=frozenset() if principal is None else principal.scopes,
            initialize_params=initialize_params,
            last_used_at=self._now(),
            people=() if principal is None else principal.people,
            is_single_stream=is_single_stream,
        )
        self._sessions[session.session_id] = session
        self._by_owner.setdefault(owner, {})[session.session_id] = session
        return session

    def find(self, session_id: str, package: str, principal: Principal | None) -> Session | None:
        """The session, if it is this caller's; for everybody else it does not exist.

        A token with fewer scopes than the session was opened with, or of another client, counts as somebody else.
        """
        session = self._sessions.get(session_id)
        if session is None or session.package != package:
            return None
        if session.owner != (None if principal is None else principal.owner):
            return None
        if principal is not None and not session.scopes <= principal.scopes:
            return None
        session.last_used_at = self._now()
        own = self._by_owner[session.owner]
        own[session_id] = own.pop(session_id)
        return session

    def close(self, session: Session) -> None:
        """Forget a session and end what it holds open; its process is the caller's to end."""
        session.end()
        self._sessions.pop(session.session_id, None)
        own = self._by_owner.get(session.owner, {})
        own.pop(session.session_id, None)
        if not own:
            self._by_owner.pop(session.owner, None)

    def close_those(self, is_meant: Callable[[str, tuple[tuple[str, str], ...]], bool]) -> None:
        """Close the sessions of whoever is meant, by package and people."""
        for session in [one for one in self if one.people and is_meant(one.package, one.people)]:
            self.close(session)

    def _close_idle(self, own: dict[str, Session]) -> bool:
        oldest = next(iter(own.values()), None)  # kept in order of use
        if oldest is None or oldest.last_used_at > self._now() - self._idle_seconds:
            return False
        if oldest.is_in_use:
            return False
        self.close(oldest)
        return True

    def _close_forgotten(self) -> None:
        now = self._now()
        if now - self._swept_at < SWEEP_SECONDS:
            return
        self._swept_at = now
        for session in list(self._sessions.values()):
            if now - session.last_used_at >= SESSION_SECONDS and not session.is_in_use:
                self.close(session)
