"""E03: a server that takes all there is is ended and its caller is told why; its neighbour is served meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import psutil
import pytest
import pytest_asyncio

from tests.isolation.levels import WALLS, world_id
from tests.isolation.rows import NOTHING, OWN_NAMESPACE, Row
from tests.isolation.world import User, World, is_well, open_world

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMIT_SECONDS: Final = 30.0
SPIN_SECONDS: Final = 50.0
"""On a busy machine a server gets less processor time, and it takes longer until it had a lot."""
HOLD_SECONDS: Final = 24.0
"""How long it keeps what it took, unless it is ended: on a busy machine it is looked at seldom."""
LIMITS: Final = {
    "FMCP_MAX_MEMORY_MB": "192",
    "FMCP_MAX_TASKS": "40",
    "FMCP_MAX_DISK_MB": "24",
    "FMCP_MAX_OPEN_FILES": "256",
}


@dataclass(frozen=True, slots=True)
class Excess:
    """What is taken, how much, and which limit ends the server; `within` is how much it may have."""

    attack: str
    count: int
    within: int
    limit: str
    """The variable that the caller is told of; empty: the system says no to the server, which goes on."""
    refused: frozenset[str] = NOTHING
    """Levels where the system says no before that, and the server goes on."""


EXCESSES: Final[Sequence[Excess]] = (
    Excess("wild.fork", 2000, 20, "FMCP_MAX_TASKS"),
    Excess("wild.start_threads", 2000, 20, "FMCP_MAX_TASKS", frozenset({"uid", "auto", "namespace-ordinary"})),
    Excess("wild.allocate", 1500, 64, "FMCP_MAX_MEMORY_MB"),
    Excess("wild.allocate_in_children", 800, 64, "FMCP_MAX_MEMORY_MB"),
    Excess("wild.write_memory_files", 600, 64, "FMCP_MAX_MEMORY_MB"),
    Excess("wild.fill", 200, 8, "FMCP_MAX_DISK_MB", OWN_NAMESPACE),
    Excess("wild.fill_nameless", 200, 8, "FMCP_MAX_DISK_MB", OWN_NAMESPACE),
    Excess("wild.fill_deep", 200, 8, "FMCP_MAX_DISK_MB", OWN_NAMESPACE),
    Excess("wild.open_files", 1000, 100, ""),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=WALLS, ids=world_id)
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    level, user = request.param
    async with open_world(level, user, **LIMITS) as world:
        yield world


async def run_wild(world: World, attack: str, count: int, *, hold: float) -> tuple[dict[str, Any], psutil.Process]:
    """The attack of somebody new while a neighbour is served: what the caller hears, and the server that it was."""
    neighbour, wild = world.make_person(), world.make_person()
    for person in (neighbour, wild):
        await world.settle(person, plant=False)
    assert wild.server is not None
    row = Row(name=attack, attack=attack, extra={"count": count, "hold": hold})
    taking = asyncio.create_task(world.attack(wild, wild, row))
    calls = 0
    while not taking.done() or calls < 3:
        assert await world.call(neighbour, "echo", text="hello") == "hello"
        calls += 1
    assert await world.serves(neighbour), "in the process that it was"
    return await taking, wild.server


@pytest.mark.threat("E03")
@pytest.mark.parametrize("excess", EXCESSES, ids=lambda excess: excess.attack)
async def test_who_takes_too_much_is_ended_and_told_and_the_neighbour_is_served(world: World, excess: Excess) -> None:
    is_ended = bool(excess.limit) and not excess.refused & {world.level, f"{world.level}-{world.user}"}
    told, server = await run_wild(world, excess.attack, excess.count, hold=HOLD_SECONDS if is_ended else 0)
    if is_ended:
        assert told["outcome"] == "cut off", told
        assert excess.limit in told["detail"], told
        async with asyncio.timeout(LIMIT_SECONDS):
            while server.is_running() and server.status() != psutil.STATUS_ZOMBIE:
                await asyncio.sleep(0.02)
    else:
        assert told["outcome"] == "refused", told
        assert is_well(server)


@pytest.mark.threat("E03")
@pytest.mark.parametrize("excess", EXCESSES, ids=lambda excess: excess.attack)
async def test_who_stays_within_the_limits_is_served(world: World, excess: Excess) -> None:
    told, server = await run_wild(world, excess.attack, excess.within, hold=0)
    assert told["outcome"] == "found", told
    assert is_well(server)


@pytest.mark.threat("E03")
@pytest.mark.parametrize(("level", "user"), [world for world in WALLS if world[0] != "auto"])
async def test_what_all_processes_of_a_user_share_is_left_to_others(level: str, user: User) -> None:
    """Somebody new is served while one server has all that the kernel gives to one user, with the usual limits."""
    async with open_world(level, user) as world:
        for attack in ("wild.send_descriptors", "wild.watch"):
            wild = world.make_person()
            await world.settle(wild, plant=False)
            row = Row(name=attack, attack=attack, extra={"count": 400, "hold": 4})
            taking = asyncio.create_task(world.attack(wild, wild, row))
            while not taking.done():
                person = world.make_person()
                assert await world.call(person, "echo", text="hello") == "hello"
                await asyncio.wait({taking}, timeout=1.0)
            assert (await taking)["outcome"] in ("refused", "found")


@pytest.mark.threat("E03")
async def test_who_computes_for_long_gives_way_until_it_has_been_calm(world: World) -> None:
    neighbour, wild = world.make_person(), world.make_person()
    for person in (neighbour, wild):
        await world.settle(person, plant=False)
    assert wild.server is not None
    assert neighbour.server is not None
    usual = read_priority(neighbour.server)
    row = Row(name="spin", attack="wild.spin", extra={"seconds": SPIN_SECONDS})
    computing = asyncio.create_task(world.attack(wild, wild, row))
    async with asyncio.timeout(SPIN_SECONDS):
        # Root may raise the priority of a process again, so it is lowered too, right after its session.
        while not is_lowered(wild.server, processes_too=world.user == "root"):
            await asyncio.sleep(0.05)
    assert read_priority(neighbour.server) == usual
    for descendant in wild.server.children(recursive=True):
        # Those that spin, and not whoever waits for them.
        if not descendant.children():
            descendant.kill()
    assert (await computing)["outcome"] == "found"
    async with asyncio.timeout(SPIN_SECONDS):
        while read_priority(wild.server).session != usual.session:
            await asyncio.sleep(0.05)
        # An ordinary user's process may have been lowered for good.
        while world.user == "root" and read_priority(wild.server) != usual:
            await asyncio.sleep(0.05)
    assert await world.serves(wild), "nobody is ended for computing"


def is_lowered(server: psutil.Process, *, processes_too: bool) -> bool:
    priority = read_priority(server)
    return priority.session == 19 and (priority.process == 10 or not processes_too)


class Priority(NamedTuple):
    session: int
    process: int


def read_priority(server: psutil.Process) -> Priority:
    """Two nice values: where no session has one, that of processes is what counts."""
    session = Path(f"/proc/{server.pid}/autogroup").read_text()
    return Priority(int(session.split()[-1]), server.nice())
