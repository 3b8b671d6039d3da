"""How long a gateway that shares its store goes by what it has asked."""

import asyncio

from fluidmcp.authorization_server.grant_states import GOOD_SECONDS, GrantStates
from fluidmcp.crypto.sealing import Sealer
from fluidmcp.store.memory import Fence, MemoryStore
from tests.authorization_server.sealing_stage import seal_key
from tests.providers.login_gateway import Clock

GRANT = b"g" * 16
LATER = 1_900_000_000.0


class SharedStore:
    """A store that others write to as well; it counts what it is asked, and answers when its gate is open."""

    def __init__(self) -> None:
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self._inner = MemoryStore(max_entries=10, now=lambda: 0.0)
        self.lock = self._inner.lock
        self.take = self._inner.take
        self.count = self._inner.count

    async def put(self, key: str, value: bytes, *, ttl_seconds: float, fence: Fence | None = None) -> None:
        await self._inner.put(key, value, ttl_seconds=ttl_seconds, fence=fence)

    async def get(self, key: str) -> bytes | None:
        self.asked += 1
        value = await self._inner.get(key)
        await self.gate.wait()
        return value


def replica(store: SharedStore | MemoryStore, clock: Clock) -> GrantStates:
    return GrantStates(store, Sealer([seal_key("one")]), now=clock)


async def test_a_shared_store_is_asked_once_a_second_and_a_revocation_elsewhere_holds_then() -> None:
    store, clock = SharedStore(), Clock()
    here, there = replica(store, clock), replica(store, clock)
    assert [await here.may_pass(GRANT) for _ in range(5)] == [True] * 5
    assert store.asked == 1
    await there.revoke(GRANT, ends_at=LATER)
    clock.time += GOOD_SECONDS - 0.01
    assert await here.may_pass(GRANT)
    clock.time += 0.02
    assert not await here.may_pass(GRANT)
    assert not await here.may_pass(GRANT), "what was revoked is not remembered as good"


async def test_a_revocation_here_holds_at_once_also_for_who_has_just_asked() -> None:
    store, clock = SharedStore(), Clock()
    here = replica(store, clock)
    assert await here.may_pass(GRANT)
    await here.revoke(GRANT, ends_at=LATER)
    assert not await here.may_pass(GRANT)
    other = b"h" * 16
    store.gate.clear()
    asking = asyncio.create_task(here.may_pass(other))
    await asyncio.sleep(0)
    await here.revoke(other, ends_at=LATER)
    store.gate.set()
    assert await asking, "it had been asked before"
    assert not await here.may_pass(other), "and its answer is not remembered"


async def test_a_clock_that_goes_back_remembers_nothing() -> None:
    store, clock = SharedStore(), Clock()
    here = replica(store, clock)
    assert await here.may_pass(GRANT)
    clock.time -= 3600
    assert await here.may_pass(GRANT)
    assert store.asked == 2


async def test_a_store_of_this_process_is_asked_each_time() -> None:
    store, clock = MemoryStore(max_entries=10), Clock()
    here, there = replica(store, clock), replica(store, clock)
    assert await here.may_pass(GRANT)
    await there.revoke(GRANT, ends_at=LATER)
    assert not await here.may_pass(GRANT)


async def test_what_cannot_be_read_counts_as_revoked() -> None:
    store, clock = SharedStore(), Clock()
    await GrantStates(store, Sealer([seal_key("another")]), now=clock).advance(
        GRANT, 3, ends_at=LATER, fence=Fence("k", "")
    )
    assert not await replica(store, clock).may_pass(GRANT)
    assert await replica(store, clock).find_generation(GRANT) is None
