"""The table of connections by itself: what comes in is counted once, and what goes is counted no more."""

from fluidmcp.config.settings import ConnectionSettings
from fluidmcp.gateway.front.limits import ConnectionLimits


class Waiting:
    """A connection that waits, and goes when room is wanted."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.is_waiting = True

    def give_up_idle(self) -> None: ...

    def give_up_head(self) -> None: ...

    def check_body(self) -> None: ...

    def make_room(self) -> None:
        self.is_waiting = False


async def test_who_takes_the_place_of_the_last_one_of_its_own_address_is_counted_and_forgotten() -> None:
    for settings in (ConnectionSettings(max_connections=2), ConnectionSettings(max_connections_per_address=1)):
        limits = ConnectionLimits(settings)
        connections = [Waiting("a"), Waiting("b"), Waiting("a")]
        for connection in connections:
            assert limits.admit(connection)
            limits.idle.begin(connection)
        assert not connections[0].is_waiting, "it made room"
        assert len(limits) == 2
        for connection in connections:
            limits.forget(connection)
        assert len(limits) == 0
