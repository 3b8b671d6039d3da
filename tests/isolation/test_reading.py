"""E01: a server of one person looks everywhere for what belongs to another one, to the gateway or to its operator."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio

from tests.isolation.levels import WORLDS, expect, world_id
from tests.isolation.rows import ESCAPES, LOCAL, READING, Row
from tests.isolation.world import Person, World, open_terminal, open_world

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True, slots=True)
class Scene:
    """One world with a person who attacks, a server of nobody's that attacks, and the one who has something."""

    world: World
    attacker: Person
    local: Person
    victim: Person


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=WORLDS, ids=world_id)
async def scene(request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    level, user = request.param
    async with open_world(level, user) as world:
        with ExitStack() as stack:
            world.ground.paths["terminal"] = stack.enter_context(open_terminal(world))
            scene = Scene(world, world.make_person(), world.make_person("open"), world.make_person())
            for person in (scene.attacker, scene.local):
                await world.settle(person, plant=False)
            await world.settle(scene.victim)
            yield scene


async def attempt(scene: Scene, attacker: Person, row: Row) -> dict[str, Any]:
    """The attack, while the one who is attacked makes calls of their own, and everything put right afterwards."""
    world, victim = scene.world, scene.victim
    path = Path(world.path_of(row, victim)) if row.attack in ("files.close_off", "files.open_up") else None
    mode = path.stat().st_mode if path is not None else 0
    attacking = asyncio.create_task(world.attack(attacker, victim, row))
    if row.attack == "sharing.sniff":
        while not attacking.done():
            await world.call(victim, "echo", text="nothing special")
    told = await attacking
    if path is not None:
        path.chmod(mode & 0o7777)
    if row.attack in ("sharing.queue", "files.read_by_renaming"):
        await world.call(victim, "plant", label=victim.label)
    return told


@pytest.mark.threat("E01", "D01", "B35")
@pytest.mark.parametrize("row", READING, ids=lambda row: row.name)
async def test_what_belongs_to_others_is_found_without_a_wall_and_not_behind_one(scene: Scene, row: Row) -> None:
    expect(row, scene.world, await attempt(scene, scene.attacker, row))


@pytest.mark.threat("E01")
@pytest.mark.parametrize("row", [*(row for row in READING if row.local), *LOCAL], ids=lambda row: row.name)
async def test_processes_of_persons_are_closed_to_a_server_of_nobody_in_particular(scene: Scene, row: Row) -> None:
    expect(row, scene.world, await attempt(scene, scene.local, row))


@pytest.mark.threat("E04")
@pytest.mark.parametrize("row", ESCAPES, ids=lambda row: row.name)
async def test_the_doors_of_the_kernel_lead_nowhere(scene: Scene, row: Row) -> None:
    expect(row, scene.world, await attempt(scene, scene.attacker, row))


async def test_the_one_who_was_attacked_is_served_as_before(scene: Scene) -> None:
    """The last one of each world: what was tried has ended nothing."""
    server = scene.victim.server
    assert isinstance(server, psutil.Process)
    assert await scene.world.serves(scene.victim)
