"""Who starts when: places, owners who take turns, and starts that compute, wait, and compute again."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping

import pytest

from fluidmcp.processes.pool.starts import QUIET_SECONDS, StartGate, StartReport
from tests.processes.puppets import on_its_own_clock, turns
from tests.timing import elapse

pytestmark = on_its_own_clock


class Machine:
    """Processes that compute, or do not, as the test says; nothing really runs."""

    def __init__(self, places: int) -> None:
        loop = asyncio.get_running_loop()
        self.gate = StartGate(places, now=loop.time, measure=self.measure)
        self.began: list[str] = []
        """The names of the starts that got a place, in order."""
        self.looks = 0
        self._used: dict[int, float] = {}
        self._speeds: dict[int, float] = {}
        self._counted_at = loop.time()
        self._ends: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._pids: dict[str, int] = {}
        self._reports: dict[str, StartReport] = {}

    def start(self, owner: str, number: int = 1, *, package: str = "", speed: float | None = 0.0) -> str:
        """Something of this owner wants to start, and then computes at `speed` processors; None: nobody can tell."""
        name = f"{owner}{number}"
        self._ends[name] = asyncio.Event()
        self._pids[name] = pid = 100 + len(self._pids)
        self._tasks[name] = asyncio.create_task(self._run(name, owner, package or name, pid, speed))
        return name

    def hand_over(self, name: str, owner: str) -> None:
        self.gate.change_owner(self._reports[name], owner)

    def set_speed(self, name: str, speed: float) -> None:
        self.measure(())
        self._speeds[self._pids[name]] = speed

    async def end(self, name: str) -> None:
        self._ends[name].set()
        await asyncio.wait({self._tasks[name]})
        await turns()

    async def cancel(self, name: str) -> None:
        self._tasks[name].cancel()
        await asyncio.wait({self._tasks[name]})
        await turns()

    async def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.wait(self._tasks.values())

    def measure(self, pids: Iterable[int]) -> Mapping[int, float]:
        self.looks += 1
        now = asyncio.get_running_loop().time()
        for pid, speed in self._speeds.items():
            self._used[pid] += speed * (now - self._counted_at)
        self._counted_at = now
        return {pid: self._used[pid] for pid in pids if pid in self._used}

    async def _run(self, name: str, owner: str, package: str, pid: int, speed: float | None) -> None:
        report = self._reports[name] = StartReport()
        async with self.gate.place(owner, package, report):
            self.began.append(name)
            report.pid = pid
            if speed is not None:
                self.measure(())
                self._used[pid], self._speeds[pid] = 0.0, speed
            await self._ends[name].wait()


@pytest.fixture
async def machine(request: pytest.FixtureRequest) -> AsyncIterator[Machine]:
    """With two places, if the test does not say otherwise."""
    machine = Machine(getattr(request, "param", 2))
    yield machine
    await machine.close()


one_place = pytest.mark.parametrize("machine", [1], indirect=True)
four_places = pytest.mark.parametrize("machine", [4], indirect=True)


async def test_starts_that_compute_keep_their_places(machine: Machine) -> None:
    for owner in "abc":
        machine.start(owner, speed=1.0)
    await elapse(100)
    assert machine.began == ["a1", "b1"]
    await machine.end("a1")
    assert machine.began == ["a1", "b1", "c1"]


async def test_a_start_that_nobody_can_look_at_keeps_its_place(machine: Machine) -> None:
    for owner in "abc":
        machine.start(owner, speed=None)
    await elapse(100)
    assert machine.began == ["a1", "b1"]


@pytest.mark.parametrize("speed", [0.0, 0.04])
async def test_starts_that_wait_give_their_places_back(machine: Machine, speed: float) -> None:
    for owner in "abcde":
        machine.start(owner, speed=speed)
    await elapse(QUIET_SECONDS / 2)
    assert machine.began == ["a1", "b1"]
    await elapse(QUIET_SECONDS)
    assert machine.began == ["a1", "b1", "c1", "d1"]
    await elapse(QUIET_SECONDS + 1)
    assert machine.began == ["a1", "b1", "c1", "d1", "e1"]


async def test_a_start_that_computes_again_counts_again(machine: Machine) -> None:
    for owner in "abcd":
        machine.start(owner)
    await elapse(2 * QUIET_SECONDS + 1)
    assert len(machine.began) == 4
    for name in ("a1", "b1"):
        machine.set_speed(name, 1.0)
    await elapse(1)
    machine.start("e")
    await elapse(100)
    assert machine.began == ["a1", "b1", "c1", "d1"]
    await machine.end("a1")
    assert machine.began[4:] == ["e1"]


async def test_one_that_hung_for_long_is_known_at_once(machine: Machine) -> None:
    for owner in "ab":
        machine.start(owner)
    await elapse(100)
    machine.start("c")
    await elapse(0.01)
    assert machine.began == ["a1", "b1", "c1"]


async def test_nobody_is_looked_at_while_nobody_waits(machine: Machine) -> None:
    for name in "ab":
        machine.start(name, speed=1.0)
        await turns()
        before = machine.looks
        await elapse(100)
        assert machine.looks == before
    machine.start("c")
    before = machine.looks
    await elapse(10)
    assert machine.looks > before
    await machine.cancel("c1")
    before = machine.looks
    await elapse(100)
    assert machine.looks == before


@pytest.mark.parametrize("speed", [0.0, 1.0])
async def test_what_one_owner_starts_delays_nobody_else(machine: Machine, speed: float) -> None:
    for number in range(8):
        machine.start("a", number, speed=speed)
    await turns()
    assert machine.began == ["a0", "a1"]
    machine.start("b", speed=1.0)
    await turns()
    assert machine.began == ["a0", "a1", "b1"]
    # But not without end: the next one needs a place.
    machine.start("c", speed=1.0)
    await turns()
    assert machine.began == ["a0", "a1", "b1"]
    await machine.end("b1")
    assert machine.began == ["a0", "a1", "b1", "c1"]


async def test_hanging_first_and_computing_then_delays_nobody_else_either(machine: Machine) -> None:
    for number in range(8):
        machine.start("a", number)
    await elapse(10)
    assert len(machine.began) == 8
    for number in range(8):
        machine.set_speed(f"a{number}", 1.0)
    await elapse(1)
    machine.start("b", speed=1.0)
    machine.start("c", speed=1.0)
    await elapse(10)
    assert machine.began[8:] == ["b1"]
    await machine.end("b1")
    assert machine.began[8:] == ["b1", "c1"]


async def test_a_package_that_everybody_starts_delays_no_other(machine: Machine) -> None:
    for owner in "abcdef":
        machine.start(owner, package="slow", speed=1.0)
    machine.start("g", package="quick", speed=1.0)
    await turns()
    assert machine.began == ["a1", "b1", "g1"]
    machine.start("h", package="quick", speed=1.0)
    await machine.end("a1")
    assert machine.began == ["a1", "b1", "g1"]
    await machine.end("b1")
    assert machine.began == ["a1", "b1", "g1", "c1"]


async def test_one_persons_starts_do_not_delay_another_one_in_the_same_package(machine: Machine) -> None:
    for number in range(4):
        machine.start("a", number, package="mail", speed=1.0)
    machine.start("b", package="mail", speed=1.0)
    await turns()
    assert machine.began == ["a0", "a1", "b1"]


@one_place
async def test_owners_take_turns(machine: Machine) -> None:
    for number in range(4):
        machine.start("a", number, speed=1.0)
    machine.start("b", 0, speed=1.0)
    machine.start("b", 1, speed=1.0)
    machine.start("c", 0, speed=1.0)
    await turns()
    for _ in range(6):
        await machine.end(machine.began[-1])
    assert machine.began == ["a0", "b0", "c0", "a1", "b1", "a2", "a3"]


@one_place
async def test_who_hangs_again_and_again_waits_for_a_turn_too(machine: Machine) -> None:
    for number in range(4):
        machine.start("a", number)
    machine.start("b")
    await elapse(QUIET_SECONDS + 0.5)
    assert machine.began == ["a0", "b1"]


@four_places
async def test_others_see_half_of_the_places_taken_at_most(machine: Machine) -> None:
    for number in range(5):
        machine.start("a", number, speed=1.0)
    await turns()
    assert machine.began == ["a0", "a1", "a2", "a3"]
    for owner in "bcd":
        machine.start(owner, speed=1.0)
    await turns()
    assert machine.began[4:] == ["b1", "c1"]


async def test_a_start_that_somebody_else_waits_for_too_gets_their_turn(machine: Machine) -> None:
    for number in range(4):
        machine.start("a", number, speed=1.0)
    await turns()
    machine.hand_over("a3", "b")
    await turns()
    assert machine.began == ["a0", "a1", "a3"]
    machine.hand_over("a0", "c")
    machine.hand_over("a2", "d")
    await turns()
    assert machine.began == ["a0", "a1", "a3"]


async def test_who_gives_up_waiting_leaves_the_queue(machine: Machine) -> None:
    for owner in "abcd":
        machine.start(owner, speed=1.0)
    await turns()
    await machine.cancel("c1")
    await machine.cancel("a1")
    assert machine.began == ["a1", "b1", "d1"]
    assert machine.gate.waiting_count == 0
