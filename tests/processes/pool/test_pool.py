import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from fluidmcp.errors import (
    CapacityError,
    ServerBackingOffError,
    ServerExitedError,
    ServerStartError,
)
from fluidmcp.processes.launch.launcher import ColdLauncher
from fluidmcp.processes.launch.spec import LaunchSpec
from fluidmcp.processes.pool.pool import Pool
from fluidmcp.processes.pool.starts import StartReport
from fluidmcp.processes.process import ServerProcess
from tests.processes.puppets import (
    LIMIT_SECONDS,
    LIMITS,
    Clock,
    Puppet,
    Puppets,
    key,
    on_its_own_clock,
    pool_with_clock,
    turns,
    until,
)
from tests.timing import elapse


class RealWorker:
    """A real child process behind the pool's seam."""

    def __init__(self, process: ServerProcess) -> None:
        self.process = process
        self._callbacks: list[Callable[[], None]] = []
        process.connect(lambda line: None, self._tell)

    @property
    def is_alive(self) -> bool:
        return self.process.is_alive

    def add_exit_callback(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    async def stop(self) -> None:
        await self.process.stop()

    def _tell(self) -> None:
        for callback in self._callbacks:
            callback()


def real_start(launcher: ColdLauncher) -> Callable[[StartReport], Awaitable[RealWorker]]:
    async def start(report: StartReport) -> RealWorker:
        spec = LaunchSpec(
            package="cat", command="cat", environment={"PATH": "/usr/bin:/bin"}, directory=Path("/"), private_home=True
        )
        return RealWorker(await launcher.launch(spec))

    return start


def children_called(name: str) -> list[int]:
    return [child.pid for child in psutil.Process().children() if child.name() == name]


async def test_fifty_callers_at_once_share_one_start() -> None:
    pool, start = Pool[Puppet](LIMITS), Puppets()
    leases = await asyncio.gather(*(pool.acquire(key(), start) for _ in range(50)))
    assert len(start.made) == len(pool) == 1
    assert {id(lease.worker) for lease in leases} == {id(start.made[0])}
    assert (pool.busy_count, pool.idle_count) == (1, 0)
    for lease in leases:
        lease.release()
        lease.release()
    assert (pool.busy_count, pool.idle_count) == (0, 1)
    await pool.close()


async def test_a_live_worker_is_leased_without_waiting() -> None:
    pool, start = Pool[Puppet](LIMITS), Puppets()
    assert pool.acquire_ready(key()) is None
    with await pool.acquire(key(), start) as lease:
        again = pool.acquire_ready(key())
        assert again is not None
        assert again.worker is lease.worker
        again.release()
        assert pool.busy_count == 1
    assert pool.idle_count == 1
    await pool.close()
    assert start.made[0].stops == 1


async def test_all_who_wait_share_the_failure() -> None:
    pool, start = Pool[Puppet](LIMITS), Puppets()
    start.failure = ServerStartError("no", stderr_tail=("because",))
    results = await asyncio.gather(*(pool.acquire(key(), start) for _ in range(5)), return_exceptions=True)
    assert results == [start.failure] * 5
    assert len(pool) == 0


async def test_a_caller_who_gives_up_does_not_end_the_start() -> None:
    pool, start = Pool[Puppet](LIMITS), Puppets()
    start.gate.clear()
    first, second = (asyncio.create_task(pool.acquire(key(), start)) for _ in range(2))
    await turns()
    first.cancel()
    await turns()
    start.gate.set()
    lease = await second
    assert first.cancelled()
    lease.release()
    assert pool.idle_count == 1
    await pool.close()


async def test_a_start_that_nobody_waits_for_any_more_makes_an_idle_worker() -> None:
    pool, start = Pool[Puppet](LIMITS), Puppets()
    start.gate.clear()
    task = asyncio.create_task(pool.acquire(key(), start))
    await turns()
    task.cancel()
    await turns()
    assert pool.starting_count == 1
    start.gate.set()
    await turns()
    assert pool.idle_count == 1
    await pool.close()


async def test_at_a_limit_the_least_recently_used_idle_worker_makes_room() -> None:
    pool, start = Pool[Puppet](replace(LIMITS, max_processes=3)), Puppets()
    for name in "abc":
        (await pool.acquire(key(name), start)).release()
    (await pool.acquire(key("a"), start)).release()
    (await pool.acquire(key("d"), start)).release()
    assert [worker.stops for worker in start.made] == [0, 1, 0, 0]
    assert len(pool) == 3
    await pool.close()


async def test_a_start_waits_until_the_process_that_makes_room_is_gone() -> None:
    pool, start = Pool[Puppet](replace(LIMITS, max_processes=1)), Puppets()
    (await pool.acquire(key("a"), start)).release()
    start.made[0].may_stop.clear()
    task = asyncio.create_task(pool.acquire(key("b"), start))
    await turns()
    assert len(start.made) == 1
    start.made[0].may_stop.set()
    (await task).release()
    assert not start.made[0].is_alive
    await pool.close()


async def test_nothing_idle_means_no_room() -> None:
    limits = replace(LIMITS, max_processes=4, max_processes_per_package=3, max_processes_per_principal=2)
    pool, start = Pool[Puppet](limits), Puppets()
    await pool.acquire(key("1"), start, principal="anna")
    await pool.acquire(key("2"), start, principal="anna")
    with pytest.raises(CapacityError) as caught:
        await pool.acquire(key("3"), start, principal="anna", wait_seconds=0)
    assert caught.value.retry_after_seconds > 0
    await pool.acquire(key("4"), start, principal="bert")
    with pytest.raises(CapacityError, match="'mail'"):
        await pool.acquire(key("5"), start, principal="carl", wait_seconds=0)
    await pool.acquire(key("6", package="files"), start, principal="carl")
    with pytest.raises(CapacityError, match="The gateway"):
        await pool.acquire(key("7", package="files"), start, principal="dora", wait_seconds=0)
    # Those who wait for a start count as well, and those who were refused left nothing.
    assert len(pool) == 4
    await pool.close()


async def test_who_is_at_a_limit_of_their_own_gives_up_something_of_their_own() -> None:
    pool, start = Pool[Puppet](replace(LIMITS, max_processes_per_principal=2)), Puppets()
    (await pool.acquire(key("old"), start, principal="bert")).release()
    (await pool.acquire(key("1"), start, principal="anna")).release()
    (await pool.acquire(key("2"), start, principal="anna")).release()
    (await pool.acquire(key("3"), start, principal="anna")).release()
    assert [worker.stops for worker in start.made] == [0, 1, 0, 0]
    await pool.close()


async def test_nobody_loses_a_session_because_somebody_else_needs_room() -> None:
    pool, start = Pool[Puppet](replace(LIMITS, max_processes=1)), Puppets()
    (await pool.acquire(key("1", session="s"), start, principal="anna")).release()
    with pytest.raises(CapacityError):
        await pool.acquire(key("2"), start, principal="bert", wait_seconds=0)
    (await pool.acquire(key("3"), start, principal="anna")).release()
    assert start.made[0].stops == 1
    await pool.close()


async def test_a_retired_worker_finishes_its_calls_and_ends() -> None:
    pool, start = Pool[Puppet](LIMITS), Puppets()
    old = await pool.acquire(key(), start)
    pool.retire(key())
    assert pool.acquire_ready(key()) is None
    new = await pool.acquire(key(), start)
    assert new.worker is not old.worker
    assert old.worker.stops == 0
    old.release()
    await turns()
    assert (old.worker.stops, new.worker.stops, len(pool)) == (1, 0, 1)
    await pool.close()


@on_its_own_clock
async def test_a_retired_worker_that_is_never_given_back_ends_after_the_request_timeout() -> None:
    pool, start = pool_with_clock(replace(LIMITS, request_timeout_seconds=300)), Puppets()
    lease = await pool.acquire(key(), start)
    pool.retire(key())
    await elapse(299)
    assert (lease.worker.stops, len(pool)) == (0, 1)
    await elapse(2)
    assert (lease.worker.stops, len(pool)) == (1, 0)
    lease.release()


@on_its_own_clock
async def test_one_of_a_package_with_a_time_of_its_own_ends_after_that() -> None:
    pool, start = pool_with_clock(replace(LIMITS, request_timeout_seconds=300)), Puppets()
    lease = await pool.acquire(key(), start, limits=replace(LIMITS, request_timeout_seconds=1000))
    pool.retire(key())
    await elapse(999)
    assert (lease.worker.stops, len(pool)) == (0, 1)
    await elapse(2)
    assert (lease.worker.stops, len(pool)) == (1, 0)
    lease.release()


@on_its_own_clock
async def test_an_idle_worker_ends_and_one_in_use_stays() -> None:
    pool, start = pool_with_clock(replace(LIMITS, idle_timeout_seconds=600)), Puppets()
    (await pool.acquire(key("idle"), start)).release()
    lease = await pool.acquire(key("in use"), start)
    await elapse(400)
    (await pool.acquire(key("idle"), start)).release()
    await elapse(599)
    assert [worker.stops for worker in start.made] == [0, 0]
    await elapse(2)
    assert [worker.stops for worker in start.made] == [1, 0]
    await elapse(10_000)
    lease.release()
    await elapse(1200)
    assert [worker.stops for worker in start.made] == [1, 1]
    assert len(pool) == 0


async def test_a_worker_gets_no_lease_after_the_end_of_its_token() -> None:
    wall, start = Clock(), Puppets()
    pool = Pool[Puppet](LIMITS, wall_now=wall)
    lease = await pool.acquire(key(), start, expires_at=wall.time + 3600)
    assert pool.acquire_ready(key()) is not None
    wall.time += 3600
    assert pool.acquire_ready(key()) is None
    assert lease.worker.stops == 0
    await pool.close()


@on_its_own_clock
async def test_an_idle_worker_does_not_outlive_its_token() -> None:
    pool, start = pool_with_clock(replace(LIMITS, idle_timeout_seconds=1e6)), Puppets()
    # Longer than the longest timer.
    life_seconds = 3 * 86_400
    expires_at = asyncio.get_running_loop().time() + life_seconds
    (await pool.acquire(key(), start, expires_at=expires_at)).release()
    await elapse(life_seconds - 1)
    assert (start.made[0].stops, len(pool)) == (0, 1)
    await elapse(2)
    assert (start.made[0].stops, len(pool)) == (1, 0)


async def test_a_discarded_worker_ends_now() -> None:
    pool, start = Pool[Puppet](LIMITS), Puppets()
    lease = await pool.acquire(key(), start)
    await pool.discard(key())
    assert (lease.worker.stops, len(pool)) == (1, 0)
    lease.release()
    start.gate.clear()
    task = asyncio.create_task(pool.acquire(key(), start))
    await turns()
    await pool.discard(key())
    with pytest.raises(ServerExitedError):
        await task
    assert (len(pool), start.running) == (0, 0)
    await pool.discard(key("unknown"))


async def test_a_server_that_keeps_failing_is_left_alone_for_a_while() -> None:
    clock, start = Clock(), Puppets()
    pool = Pool[Puppet](LIMITS, now=clock, random=lambda: 0.0)
    start.failure = ServerStartError("It does not start.")
    for delay in (0, 1, 2, 4):
        with pytest.raises(ServerStartError):
            await pool.acquire(key(session=str(delay)), start)
        if delay:
            with pytest.raises(ServerBackingOffError) as caught:
                await pool.acquire(key(), start)
            assert caught.value.retry_after_seconds == delay
            assert caught.value.why == "It does not start."
        clock.time += delay
    # Another person's token is another matter.
    start.failure = None
    (await pool.acquire(key("other"), start)).release()
    await pool.close()


async def test_a_worker_that_dies_right_after_its_start_counts_as_a_failure() -> None:
    clock, start = Clock(), Puppets()
    pool = Pool[Puppet](LIMITS, now=clock, random=lambda: 0.0)
    for _ in range(2):
        (await pool.acquire(key(), start)).worker.die()
    with pytest.raises(ServerBackingOffError):
        await pool.acquire(key(), start)
    clock.time += 1
    lease = await pool.acquire(key(), start)
    clock.time += 6
    lease.worker.die()
    # It had lived long enough: all is forgotten.
    for _ in range(2):
        (await pool.acquire(key(), start)).worker.die()
    await pool.close()


async def test_a_closed_pool_starts_nothing_and_has_nothing() -> None:
    pool, start = Pool[Puppet](LIMITS), Puppets()
    lease = await pool.acquire(key("a"), start)
    start.gate.clear()
    task = asyncio.create_task(pool.acquire(key("b"), start))
    await turns()
    await pool.close()
    assert (len(pool), lease.worker.stops, start.running) == (0, 1, 0)
    for refused in (task, pool.acquire(key("c"), start)):
        with pytest.raises(ServerExitedError):
            await refused
    await pool.close()


async def test_kill_9_of_a_server_lets_the_next_caller_start_another(launcher: ColdLauncher) -> None:
    pool = Pool[RealWorker](LIMITS)
    lease = await pool.acquire(key(), real_start(launcher))
    os.kill(lease.worker.process.pid, signal.SIGKILL)
    async with asyncio.timeout(LIMIT_SECONDS):
        await lease.worker.process.wait_exited()
    lease.release()
    with await pool.acquire(key(), real_start(launcher)) as again:
        assert again.worker.is_alive
    await pool.close()
    assert children_called("cat") == []


async def test_idle_processes_end_and_none_is_left(launcher: ColdLauncher, tmp_path: Path) -> None:
    pool = Pool[RealWorker](replace(LIMITS, idle_timeout_seconds=0.3))
    leases = await asyncio.gather(*(pool.acquire(key(str(n)), real_start(launcher)) for n in range(10)))
    assert len(children_called("cat")) == 10
    for lease in leases[1:]:
        lease.release()
    await until(lambda: len(pool) == 1)
    # The one in use stays.
    assert children_called("cat") == [leases[0].worker.process.pid]
    leases[0].release()
    await until(lambda: len(pool) == 0)
    assert children_called("cat") == []
    assert os.listdir(tmp_path / "homes") == []
    await pool.close()


@pytest.mark.threat("B34")
async def test_a_thousand_tokens_do_not_make_a_thousand_processes(launcher: ColdLauncher) -> None:
    pool = Pool[RealWorker](replace(LIMITS, max_processes=6, max_processes_per_package=6))
    start, most, refused = real_start(launcher), 0, 0

    async def call(number: int, everybody: asyncio.Barrier) -> None:
        nonlocal most, refused
        try:
            with await pool.acquire(key(str(number)), start, principal=number, wait_seconds=0):
                await everybody.wait()
                most = max(most, len(children_called("cat")))
        except CapacityError:
            refused += 1
            await everybody.wait()

    for burst in range(20):
        async with asyncio.timeout(LIMIT_SECONDS):
            everybody = asyncio.Barrier(50)
            await asyncio.gather(*(call(burst * 50 + number, everybody) for number in range(50)))
    assert most <= 6
    assert refused == 1000 - 20 * 6
    assert len(children_called("cat")) <= 6
    await pool.close()
    assert children_called("cat") == []
