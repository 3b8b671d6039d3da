"""What a server that goes wild costs its neighbour, measured: `scripts/measure-neighbour`."""

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Callable
from typing import Final

from tests.isolation.rows import Row
from tests.isolation.world import Person, User, World, open_world

WILD: Final = {
    "processors": Row(name="spin", attack="wild.spin", extra={"count": 1}),
    "processes": Row(name="fork", attack="wild.fork", extra={"count": 100, "hold": 4}),
    "memory": Row(name="allocate", attack="wild.allocate", extra={"count": 1000, "hold": 4}),
}
"""Within the usual limits: nobody is ended for it."""
IDLE_SECONDS: Final = 3.0


async def time_calls(world: World, person: Person, is_over: Callable[[], bool]) -> list[float]:
    """Milliseconds of call after call, until it is over."""
    times: list[float] = []
    while not is_over():
        began = time.perf_counter()
        await world.call(person, "echo", text="hello")
        times.append((time.perf_counter() - began) * 1000)
    return times


async def measure(level: str, user: User, rounds: int) -> None:
    async with open_world(level, user) as world:
        neighbour, wild = world.make_person(), world.make_person()
        for person in (neighbour, wild):
            await world.settle(person, plant=False)
        columns = ("calls", "p50 ms", "p99 ms", "p50/idle", "p99/idle")
        write_line(f"level {level}, user {user}", *columns)
        for name, row in WILD.items():
            idle: list[float] = []
            busy: list[float] = []
            # Once uncounted: what happens until it is noticed that somebody computes for long is not what is asked.
            await world.attack(wild, wild, row)
            for _ in range(rounds):
                end = time.monotonic() + IDLE_SECONDS
                idle += await time_calls(world, neighbour, lambda end=end: time.monotonic() > end)
                going_wild = asyncio.create_task(world.attack(wild, wild, row))
                busy += await time_calls(world, neighbour, going_wild.done)
            show("idle", idle, idle)
            show(name, busy, idle)


def show(name: str, times: list[float], idle: list[float]) -> None:
    p50, p99 = quantiles(times)
    idle_p50, idle_p99 = quantiles(idle)
    values = (p50, p99, p50 / idle_p50, p99 / idle_p99)
    write_line(name, str(len(times)), *(f"{value:.2f}" for value in values))


def write_line(name: str, *columns: str) -> None:
    sys.stdout.write(f"{name:30}" + "".join(f"{column:>10}" for column in columns) + "\n")
    sys.stdout.flush()


def quantiles(times: list[float]) -> tuple[float, float]:
    return statistics.median(times), statistics.quantiles(times, n=100)[98]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--level", default="landlock")
    parser.add_argument("--user", default="ordinary", choices=["root", "ordinary"])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    asyncio.run(measure(arguments.level, arguments.user, arguments.rounds))


if __name__ == "__main__":
    main()
