"""Waits of one length: what is due, in which order, and what is not."""

import asyncio
from typing import Any

from fluidmcp.delays import Delays

SECONDS = 0.05
LIMIT_SECONDS = 10


async def read(due: "asyncio.Queue[str]", number: int) -> list[str]:
    async with asyncio.timeout(LIMIT_SECONDS):
        return [await due.get() for _ in range(number)]


async def test_what_began_first_is_due_first_and_is_gone_then() -> None:
    due: asyncio.Queue[str] = asyncio.Queue()
    delays = Delays[str](SECONDS, due.put_nowait)
    delays.begin("a")
    delays.begin("b")
    assert await read(due, 2) == ["a", "b"]
    assert len(delays) == 0


async def test_a_wait_that_begins_anew_is_due_later_and_one_that_ended_never() -> None:
    due: asyncio.Queue[str] = asyncio.Queue()
    delays = Delays[str](SECONDS, due.put_nowait)
    for item in ("a", "b", "c"):
        delays.begin(item)
    delays.begin("a")
    delays.end("b")
    delays.end("never began")
    assert "a" in delays and "b" not in delays
    assert await read(due, 2) == ["c", "a"]


async def test_a_wait_may_begin_while_another_is_told_that_it_is_due() -> None:
    due: asyncio.Queue[str] = asyncio.Queue()

    def tell(item: str) -> None:
        due.put_nowait(item)
        if item == "a":
            delays.begin("again")

    delays = Delays[str](SECONDS, tell)
    delays.begin("a")
    assert await read(due, 2) == ["a", "again"]


async def test_the_oldest_can_be_taken_and_a_cleared_table_tells_nothing() -> None:
    due: asyncio.Queue[str] = asyncio.Queue()
    cleared, following = Delays[str](SECONDS, due.put_nowait), Delays[str](2 * SECONDS, due.put_nowait)
    cleared.begin("a")
    cleared.begin("b")
    assert cleared.take_oldest() == "a"
    cleared.clear()
    assert cleared.take_oldest() is None
    following.begin("later")
    assert await read(due, 1) == ["later"]


class CountingLoop(asyncio.SelectorEventLoop):
    """Remembers the timers that it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.timers: list[asyncio.TimerHandle] = []

    def call_later(self, *args: Any, **options: Any) -> asyncio.TimerHandle:
        timer = super().call_later(*args, **options)
        self.timers.append(timer)
        return timer

    @property
    def pending_count(self) -> int:
        return sum(not timer.cancelled() and timer.when() > self.time() for timer in self.timers)


def test_waits_that_begin_when_others_are_due_need_no_further_timers() -> None:
    """One that begins anew each time, as a body that is looked at again and again, beside others that end."""
    due: asyncio.Queue[str] = asyncio.Queue()
    loop = CountingLoop()

    def tell(item: str) -> None:
        due.put_nowait(item)
        delays.begin(item)

    delays = Delays[str](SECONDS, tell)

    async def run() -> int:
        delays.begin("a")
        await read(due, 10)
        loop.timers[:] = [timer for timer in loop.timers if timer.when() < loop.time() + 2 * SECONDS]
        return loop.pending_count

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        assert runner.run(run()) == 1
