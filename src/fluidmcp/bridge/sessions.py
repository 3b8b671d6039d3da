"""Handshake-era sessions: who owns one, and what its client said when it opened it.

A session is not a process. It remembers the `initialize` of its client, so that a process which ended, or which was
started with a token that has been refreshed since, is replaced under the same session id.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from fluidmcp.auth.principal import Principal
from fluidmcp.bridge.channel import Channel
from fluidmcp.bridge.exchange import Exchange
from fluidmcp.errors import CapacityError
from fluidmcp.processes.pool import WorkerKey
from fluidmcp.protocol.jsonrpc import Json


@dataclass(slots=True, eq=False)
class Session:
    """One MCP session (`Mcp-Session-Id`) of one owner with one package."""

    session_id: str
    package: str
    owner: tuple[str, str, str] | None
    scopes: frozenset[str]
    initialize_params: Json
    last_used_at: float
    worker_key: WorkerKey | None = None
    """The process that serves it now; another one takes over when the owner comes with a refreshed token."""
    in_flight: dict[Json, tuple[Channel, Exchange]] = field(default_factory=dict[Json, tuple[Channel, Exchange]])
    """Its requests by the client's own id, with the process that works on each, for `notifications/cancelled`."""


class SessionTable:
    """All sessions of a gateway, bounded in all and per owner.

    Where a bound is reached, the owner's own longest unused session goes first, if it has been idle for
    `idle_seconds`; nobody's session ever goes because of somebody else.
    """

    def __init__(
        self,
        *,
        max_sessions: int,
        max_sessions_per_principal: int,
        idle_seconds: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_sessions = max_sessions
        self._max_sessions_per_principal = max_sessions_per_principal
        self._idle_seconds = idle_seconds
        self._now = now
        self._sessions: dict[str, Session] = {}
        self._by_owner: dict[tuple[str, str, str] | None, dict[str, Session]] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def open(self, package: str, principal: Principal | None, initialize_params: Json) -> Session:
        """Raises CapacityError when the owner, or the gateway, has as many sessions as it may."""
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
            session_id=secrets.token_urlsafe(32),
            package=package,
            owner=owner,
            scopes=frozenset() if principal is None else principal.scopes,
            initialize_params=initialize_params,
            last_used_at=self._now(),
        )
        self._sessions[session.session_id] = session
        self._by_owner.setdefault(owner, {})[session.session_id] = session
        return session

    def find(self, session_id: str, package: str, principal: Principal | None) -> Session | None:
        """The session, if it is this caller's; for everybody else it does not exist.

        A token with fewer scopes than the session was opened with, or of another client, is somebody else.
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
        self._sessions.pop(session.session_id, None)
        own = self._by_owner.get(session.owner, {})
        own.pop(session.session_id, None)
        if not own:
            self._by_owner.pop(session.owner, None)

    def _close_idle(self, own: dict[str, Session]) -> bool:
        oldest = next(iter(own.values()), None)  # kept in order of use
        if oldest is None or oldest.in_flight or oldest.last_used_at > self._now() - self._idle_seconds:
            return False
        self.close(oldest)
        return True
