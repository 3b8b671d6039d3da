"""A pool at a limit: who makes room for whom, who waits for it, and who is refused."""

import asyncio
from dataclasses import replace

import pytest

from fluidmcp.errors import CapacityError, ServerExitedError, ServerStartError
from fluidmcp.processes.pool.pool import CAPACITY_WAIT_SECONDS, Lease, Pool
from tests.processes.puppets import LIMITS, Puppet, Puppets, key, on_its_own_clock, pool_with_clock, turns
from tests.timing import elapse

pytestmark = on_its_own_clock


def ask(pool: Pool[Puppet], start: Puppets, name: str, *, principal: str = "") -> asyncio.Task[Lease[Puppet]]:
    return asyncio.create_task(pool.acquire(key(name), start, principal=principal or name))


async def test_a_burst_above_the_limit_is_served_in_its_order() -> None:
    pool, start = pool_with_clock(replace(LIMITS, max_processes=10, max_concurrent_starts=20)), Puppets()
    served: list[int] = []

    async def call(number: int) -> None:
        with await pool.acquire(key(str(number)), start, principal=number):
            served.append(number)
            await elapse(1)

    async with asyncio.timeout(CAPACITY_WAIT_SECONDS):
        await asyncio.gather(*(call(number) for number in range(20)))
    assert served == list(range(20))
    assert start.max_running <= 10
    await pool.close()


async def test_who_waits_in_vain_is_refused() -> None:
    pool, start = pool_with_clock(replace(LIMITS, max_processes=1)), Puppets()
    lease = await pool.acquire(key("1"), start)
    waiting = ask(pool, start, "2")
    await elapse(CAPACITY_WAIT_SECONDS - 0.1)
    assert not waiting.done()
    await elapse(0.2)
    with pytest.raises(CapacityError):
        await waiting
    assert len(pool) == 1
    lease.release()
    await pool.close()


async def test_room_is_made_by_a_release_an_end_and_a_failed_start() -> None:
    pool, start = pool_with_clock(replace(LIMITS, max_processes=1)), Puppets()
    lease = await pool.acquire(key("1"), start)
    waiting = ask(pool, start, "2")
    await turns()
    lease.release()
    lease = await waiting
    waiting = ask(pool, start, "3")
    await turns()
    lease.worker.die()
    lease = await waiting
    lease.release()
    bad = Puppets()
    bad.failure = ServerStartError("no")
    bad.gate.clear()
    failing, waiting = ask(pool, bad, "4"), ask(pool, start, "5")
    await turns()
    bad.gate.set()
    with pytest.raises(ServerStartError):
        await failing
    (await waiting).release()
    await pool.close()


async def test_room_is_made_by_a_start_that_nobody_waits_for_any_more() -> None:
    pool, start = pool_with_clock(replace(LIMITS, max_processes=1)), Puppets()
    start.gate.clear()
    starting, waiting = ask(pool, start, "1"), ask(pool, start, "2")
    await turns()
    starting.cancel()
    await turns()
    assert not waiting.done()
    start.gate.set()
    (await waiting).release()
    await pool.close()


async def test_who_is_at_a_limit_of_their_own_blocks_nobody_in_the_line() -> None:
    pool, start = pool_with_clock(replace(LIMITS, max_processes=3, max_processes_per_principal=1)), Puppets()
    anna = await pool.acquire(key("1"), start, principal="anna")
    others = [await pool.acquire(key(name), start, principal=name) for name in "23"]
    annas, bert = ask(pool, start, "4", principal="anna"), ask(pool, start, "5", principal="bert")
    await turns()
    others[0].release()
    (await bert).release()
    assert not annas.done()
    anna.release()
    (await annas).release()
    others[1].release()
    await pool.close()


async def test_those_who_wait_for_the_same_worker_get_the_same() -> None:
    pool, start = pool_with_clock(replace(LIMITS, max_processes=1)), Puppets()
    lease = await pool.acquire(key("1"), start)
    waiting = [ask(pool, start, "2") for _ in range(3)]
    await turns()
    lease.release()
    leases = await asyncio.gather(*waiting)
    assert len({id(lease.worker) for lease in leases}) == 1
    for lease in leases:
        lease.release()
    assert pool.idle_count == 1
    await pool.close()


async def test_who_leaves_the_line_uses_nothing() -> None:
    pool, start = pool_with_clock(replace(LIMITS, max_processes=1)), Puppets()
    lease = await pool.acquire(key("1"), start)
    waiting = ask(pool, start, "2")
    await turns()
    lease.release()
    await asyncio.sleep(0)
    # Its start has begun; it goes away before it knows.
    waiting.cancel()
    await turns()
    assert (pool.busy_count, pool.idle_count) == (0, 1)
    await pool.close()


async def test_a_pool_that_closes_keeps_nobody_waiting() -> None:
    pool, start = pool_with_clock(replace(LIMITS, max_processes=1)), Puppets()
    await pool.acquire(key("1"), start)
    waiting = ask(pool, start, "2")
    await turns()
    await pool.close()
    with pytest.raises(ServerExitedError):
        await waiting
    assert len(pool) == 0


async def test_who_does_not_want_to_wait_does_not() -> None:
    pool, start = pool_with_clock(replace(LIMITS, max_processes=1)), Puppets()
    lease = await pool.acquire(key("1"), start)
    with pytest.raises(CapacityError):
        await pool.acquire(key("2"), start, wait_seconds=0)
    assert asyncio.get_running_loop().time() == pytest.approx(1000)
    lease.release()
    await pool.close()
