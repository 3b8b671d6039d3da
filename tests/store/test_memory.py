from fluidmcp.store.memory import MemoryStore
from tests.providers.login_gateway import contents_of


async def test_the_length_counts_what_still_lives() -> None:
    times = [0.0]
    store = MemoryStore(max_entries=10, now=lambda: times[0])
    await store.put("a", b"1", ttl_seconds=5)
    await store.put("b", b"1", ttl_seconds=9)
    assert len(store) == 2
    times[0] = 5
    assert len(store) == 1


async def test_many_puts_and_takes_of_long_lived_values_leave_nothing_behind() -> None:
    store = MemoryStore(max_entries=10, now=lambda: 0.0)
    for number in range(5000):
        await store.put(str(number), b"1", ttl_seconds=1e6)
        await store.take(str(number))
        await store.put("hot", b"1", ttl_seconds=1e6 + number)
    assert len(repr(contents_of(store))) < 20_000
    assert len(store) == 1
