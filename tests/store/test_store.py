"""What every Store does, whichever it is."""

import asyncio
from collections.abc import Callable

import pytest

from fluidmcp.store.memory import MemoryStore, Store, StoreFullError


class Clock:
    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


MakeStore = Callable[[int, Clock], Store]


@pytest.fixture(params=[lambda entries, clock: MemoryStore(max_entries=entries, now=clock)], ids=["memory"])  # type: ignore[misc]
def make_store(request: pytest.FixtureRequest) -> MakeStore:
    return request.param


async def test_a_value_is_got_until_it_is_taken_once(make_store: MakeStore) -> None:
    store = make_store(10, Clock())
    await store.put("k", b"v", ttl_seconds=5)
    assert [await store.get("k"), await store.get("k"), await store.take("k")] == [b"v"] * 3
    assert await store.take("k") is None
    assert await store.get("k") is None


async def test_of_many_takers_at_once_exactly_one_gets_the_value(make_store: MakeStore) -> None:
    store = make_store(10, Clock())
    await store.put("k", b"v", ttl_seconds=5)
    taken = await asyncio.gather(*(store.take("k") for _ in range(50)))
    assert [value for value in taken if value is not None] == [b"v"]


@pytest.mark.promise(120)
async def test_a_value_ends_with_its_time_to_live(make_store: MakeStore) -> None:
    clock = Clock()
    store = make_store(10, clock)
    await store.put("a", b"v", ttl_seconds=5)
    await store.put("b", b"v", ttl_seconds=5)
    clock.time += 4.9
    assert await store.get("a") == b"v"
    clock.time += 0.1
    assert await store.get("a") is None
    assert await store.take("b") is None


async def test_a_later_put_replaces_value_and_end(make_store: MakeStore) -> None:
    clock = Clock()
    store = make_store(1, clock)
    await store.put("k", b"old", ttl_seconds=5)
    await store.put("k", b"new", ttl_seconds=50)
    clock.time += 10
    assert await store.get("k") == b"new"
    await store.put("k", b"short", ttl_seconds=1)
    clock.time += 1
    assert await store.get("k") is None


async def test_a_value_without_time_to_live_is_not_kept(make_store: MakeStore) -> None:
    store = make_store(10, Clock())
    await store.put("k", b"v", ttl_seconds=5)
    await store.put("k", b"v", ttl_seconds=0)
    assert await store.get("k") is None


async def test_a_full_store_refuses_new_keys_and_keeps_the_old(make_store: MakeStore) -> None:
    clock = Clock()
    store = make_store(2, clock)
    await store.put("a", b"1", ttl_seconds=5)
    await store.put("b", b"2", ttl_seconds=9)
    with pytest.raises(StoreFullError):
        await store.put("c", b"3", ttl_seconds=5)
    assert [await store.get("a"), await store.get("b"), await store.get("c")] == [b"1", b"2", None]
    clock.time += 5
    await store.put("c", b"3", ttl_seconds=5)
    assert [await store.get("b"), await store.get("c")] == [b"2", b"3"]


async def test_taking_makes_room(make_store: MakeStore) -> None:
    store = make_store(1, Clock())
    await store.put("a", b"1", ttl_seconds=5)
    await store.take("a")
    await store.put("b", b"2", ttl_seconds=5)
    assert await store.get("b") == b"2"


async def test_counting_starts_again_when_the_window_has_passed(make_store: MakeStore) -> None:
    clock = Clock()
    store = make_store(10, clock)
    assert [await store.count("k", window_seconds=60) for _ in range(3)] == [1, 2, 3]
    assert await store.count("other", window_seconds=60) == 1
    clock.time += 59.9
    assert await store.count("k", window_seconds=60) == 4
    clock.time += 0.1
    assert await store.count("k", window_seconds=60) == 1


async def test_counted_keys_are_bounded_and_room_comes_back(make_store: MakeStore) -> None:
    clock = Clock()
    store = make_store(2, clock)
    await store.count("a", window_seconds=60)
    await store.count("b", window_seconds=60)
    with pytest.raises(StoreFullError):
        await store.count("c", window_seconds=60)
    assert await store.count("a", window_seconds=60) == 2
    clock.time += 60
    assert await store.count("c", window_seconds=60) == 1


async def test_values_and_counts_do_not_meet(make_store: MakeStore) -> None:
    store = make_store(10, Clock())
    await store.count("k", window_seconds=60)
    assert await store.get("k") is None
    await store.put("k", b"v", ttl_seconds=60)
    assert await store.count("k", window_seconds=60) == 2
