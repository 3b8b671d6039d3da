"""How the pool starts workers: who waits for whom, and what is told of a start that fails."""

import asyncio
import logging
from dataclasses import replace

import pytest

from fluidmcp.errors import ServerStartError, ServerTimeoutError
from fluidmcp.processes.pool.starts import StartReport
from tests.processes.puppets import LIMITS, Puppet, Puppets, key, on_its_own_clock, pool_with_clock, turns
from tests.timing import elapse


@on_its_own_clock
async def test_starts_go_through_a_gate_and_the_time_in_its_queue_does_not_count() -> None:
    pool, start = pool_with_clock(replace(LIMITS, max_concurrent_starts=2, start_timeout_seconds=60)), Puppets()
    running, max_running = 0, 0

    async def slow_start(report: StartReport) -> Puppet:
        nonlocal running, max_running
        running += 1
        max_running = max(max_running, running)
        await elapse(50)
        running -= 1
        return await start(report)

    loop = asyncio.get_running_loop()
    began_at = loop.time()
    leases = await asyncio.gather(*(pool.acquire(key(str(n)), slow_start) for n in range(8)))
    assert len(leases) == 8
    assert max_running == 2
    # The last two began after 150 seconds in the queue, more than a start may take.
    assert loop.time() - began_at == pytest.approx(200)
    await pool.close()


@on_its_own_clock
async def test_a_start_that_takes_too_long_is_ended() -> None:
    pool, start = pool_with_clock(replace(LIMITS, start_timeout_seconds=60)), Puppets()
    start.gate.clear()
    starting = asyncio.create_task(pool.acquire(key(), start))
    await elapse(59)
    assert (len(pool), start.running, starting.done()) == (1, 1, False)
    await elapse(2)
    with pytest.raises(ServerTimeoutError):
        await starting
    assert (len(pool), start.running) == (0, 0)


@on_its_own_clock
async def test_a_package_may_have_another_time_to_start_than_the_pool_gives() -> None:
    pool, start = pool_with_clock(replace(LIMITS, start_timeout_seconds=60)), Puppets()
    start.gate.clear()
    slow = replace(LIMITS, start_timeout_seconds=100, start_timeout_name="start_timeout_seconds of mail")
    starting = asyncio.create_task(pool.acquire(key(), start, limits=slow))
    await elapse(99)
    assert (len(pool), starting.done()) == (1, False)
    await elapse(2)
    with pytest.raises(ServerTimeoutError) as failure:
        await starting
    assert failure.value.why == "It had 100 seconds to start and answer the handshake."
    assert failure.value.hint.endswith("or raise start_timeout_seconds of mail.")


@on_its_own_clock
async def test_a_start_that_takes_too_long_says_what_its_process_wrote(caplog: pytest.LogCaptureFixture) -> None:
    pool = pool_with_clock(replace(LIMITS, start_timeout_seconds=60))

    async def hang(report: StartReport) -> Puppet:
        try:
            await elapse(1000)
        finally:
            report.stderr_tail = ("loading model...", "waiting for the disk")
        return Puppet()

    with pytest.raises(ServerTimeoutError) as failure:
        await pool.acquire(key(), hang)
    assert failure.value.stderr_tail == ("loading model...", "waiting for the disk")
    (record,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert record.splitlines()[1:] == ["  | loading model...", "  | waiting for the disk"]


@on_its_own_clock
async def test_a_check_that_fails_delays_no_start_and_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    pool, start = pool_with_clock(LIMITS), Puppets()
    start.failure = ServerStartError("no")
    for _ in range(5):
        with pytest.raises(ServerStartError):
            await pool.acquire(key(), start, is_check=True)
    assert caplog.records == []
    with pytest.raises(ServerStartError):
        await pool.acquire(key(), start)
    assert len(caplog.records) == 1
    start.failure = None
    (await pool.acquire(key(), start)).release()
    await pool.close()


@on_its_own_clock
async def test_a_failure_that_somebody_waited_for_counts_although_it_began_as_a_check(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pool, start = pool_with_clock(LIMITS), Puppets()
    start.failure = ServerStartError("no")
    start.gate.clear()
    waiting = [asyncio.create_task(pool.acquire(key(), start, is_check=is_check)) for is_check in (True, False)]
    await turns()
    start.gate.set()
    assert await asyncio.gather(*waiting, return_exceptions=True) == [start.failure] * 2
    assert len(caplog.records) == 1


@on_its_own_clock
async def test_checks_delay_a_persons_start_as_one_person_would() -> None:
    pool, start = pool_with_clock(replace(LIMITS, max_concurrent_starts=2)), Puppets()
    start.gate.clear()
    packages = [f"package{number}" for number in range(4)]
    checks = [asyncio.create_task(pool.acquire(key(package=name), start, is_check=True)) for name in packages]
    await turns()
    assert start.running == 2
    own = asyncio.create_task(pool.acquire(key("ada", package="other"), start, principal="ada"))
    await turns()
    assert start.running == 3
    start.gate.set()
    for task in (own, *checks):
        (await task).release()
    await pool.close()


@on_its_own_clock
async def test_who_wants_what_is_being_checked_does_not_wait_behind_the_other_checks() -> None:
    pool, start = pool_with_clock(replace(LIMITS, max_concurrent_starts=2)), Puppets()
    start.gate.clear()
    packages = [f"package{number}" for number in range(4)]
    checks = [asyncio.create_task(pool.acquire(key(None, package=name), start, is_check=True)) for name in packages]
    await turns()
    assert start.running == 2
    wanting = asyncio.create_task(pool.acquire(key(None, package="package3"), start))
    await turns()
    assert start.running == 3
    start.gate.set()
    for task in (wanting, *checks):
        (await task).release()
    await pool.close()
