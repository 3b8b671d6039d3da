"""Connections that wait for their clients: how long each may, and how many there may be.

A connection waits for its client between two requests, while the head of one arrives, and while its body does. The
first two may take a fixed time; a body must keep up a rate. Where there are too many connections, the one that has
waited longest makes room for the next: whoever sends a whole request at once always gets in.
"""

import logging
import time
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from fluidmcp.config.settings import ConnectionSettings
from fluidmcp.delays import Delays
from fluidmcp.gateway.health import ServiceState
from fluidmcp.protocol.forwarded import TrustedProxies, group_address

logger = logging.getLogger(__name__)

NOBODY: Final = TrustedProxies()
WARN_SECONDS: Final = 60.0
"""How often, at most, the log says that a limit on connections is reached."""


class WaitingConnection(Protocol):
    """What the limits know of a connection."""

    @property
    def address(self) -> str:
        """That of the client."""
        ...

    @property
    def is_waiting(self) -> bool:
        """Whether it waits for its client: no request of it is being answered."""
        ...

    def give_up_idle(self) -> None:
        """Nothing came since the last reply: close it, unless something came after all."""
        ...

    def give_up_head(self) -> None:
        """The head of a request takes too long."""
        ...

    def check_body(self) -> None:
        """A while has gone by since its body was looked at."""
        ...

    def make_room(self) -> None:
        """Close it, although its time is not over."""
        ...


class ConnectionLimits:
    """For all connections of one gateway."""

    def __init__(
        self,
        settings: ConnectionSettings,
        state: ServiceState | None = None,
        *,
        proxies: TrustedProxies = NOBODY,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.state = state or ServiceState()
        """Whether connections go on behind their next reply."""
        self._proxies = proxies
        self.idle = Delays[WaitingConnection](settings.keep_alive_seconds, lambda waiting: waiting.give_up_idle())
        self.heads = Delays[WaitingConnection](settings.header_seconds, lambda waiting: waiting.give_up_head())
        self.bodies = Delays[WaitingConnection](settings.body_seconds, lambda waiting: waiting.check_body())
        self._tables = (self.heads, self.idle, self.bodies)
        """In the order in which they make room."""
        self._by_address: dict[str, dict[WaitingConnection, None]] = {}
        """By what is counted as one address."""
        self._count = 0
        self._now = now
        self._warned_at = -WARN_SECONDS

    def __len__(self) -> int:
        return self._count

    def admit(self, connection: WaitingConnection) -> bool:
        """Count a connection, if need be in the place of one that waits; false where there is no place.

        A trusted proxy is many clients: of the two limits only that on all connections holds for its own.
        """
        counted_as = group_address(connection.address)
        own = self._by_address.setdefault(counted_as, {})
        limit = ""
        # Those of a Unix socket have no address: all of them are those of one proxy.
        is_one_client = bool(connection.address) and not self._proxies.has(connection.address)
        has_many = is_one_client and len(own) >= self.settings.max_connections_per_address
        if has_many and not self._make_room_of(own):
            limit = "FMCP_MAX_CONNECTIONS_PER_ADDRESS"
        elif self._count >= self.settings.max_connections and not self._make_room():
            limit = "FMCP_MAX_CONNECTIONS"
        if not limit:
            # Looked up again: making room may have closed the last other one of this address.
            self._by_address.setdefault(counted_as, {})[connection] = None
            self._count += 1
            return True
        if not own:
            self._by_address.pop(counted_as, None)
        if self._now() - self._warned_at >= WARN_SECONDS:
            self._warned_at = self._now()
            logger.warning("connections are refused: %s is reached", limit)
        return False

    def forget(self, connection: WaitingConnection) -> None:
        """A connection is gone. A second call does nothing."""
        for table in self._tables:
            table.end(connection)
        counted_as = group_address(connection.address)
        own = self._by_address.get(counted_as, {})
        if connection in own:
            del own[connection]
            self._count -= 1
            if not own:
                del self._by_address[counted_as]

    def _make_room(self) -> bool:
        for table in self._tables:
            while (oldest := table.take_oldest()) is not None:
                if self._close_waiting(oldest):
                    return True
        return False

    def _make_room_of(self, own: Iterable[WaitingConnection]) -> bool:
        longest = min((one for one in own if one.is_waiting), key=self._rank, default=None)
        return longest is not None and self._close_waiting(longest)

    def _rank(self, connection: WaitingConnection) -> tuple[int, float]:
        """The one of the lowest rank makes room first."""
        for number, table in enumerate(self._tables):
            begun_at = table.begun_at(connection)
            if begun_at is not None:
                return number, begun_at
        return len(self._tables), 0.0

    def _close_waiting(self, connection: WaitingConnection) -> bool:
        if not connection.is_waiting:
            return False
        self.forget(connection)
        connection.make_room()
        return True
