"""Workers without a process, for tests of the pool: each lives, starts and ends as the test says."""

import asyncio
from collections.abc import Callable

import pytest

from fluidmcp.config.settings import ProcessLimits
from fluidmcp.processes.pool.pool import Pool
from fluidmcp.processes.pool.slots import WorkerKey
from fluidmcp.processes.pool.starts import StartReport

LIMITS = ProcessLimits(stop_timeout_seconds=0.2)
LIMIT_SECONDS = 60.0

on_its_own_clock = pytest.mark.asyncio(loop_factories=["jumping"])
"""Nothing but timers: the loop's time stands still while anything can run, and then jumps to the next timer."""


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


class Puppet:
    """A worker without a process, whose life a test holds in its hands."""

    def __init__(self) -> None:
        self.is_alive = True
        self.stops = 0
        self.may_stop = asyncio.Event()
        self.may_stop.set()
        self._callbacks: list[Callable[[], None]] = []

    def add_exit_callback(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    async def stop(self) -> None:
        self.stops += 1
        await self.may_stop.wait()
        self.die()

    def die(self) -> None:
        if self.is_alive:
            self.is_alive = False
            for callback in self._callbacks:
                callback()


class Puppets:
    """Counts starts; each waits for `gate`."""

    def __init__(self) -> None:
        self.made: list[Puppet] = []
        self.running = 0
        self.max_running = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure: Exception | None = None

    async def __call__(self, report: StartReport) -> Puppet:
        self.running += 1
        self.max_running = max(self.max_running, self.running)
        try:
            await self.gate.wait()
            if self.failure is not None:
                raise self.failure
            self.made.append(Puppet())
            return self.made[-1]
        finally:
            self.running -= 1


def key(token: str | None = "t", *, package: str = "mail", session: str | None = None) -> WorkerKey:
    return WorkerKey(package=package, token_digest=token, session_id=session)


async def turns(number: int = 20) -> None:
    """Let everything that is ready run."""
    for _ in range(number):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_SECONDS):
        while not condition():
            await asyncio.sleep(0.005)


def pool_with_clock(limits: ProcessLimits) -> Pool[Puppet]:
    """A pool for which the loop's time is all the time there is."""
    loop = asyncio.get_running_loop()
    return Pool[Puppet](limits, now=loop.time, wall_now=loop.time)
