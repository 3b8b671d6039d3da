"""A line of waiters for cups: who gets the next one, who is refused, and what becomes of those who leave."""

import asyncio
from collections.abc import Callable

import pytest

from fluidmcp.errors import CapacityError, ServerExitedError
from fluidmcp.processes.pool.waiting import MAX_WAITERS, MAX_WAITERS_PER_OWNER, WaitingLine
from tests.processes.puppets import on_its_own_clock, turns
from tests.timing import elapse

pytestmark = on_its_own_clock


class Bar:
    """Has some cups; people have limits of their own."""

    def __init__(self, cups: int = 0) -> None:
        self.line = WaitingLine[str]()
        self.cups = cups
        self.served: list[str] = []
        self.drunk: set[str] = set()
        """Those who get nothing although there are cups."""
        self.failure: ServerExitedError | None = None

    def ask(self, name: str, *, owner: str = "", seconds: float = 10) -> asyncio.Task[str]:
        async def wait() -> str:
            return await self.line.get(owner or name, self._attempt(name), self._give_back, seconds=seconds)

        return asyncio.create_task(wait())

    def bring(self, cups: int = 1) -> None:
        self.cups += cups
        self.line.notice()

    def _attempt(self, name: str) -> Callable[[], str]:
        def attempt() -> str:
            if self.failure is not None:
                raise self.failure
            if self.cups == 0 or name in self.drunk:
                raise CapacityError("no", why=f"{self.cups} cups", retry_after_seconds=5)
            self.cups -= 1
            self.served.append(name)
            return name

        return attempt

    def _give_back(self, name: str) -> None:
        self.served.remove(name)
        self.bring()


async def test_who_can_be_served_does_not_wait() -> None:
    bar = Bar(cups=1)
    assert await bar.ask("a") == "a"
    assert len(bar.line) == 0


async def test_first_come_first_served() -> None:
    bar = Bar()
    tasks = [bar.ask(name) for name in "abc"]
    await turns()
    bar.bring(2)
    await turns()
    assert bar.served == ["a", "b"]
    assert [task.done() for task in tasks] == [True, True, False]
    bar.bring()
    await turns()
    assert (bar.served, len(bar.line)) == (["a", "b", "c"], 0)


async def test_who_comes_later_does_not_overtake() -> None:
    bar = Bar()
    bar.ask("a")
    await turns()
    bar.cups = 1  # and nobody has noticed yet
    late = bar.ask("b")
    await turns()
    assert bar.served == ["a"]
    late.cancel()


async def test_who_cannot_be_served_blocks_nobody() -> None:
    bar = Bar()
    bar.drunk = {"a"}
    tasks = [bar.ask(name) for name in "ab"]
    await turns()
    bar.bring()
    await turns()
    assert bar.served == ["b"]
    bar.drunk.clear()
    bar.bring()
    await turns()
    assert bar.served == ["b", "a"]
    await asyncio.gather(*tasks)


async def test_after_a_while_the_answer_is_the_last_refusal() -> None:
    bar = Bar()
    bar.drunk = {"a"}
    task = bar.ask("a")
    await elapse(9.9)
    assert not task.done()
    bar.bring(3)
    await elapse(0.2)
    with pytest.raises(CapacityError) as refusal:
        await task
    assert refusal.value.why == "3 cups"
    assert len(bar.line) == 0


async def test_who_does_not_want_to_wait_is_refused_at_once() -> None:
    bar = Bar()
    task = bar.ask("a", seconds=0)
    await turns()
    assert isinstance(task.exception(), CapacityError)


async def test_the_line_has_an_end() -> None:
    bar = Bar()
    tasks = [bar.ask(str(number)) for number in range(MAX_WAITERS)]
    await turns()
    assert len(bar.line) == MAX_WAITERS
    late = bar.ask("late")
    await turns()
    assert isinstance(late.exception(), CapacityError)
    bar.bring(MAX_WAITERS)
    await asyncio.gather(*tasks)


async def test_nobody_fills_the_line_alone() -> None:
    bar = Bar()
    tasks = [bar.ask(str(number), owner="anna") for number in range(MAX_WAITERS_PER_OWNER)]
    await turns()
    refused, other = bar.ask("one more", owner="anna"), bar.ask("bert")
    await turns()
    assert isinstance(refused.exception(), CapacityError)
    assert not other.done()
    bar.bring(MAX_WAITERS_PER_OWNER + 1)
    await asyncio.gather(other, *tasks)


async def test_who_leaves_leaves_the_line() -> None:
    bar = Bar()
    first, second = bar.ask("a"), bar.ask("b")
    await turns()
    first.cancel()
    await turns()
    assert len(bar.line) == 1
    bar.bring()
    assert await second == "b"
    assert bar.served == ["b"]


async def test_who_leaves_in_the_moment_of_being_served_gives_it_back() -> None:
    bar = Bar()
    first, second = bar.ask("a"), bar.ask("b")
    await turns()
    bar.bring()
    await asyncio.sleep(0)
    assert bar.served == ["a"]
    assert not first.done()
    first.cancel()
    assert await second == "b"
    assert (bar.served, bar.cups) == (["b"], 0)


async def test_any_other_failure_ends_the_wait() -> None:
    bar = Bar()
    task = bar.ask("a")
    await turns()
    bar.failure = ServerExitedError("over")
    bar.line.notice()
    await turns()
    assert task.exception() is bar.failure
