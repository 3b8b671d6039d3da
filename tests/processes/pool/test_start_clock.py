"""A slow start and one that hangs: told apart by what moves, and ended in the end either way."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from fluidmcp.errors import ServerTimeoutError
from fluidmcp.processes.pool.pool import Pool
from fluidmcp.processes.pool.starts import StartProgress, StartReport
from tests.processes.puppets import LIMITS, Puppet, key, on_its_own_clock
from tests.timing import elapse

pytestmark = on_its_own_clock


@dataclass
class Moving:
    """A process that writes and computes as the test says; nothing really runs."""

    pid: int = 7
    stderr_reads: int = 0
    used_seconds: float | None = 0.0

    def stderr_tail(self) -> tuple[str, ...]:
        return ("fetching",) if self.stderr_reads else ()


class Machine:
    """A pool whose starts have 60 seconds without movement, and 600 in all."""

    def __init__(self, **limits: Any) -> None:
        loop = asyncio.get_running_loop()
        changed = replace(LIMITS, **{"start_timeout_seconds": 60, "install_timeout_seconds": 600, **limits})
        self.pool = Pool[Puppet](changed, now=loop.time, wall_now=loop.time, measure=self.measure)
        self.process = Moving()
        self.is_ready = asyncio.Event()
        self.looked_at: list[int] = []

    def measure(self, pids: Iterable[int]) -> Mapping[int, float]:
        self.looked_at += pids
        used = self.process.used_seconds
        return {} if used is None else {self.process.pid: used}

    def start(self, runner: str = "") -> "asyncio.Task[Any]":
        async def start(report: StartReport) -> Puppet:
            report.runner = runner
            report.watch(self.process)
            await self.is_ready.wait()
            return Puppet()

        return asyncio.create_task(self.pool.acquire(key(), start))

    def write(self) -> None:
        self.process.stderr_reads += 1

    def compute(self, seconds: float = 0.2) -> None:
        assert self.process.used_seconds is not None
        self.process.used_seconds += seconds

    def describe(self, package: str = "mail") -> StartProgress:
        """In whole seconds."""
        ((_, report),) = self.pool.list_starts(package)
        progress = report.describe(asyncio.get_running_loop().time())
        return progress._replace(seconds=round(progress.seconds))

    async def go_on(self, move: Callable[[], None], *, seconds: float, every: float) -> None:
        for _ in range(round(seconds / every)):
            await elapse(every)
            move()


@pytest.fixture
async def machine(request: pytest.FixtureRequest) -> AsyncIterator[Machine]:
    machine = Machine(**getattr(request, "param", {}))
    yield machine
    await machine.pool.close()


async def test_while_stderr_moves_a_start_may_go_on(machine: Machine) -> None:
    starting = machine.start()
    await machine.go_on(machine.write, seconds=550, every=50)
    assert not starting.done()
    machine.is_ready.set()
    (await starting).release()


async def test_what_said_something_and_then_no_more_is_given_up(machine: Machine) -> None:
    starting = machine.start()
    await machine.go_on(machine.write, seconds=100, every=50)
    await elapse(59)
    assert not starting.done()
    await elapse(3)
    with pytest.raises(ServerTimeoutError) as failure:
        await starting
    assert failure.value.what == "The server of 'mail' did not become ready in time."
    assert failure.value.why == "It neither said nor did anything for 60 seconds, and has not answered."
    assert failure.value.stderr_tail == ("fetching",)


async def test_one_that_moves_for_ever_is_ended_at_the_install_timeout_and_it_is_said_why(machine: Machine) -> None:
    starting = machine.start()
    await machine.go_on(machine.write, seconds=598, every=1)
    assert not starting.done()
    await machine.go_on(machine.write, seconds=4, every=1)
    with pytest.raises(ServerTimeoutError) as failure:
        await starting
    assert failure.value.what == "The server of 'mail' was still installing or loading after 600 seconds."
    assert failure.value.stderr_tail == ("fetching",)


async def test_a_runner_that_works_without_a_word_may_go_on(machine: Machine) -> None:
    starting = machine.start("uvx")
    await machine.go_on(machine.compute, seconds=500, every=50)
    assert not starting.done()
    machine.is_ready.set()
    (await starting).release()


@pytest.mark.parametrize("used", [0.0005, None], ids=["idles", "cannot be looked at"])
async def test_a_runner_that_does_nothing_hangs(machine: Machine, used: float | None) -> None:
    machine.process.used_seconds = used
    starting = machine.start("npx")
    if used is not None:
        await machine.go_on(lambda: machine.compute(used), seconds=58, every=1)
    else:
        await elapse(58)
    assert not starting.done()
    await elapse(4)
    with pytest.raises(ServerTimeoutError, match="did not become ready in time") as failure:
        await starting
    assert failure.value.why == "It had 60 seconds to start and answer the handshake."


async def test_what_is_no_runner_and_computes_without_a_word_hangs(machine: Machine) -> None:
    starting = machine.start()
    await machine.go_on(machine.compute, seconds=62, every=1)
    with pytest.raises(ServerTimeoutError):
        await starting
    assert machine.looked_at == []


@pytest.mark.parametrize("machine", [{"install_timeout_seconds": 5}], indirect=True)
async def test_the_install_timeout_is_never_less_than_the_start_timeout(machine: Machine) -> None:
    starting = machine.start()
    await machine.go_on(machine.write, seconds=58, every=1)
    assert not starting.done()
    await machine.go_on(machine.write, seconds=4, every=1)
    with pytest.raises(ServerTimeoutError, match="after 60 seconds"):
        await starting


@pytest.mark.parametrize("machine", [{"start_timeout_seconds": 0.4}], indirect=True)
async def test_who_has_little_time_is_looked_at_often(machine: Machine) -> None:
    starting = machine.start()
    await elapse(0.3)
    assert not starting.done()
    await elapse(0.2)
    assert starting.done()
    with pytest.raises(ServerTimeoutError):
        await starting


async def test_one_that_takes_long_to_end_does_not_keep_another_from_being_ended(machine: Machine) -> None:
    async def hang(report: StartReport) -> Puppet:
        report.watch(Moving())
        try:
            await elapse(1000)
        finally:
            machine.write()
            await elapse(5)
        return Puppet()

    first = asyncio.create_task(machine.pool.acquire(key("first"), hang))
    await elapse(3)
    second = asyncio.create_task(machine.pool.acquire(key("second"), hang))
    await elapse(70)
    assert first.done()
    assert second.done()
    for task in (first, second):
        with pytest.raises(ServerTimeoutError, match="did not become ready in time"):
            await task


async def test_how_far_a_start_is(machine: Machine) -> None:
    machine.start()
    await elapse(4)
    assert machine.describe() == StartProgress("starting", 4, "")
    await elapse(2)
    assert machine.describe().state == "starting"
    machine.write()
    await elapse(1)
    assert machine.describe() == StartProgress("installing", 7, "")
    await elapse(5)
    assert machine.describe().state == "starting", "it has become silent"
    machine.is_ready.set()
    await elapse(1)
    assert machine.pool.list_starts("mail") == []


async def test_a_runner_installs_when_it_takes_long(machine: Machine) -> None:
    machine.start("uvx")
    await elapse(4)
    assert machine.describe() == StartProgress("starting", 4, "uvx")
    await elapse(2)
    assert machine.describe() == StartProgress("installing", 6, "uvx")


@pytest.mark.parametrize("machine", [{"max_concurrent_starts": 1}], indirect=True)
async def test_what_waits_for_its_turn_has_not_begun(machine: Machine) -> None:
    machine.start("uvx")

    async def start(_: StartReport) -> Puppet:
        return Puppet()

    other = asyncio.create_task(machine.pool.acquire(key("other", package="other"), start))
    await elapse(0.5)
    assert machine.describe("other") == StartProgress("waiting")
    await elapse(3)
    (await other).release()
