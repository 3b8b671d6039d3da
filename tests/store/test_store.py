"""What every Store does, whichever it is."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from fluidmcp.errors import StoreUnavailableError
from fluidmcp.store.memory import MemoryStore, Store, StoreFullError
from tests.providers.login_gateway import Clock
from tests.store.running_redis import Replicas

LIMIT_SECONDS = 30.0


@dataclass
class World:
    """Where a store is made, by the number of its entries, and where time passes."""

    make: Callable[[int], Store]
    elapse: Callable[[float], Awaitable[None]]


def memory_world() -> World:
    clock = Clock()

    async def elapse(seconds: float) -> None:
        clock.time += seconds

    return World(lambda entries: MemoryStore(max_entries=entries, now=clock), elapse)


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.needs("redis-server"))])
def world(request: pytest.FixtureRequest) -> World:
    if request.param == "memory":
        return memory_world()
    replicas: Replicas = request.getfixturevalue("replicas")
    return World(lambda entries: replicas.store(entries=entries), replicas.elapse)


async def test_a_value_is_got_until_it_is_taken_once(world: World) -> None:
    store = world.make(10)
    await store.put("k", b"v", ttl_seconds=5000)
    assert [await store.get("k"), await store.get("k"), await store.take("k")] == [b"v"] * 3
    assert await store.take("k") is None
    assert await store.get("k") is None


async def test_of_many_takers_at_once_exactly_one_gets_the_value(world: World) -> None:
    store = world.make(10)
    await store.put("k", b"v", ttl_seconds=5000)
    taken = await asyncio.gather(*(store.take("k") for _ in range(50)))
    assert [value for value in taken if value is not None] == [b"v"]


@pytest.mark.promise(120)
async def test_a_value_ends_with_its_time_to_live(world: World) -> None:
    store = world.make(10)
    await store.put("a", b"v", ttl_seconds=5000)
    await store.put("b", b"v", ttl_seconds=5000)
    await world.elapse(4900)
    assert await store.get("a") == b"v"
    await world.elapse(100)
    assert await store.get("a") is None
    assert await store.take("b") is None


async def test_a_later_put_replaces_value_and_end(world: World) -> None:
    store = world.make(1)
    await store.put("k", b"old", ttl_seconds=5000)
    await store.put("k", b"new", ttl_seconds=50000)
    await world.elapse(10000)
    assert await store.get("k") == b"new"
    await store.put("k", b"short", ttl_seconds=1000)
    await world.elapse(1000)
    assert await store.get("k") is None


async def test_a_value_without_time_to_live_is_not_kept(world: World) -> None:
    store = world.make(1)
    await store.put("k", b"v", ttl_seconds=5000)
    await store.put("k", b"v", ttl_seconds=0)
    assert await store.get("k") is None
    await store.put("other", b"v", ttl_seconds=5000)


async def test_a_full_store_refuses_new_keys_and_keeps_the_old(world: World) -> None:
    store = world.make(2)
    await store.put("a", b"1", ttl_seconds=5000)
    await store.put("b", b"2", ttl_seconds=9000)
    with pytest.raises(StoreFullError):
        await store.put("c", b"3", ttl_seconds=5000)
    assert [await store.get("a"), await store.get("b"), await store.get("c")] == [b"1", b"2", None]
    await store.put("b", b"2b", ttl_seconds=9000)
    await world.elapse(5000)
    await store.put("c", b"3", ttl_seconds=5000)
    assert [await store.get("b"), await store.get("c")] == [b"2b", b"3"]


async def test_taking_makes_room(world: World) -> None:
    store = world.make(1)
    await store.put("a", b"1", ttl_seconds=5000)
    await store.take("a")
    await store.put("b", b"2", ttl_seconds=5000)
    assert await store.get("b") == b"2"


async def test_counting_starts_again_when_the_window_has_passed(world: World) -> None:
    store = world.make(10)
    assert [await store.count("k", window_seconds=6000) for _ in range(3)] == [1, 2, 3]
    assert await store.count("other", window_seconds=6000) == 1
    await world.elapse(5900)
    assert await store.count("k", window_seconds=6000) == 4
    await world.elapse(100)
    assert await store.count("k", window_seconds=6000) == 1


async def test_counted_keys_are_bounded_and_room_comes_back(world: World) -> None:
    store = world.make(2)
    await store.count("a", window_seconds=6000)
    await store.count("b", window_seconds=6000)
    with pytest.raises(StoreFullError):
        await store.count("c", window_seconds=6000)
    assert await store.count("a", window_seconds=6000) == 2
    await world.elapse(6000)
    assert await store.count("c", window_seconds=6000) == 1


async def test_events_at_once_are_all_counted(world: World) -> None:
    store = world.make(2)
    numbers = await asyncio.gather(*(store.count("k", window_seconds=6000) for _ in range(40)))
    assert sorted(numbers) == list(range(1, 41))


async def test_values_and_counts_do_not_meet(world: World) -> None:
    store = world.make(10)
    await store.count("k", window_seconds=6000)
    assert await store.get("k") is None
    await store.put("k", b"v", ttl_seconds=6000)
    assert await store.count("k", window_seconds=6000) == 2


async def test_one_works_under_a_lock_at_a_time_and_other_keys_do_not_wait(world: World) -> None:
    store = world.make(10)
    inside: list[int] = []

    async def work(number: int) -> None:
        async with store.lock("k", ttl_seconds=6000, wait_seconds=LIMIT_SECONDS):
            inside.append(number)
            async with store.lock(f"other {number}", ttl_seconds=6000, wait_seconds=LIMIT_SECONDS):
                await store.put("last", str(number).encode(), ttl_seconds=6000)
            assert inside == [number]
            inside.remove(number)

    await asyncio.gather(*(work(number) for number in range(8)))


async def test_who_waits_for_a_lock_in_vain_is_told_so_and_the_holder_goes_on(world: World) -> None:
    store = world.make(10)
    async with store.lock("k", ttl_seconds=6000, wait_seconds=LIMIT_SECONDS) as fence:
        with pytest.raises(StoreUnavailableError):
            async with store.lock("k", ttl_seconds=6000, wait_seconds=0.01):
                raise AssertionError("two had the lock")
        await store.put("k", b"v", ttl_seconds=6000, fence=fence)
    async with store.lock("k", ttl_seconds=6000, wait_seconds=LIMIT_SECONDS):
        assert await store.get("k") == b"v"


async def test_a_failure_under_a_lock_gives_it_back(world: World) -> None:
    store = world.make(10)
    with pytest.raises(ZeroDivisionError):
        async with store.lock("k", ttl_seconds=6000, wait_seconds=LIMIT_SECONDS):
            raise ZeroDivisionError
    async with store.lock("k", ttl_seconds=6000, wait_seconds=LIMIT_SECONDS):
        pass
