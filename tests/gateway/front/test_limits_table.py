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


async def test_of_one_address_the_one_that_has_waited_longest_makes_room_however_old_it_is() -> None:
    limits = ConnectionLimits(ConnectionSettings(max_connections_per_address=3))
    old, answered, slow = [Waiting("a") for _ in range(3)]
    for connection in (old, answered, slow):
        assert limits.admit(connection)
    limits.bodies.begin(slow)
    limits.idle.begin(old)
    limits.idle.begin(answered)
    limits.idle.begin(old)
    gone: list[Waiting] = []
    for _ in range(3):
        assert limits.admit(Waiting("a"))
        gone += [one for one in (old, answered, slow) if not one.is_waiting and one not in gone]
    assert gone == [answered, old, slow]


async def test_a_subscriber_of_ipv6_has_one_share_of_the_connections() -> None:
    limits = ConnectionLimits(ConnectionSettings(max_connections_per_address=2))
    own = [Waiting(f"2001:db8:1:2::{number}") for number in range(3)]
    other = Waiting("2001:db8:1:3::1")
    for connection in (*own[:2], other, own[2]):
        assert limits.admit(connection)
    assert [connection.is_waiting for connection in own] == [False, True, True]
    assert other.is_waiting and len(limits) == 3
