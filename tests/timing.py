"""Time in tests: a clock that a test moves, and limits that do not count what a busy machine takes away.

A machine that runs tests may stand still for seconds at any line. No test compares two real durations, therefore: what
waits for a timer runs on a loop whose time a test decides, what has to be quick is measured in time that this process
ran, and all other limits only say when a wait has certainly failed.
"""

import asyncio
import faulthandler
import math
import selectors
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

TICK_SECONDS: Final = 0.01


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of waiting for a timer it says that the time has passed."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        ready = super().select(0)
        if not ready:
            self.now += timeout
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop whose time stands still while anything can run, and then jumps to the next timer.

    For coroutines that wait for one another and for timers. What waits for another process or thread would find all
    its time-outs expired.
    """

    def __init__(self) -> None:
        self._jumping_selector = _JumpingSelector()
        super().__init__(self._jumping_selector)

    def time(self) -> float:
        return self._jumping_selector.now


async def elapse(seconds: float) -> None:
    """Let this much time of a `JumpingLoop` pass, and everything happen that is due by then."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, JumpingLoop), "on any other loop this would be a pause"
    is_over = asyncio.Event()
    loop.call_later(seconds, is_over.set)
    await is_over.wait()


@asynccontextmanager
async def limit_of_running_time(seconds: float) -> AsyncGenerator[None]:
    """As `asyncio.timeout`, but it counts only time in which this event loop runs.

    A process that stands still, or that has to wait for a processor, does not come nearer to its limit by more than a
    tick. Code that really waits does.

    Raises:
        TimeoutError: the block took longer.
    """
    loop = asyncio.get_running_loop()
    ticks_left = math.ceil(seconds / TICK_SECONDS)
    async with asyncio.timeout(None) as limit:

        def tick() -> None:
            nonlocal ticks_left, timer
            ticks_left -= 1
            if ticks_left > 0:
                timer = loop.call_later(TICK_SECONDS, tick)
            else:
                limit.reschedule(loop.time())

        timer = loop.call_later(TICK_SECONDS, tick)
        try:
            yield
        finally:
            timer.cancel()


@contextmanager
def limit_of_processor_time(seconds: float) -> Generator[None]:
    """Fails when the block costs this process more than that: computing, not waiting."""
    began = time.process_time()
    yield
    spent = time.process_time() - began
    assert spent < seconds, f"{spent:.3f} s of processor time were used, {seconds} s are allowed"


@contextmanager
def patience(seconds: float) -> Generator[None]:
    """Lets a test take so long from here on, instead of pytest's `faulthandler_timeout`, which ends the whole run.

    For what has a limit of its own that is longer. What comes after the block must have limits of its own, too. No
    block may stand in another one: there is one timer.
    """
    faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
