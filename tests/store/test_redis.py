"""A store in Redis, against a real server: what is in it, who writes to it besides us, and its faults."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from fluidmcp.errors import StoreUnavailableError
from fluidmcp.gateway.errors import run_now
from fluidmcp.store.breaker import PAUSE_SECONDS
from fluidmcp.store.memory import LockLostError, StoreFullError
from fluidmcp.store.redis import RedisStore
from tests.providers.login_gateway import Clock
from tests.store.cutting_relay import cutting_relay
from tests.store.running_redis import LIMIT_SECONDS, Replicas

pytestmark = pytest.mark.needs("redis-server")

SHORT_SECONDS = 0.05


async def everything(client: Any) -> dict[bytes, bytes]:
    """All strings that are there."""
    return {name: await client.get(name) for name in await client.keys("*") if await client.type(name) == b"string"}


async def fill(store: RedisStore) -> None:
    await store.put("a key", b"a secret value", ttl_seconds=6000)
    await store.put("another key", b"another secret", ttl_seconds=6000)


@pytest.mark.threat("D16")
async def test_d16_a_reader_finds_neither_keys_nor_values(replicas: Replicas) -> None:
    store = replicas.store()
    await fill(store)
    await store.count("10.1.2.3", window_seconds=6000)
    async with store.lock("a key", ttl_seconds=6000, wait_seconds=LIMIT_SECONDS), replicas.running.client() as reader:
        seen = repr([await everything(reader), await reader.keys("*")])
        assert "secret" not in seen and "key" not in seen and "10.1.2.3" not in seen
        assert all(name.startswith(b"fmcp1:{grants}:") for name in await reader.keys("*"))
        assert all([await reader.pttl(name) > 0 for name in await reader.keys("*")]), "nothing stays for ever"


@pytest.mark.threat("D16")
async def test_d16_values_that_change_places_are_nothing(replicas: Replicas) -> None:
    store, other = replicas.store(), replicas.store("handed_out")
    await fill(store)
    async with replicas.running.client() as writer:
        (first, one), (second, two) = (await everything(writer)).items()
        await writer.set(first, two)
        await writer.set(second, one)
        assert [await store.get("a key"), await store.get("another key")] == [None, None]
        await other.put("a key", b"elsewhere", ttl_seconds=6000)
        (there,) = [name for name in await everything(writer) if name.startswith(b"fmcp1:{handed_out}:")]
        await writer.set(there, one)
        assert await other.take("a key") is None


@pytest.mark.threat("D16")
async def test_d16_a_value_that_was_taken_comes_back_only_as_it_was(replicas: Replicas) -> None:
    store = replicas.store()
    await store.put("k", b"old", ttl_seconds=6000)
    async with replicas.running.client() as writer:
        ((name, sealed),) = (await everything(writer)).items()
        await store.put("k", b"new", ttl_seconds=6000)
        await writer.set(name, sealed)
        assert await store.get("k") == b"old"
        for changed in (sealed[:-5], sealed + b"AAAA", sealed.swapcase(), b"", b"old", b"\x80\xff"):
            await writer.set(name, changed)
            assert await store.get("k") is None


@pytest.mark.threat("D16", "E16")
@pytest.mark.parametrize("kind", ["text", "list", "hash", "no end"])
async def test_e16_what_others_leave_under_our_names_stops_nothing(replicas: Replicas, kind: str) -> None:
    store = replicas.store(unreadable=b"")
    await store.put("k", b"v", ttl_seconds=6000)
    await store.count("k", window_seconds=6000)
    async with store.lock("k", ttl_seconds=6000, wait_seconds=LIMIT_SECONDS), replicas.running.client() as writer:
        for name in await writer.keys("*"):
            # What is there for seconds only is of one request alone, and nobody comes back to it.
            if await writer.pttl(name) > 60_000:
                await leave(writer, name, kind)
    if kind == "text":
        assert await store.get("k") == b"", "something is there, and it is not ours"
    assert await store.take("k") == {"text": b"", "no end": b"v"}.get(kind)
    assert await store.take("k") is None
    await store.put("k", b"v", ttl_seconds=6000)
    assert await store.get("k") == b"v"
    assert [await store.count("k", window_seconds=6000) for _ in range(2)][1] >= 2
    async with store.lock("k", ttl_seconds=6000, wait_seconds=LIMIT_SECONDS) as fence:
        await store.put("k", b"w", ttl_seconds=6000, fence=fence)
    if kind == "no end":
        async with replicas.running.client() as reader:
            assert all([await reader.pttl(name) > 0 for name in await everything(reader)])


async def leave(writer: Any, name: bytes, kind: str) -> None:
    if kind == "no end":
        await writer.persist(name)
        return
    await writer.delete(name)
    await (
        writer.rpush(name, "garbage")
        if kind == "list"
        else writer.hset(name, "a", "garbage")
        if kind == "hash"
        else writer.set(name, "garbage")
    )


@pytest.mark.threat("D16")
async def test_d16_the_holder_of_a_lock_that_is_over_writes_nothing(replicas: Replicas) -> None:
    one, two = replicas.store(), replicas.store()
    async with one.lock("k", ttl_seconds=40, wait_seconds=LIMIT_SECONDS) as late:
        await replicas.elapse(41)
        async with two.lock("k", ttl_seconds=40, wait_seconds=LIMIT_SECONDS) as fence:
            await two.put("k", b"of the second", ttl_seconds=6000, fence=fence)
            with pytest.raises(LockLostError):
                await one.put("k", b"of the first", ttl_seconds=6000, fence=late)
    assert await one.get("k") == b"of the second"


async def test_the_end_of_a_late_holder_does_not_end_the_next_ones_turn(replicas: Replicas) -> None:
    one, two = replicas.store(), replicas.store()
    has_turn, may_end = asyncio.Event(), asyncio.Event()

    async def follow() -> None:
        async with two.lock("k", ttl_seconds=40, wait_seconds=LIMIT_SECONDS):
            has_turn.set()
            await may_end.wait()

    async with one.lock("k", ttl_seconds=40, wait_seconds=LIMIT_SECONDS):
        await replicas.elapse(41)
        following = asyncio.create_task(follow())
        await has_turn.wait()
    with pytest.raises(StoreUnavailableError):
        async with one.lock("k", ttl_seconds=40, wait_seconds=SHORT_SECONDS):
            raise AssertionError("two had the lock")
    may_end.set()
    await following


async def test_gateways_agree_in_every_step_of_a_change_of_keys(replicas: Replicas) -> None:
    steps = [("old",), ("old", "new"), ("new", "old"), ("new",)]
    for before, after in zip(steps, steps[1:], strict=False):
        one, two = replicas.store("grants", *before), replicas.store("grants", *after)
        for writer, reader in ((one, two), (two, one)):
            key = f"{before} {writer is one}"
            if set(after) > set(before) or set(after) == set(before):
                await writer.put(key, b"good", ttl_seconds=6000)
                await reader.put(key, b"revoked", ttl_seconds=6000)
                assert await writer.get(key) == await reader.get(key) == b"revoked"
                assert await writer.take(key) == b"revoked"
                assert await reader.take(key) is None
            assert [await one.count(key, window_seconds=6000), await two.count(key, window_seconds=6000)] == [1, 2]
            async with writer.lock(key, ttl_seconds=6000, wait_seconds=LIMIT_SECONDS):
                with pytest.raises(StoreUnavailableError):
                    async with reader.lock(key, ttl_seconds=6000, wait_seconds=SHORT_SECONDS):
                        raise AssertionError("two had the lock")


Operation = Callable[[RedisStore], Awaitable[Any]]


async def use_lock(store: RedisStore) -> None:
    async with store.lock("k", ttl_seconds=6000, wait_seconds=LIMIT_SECONDS):
        pass


OPERATIONS: dict[str, Operation] = {
    "put": lambda store: store.put("k", b"v", ttl_seconds=6000),
    "get": lambda store: store.get("k"),
    "take": lambda store: store.take("k"),
    "count": lambda store: store.count("k", window_seconds=6000),
    "lock": use_lock,
}


@pytest.mark.threat("E16")
@pytest.mark.parametrize("name", OPERATIONS)
async def test_e16_a_server_that_is_down_is_told_and_comes_back_by_itself(replicas: Replicas, name: str) -> None:
    store, running = replicas.store(), replicas.running
    await OPERATIONS[name](store)
    running.kill()
    for _ in range(2):
        with pytest.raises(StoreUnavailableError) as caught:
            await OPERATIONS[name](store)
        assert str(running.port) not in f"{caught.value.what} {caught.value.why}"
    running.start()
    await OPERATIONS[name](store)
    await store.put("new", b"v", ttl_seconds=6000)
    assert await store.get("new") == b"v"


@pytest.mark.threat("E16")
@pytest.mark.parametrize("name", OPERATIONS)
async def test_e16_a_server_that_does_not_answer_is_not_waited_for(replicas: Replicas, name: str) -> None:
    store, patient = replicas.store(seconds=SHORT_SECONDS), replicas.store()
    await patient.put("other", b"o", ttl_seconds=6000)
    with replicas.running.stopped():
        async with asyncio.timeout(LIMIT_SECONDS):
            outcomes = await asyncio.gather(*(OPERATIONS[name](store) for _ in range(40)), return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {StoreUnavailableError}
    # Answers that come late are nobody's.
    assert await asyncio.gather(*(patient.get("other") for _ in range(40))) == [b"o"] * 40
    assert {await patient.get("none") for _ in range(40)} == {None}


@pytest.mark.threat("E16")
async def test_e16_after_a_time_out_others_fail_at_once_until_one_has_tried(
    replicas: Replicas, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    store = replicas.store(seconds=SHORT_SECONDS, clock=clock)

    async def use_five() -> tuple[int, int]:
        """How many of five got their answer, and how many of them waited for one in vain."""
        caplog.clear()
        outcomes = await asyncio.gather(*(store.get("k") for _ in range(5)), return_exceptions=True)
        return outcomes.count(None), len(caplog.records)

    with replicas.running.stopped():
        assert await use_five() == (0, 5)
    assert await use_five() == (0, 0), "it answers again, and nobody asks"
    clock.time += PAUSE_SECONDS
    with replicas.running.stopped():
        assert await use_five() == (0, 1)
    assert await use_five() == (0, 0)
    clock.time += PAUSE_SECONDS
    assert await store.get("k") is None
    assert await use_five() == (5, 0)


@pytest.mark.threat("E16")
async def test_e16_a_lock_is_given_back_though_others_have_waited_in_vain(replicas: Replicas) -> None:
    store = replicas.store(seconds=SHORT_SECONDS, clock=Clock())
    async with store.lock("k", ttl_seconds=6000, wait_seconds=LIMIT_SECONDS):
        with replicas.running.stopped(), pytest.raises(StoreUnavailableError):
            await store.get("k")
    async with replicas.store().lock("k", ttl_seconds=6000, wait_seconds=LIMIT_SECONDS):
        pass


@pytest.mark.threat("E16")
async def test_e16_an_answer_that_comes_late_is_given_to_nobody(replicas: Replicas) -> None:
    store, running = replicas.store(), replicas.running
    await store.put("one", b"1", ttl_seconds=6000)
    await store.put("two", b"2", ttl_seconds=6000)
    for _ in range(5):
        with running.stopped():
            asked = [asyncio.create_task(store.get("one")) for _ in range(10)]
            for _ in range(20):
                await asyncio.sleep(0)  # until they have sent what they ask
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        assert await asyncio.gather(*(store.get("two") for _ in range(10))) == [b"2"] * 10


@pytest.mark.threat("E16")
async def test_e16_what_was_done_and_not_answered_is_done_once(replicas: Replicas) -> None:
    direct = replicas.store("grants", "old", "new")
    async with cutting_relay(replicas.running.port) as relay:
        store = replicas.store("grants", "new", "old", url=replicas.running.url_through(relay.port))
        for writer in (direct, store):
            await writer.put("k", b"v", ttl_seconds=6000)
            relay.cuts = 1
            assert await store.take("k") == b"v", "asked again, it has the value that only it can have taken"
            assert [relay.cuts, await store.take("k"), await direct.take("k")] == [0, None, None]
        numbers: list[int] = []
        for _ in range(3):
            relay.cuts = 1
            numbers.append(await store.count("k", window_seconds=6000))
        assert numbers == [1, 2, 3]
        relay.cuts = 1
        async with store.lock("k", ttl_seconds=6000, wait_seconds=LIMIT_SECONDS) as fence:
            relay.cuts = 1
            await store.put("k", b"v", ttl_seconds=6000, fence=fence)
            relay.cuts = 1
        assert await direct.get("k") == b"v"
        relay.cuts = 2
        with pytest.raises(StoreUnavailableError):
            await store.take("k")
        assert await direct.take("k") is None


@pytest.mark.threat("E16")
async def test_e16_a_full_server_takes_nothing_new_and_gives_what_it_has(replicas: Replicas) -> None:
    store = replicas.store()
    await store.put("k", b"v", ttl_seconds=6000)
    async with replicas.running.client() as operator:
        async with store.lock("held", ttl_seconds=6000, wait_seconds=LIMIT_SECONDS):
            await operator.config_set("maxmemory", "1")
            with pytest.raises(StoreFullError):
                await store.put("new", b"v", ttl_seconds=6000)
            with pytest.raises(StoreFullError):
                await store.put("k", b"w", ttl_seconds=6000)
            with pytest.raises(StoreFullError):
                await store.count("k", window_seconds=6000)
            with pytest.raises(StoreFullError):
                await use_lock(store)
            assert await store.get("k") == b"v"
            assert await store.take("k") == b"v"
        await operator.config_set("maxmemory", "0")
        async with store.lock("held", ttl_seconds=6000, wait_seconds=LIMIT_SECONDS):
            await store.put("new", b"v", ttl_seconds=6000)


@pytest.mark.threat("E16")
async def test_e16_a_server_that_became_a_replica_is_told(replicas: Replicas) -> None:
    store = replicas.store()
    await store.put("k", b"v", ttl_seconds=6000)
    async with replicas.running.client() as operator:
        await operator.execute_command("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(StoreUnavailableError):
            await store.put("k", b"w", ttl_seconds=6000)
        await operator.execute_command("REPLICAOF", "NO", "ONE")
    await store.put("k", b"w", ttl_seconds=6000)
    assert await store.get("k") == b"w"


async def test_where_nobody_can_wait_nothing_is_sent(replicas: Replicas) -> None:
    store = replicas.store()
    await store.put("k", b"v", ttl_seconds=6000)
    outcomes: list[bytes | None] = []
    loop, is_done = asyncio.get_running_loop(), asyncio.Event()

    def try_at_once() -> None:
        outcomes.append(run_now(store.take("k")))
        is_done.set()

    loop.call_soon(try_at_once)
    await is_done.wait()
    assert outcomes == [None]
    assert await store.take("k") == b"v"


async def test_a_lost_entry_of_the_index_costs_only_the_bound(replicas: Replicas) -> None:
    store = replicas.store(entries=1)
    await store.put("a", b"1", ttl_seconds=6000)
    async with replicas.running.client() as writer:
        await writer.delete(*[name for name in await writer.keys("*") if await writer.type(name) == b"zset"])
    await store.put("b", b"2", ttl_seconds=6000)
    assert [await store.get("a"), await store.get("b")] == [b"1", b"2"]
