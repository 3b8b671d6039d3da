"""E02: a server of one person ends, stops and hinders the server of another one and what watches over them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field

import psutil
import pytest
import pytest_asyncio

from tests.isolation.harm import look_at, wait_harmed
from tests.isolation.levels import WORLDS, world_id
from tests.isolation.rows import SIGNALS, Row
from tests.isolation.world import Person, User, World, open_world

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(slots=True)
class Scene:
    """A world that is replaced when an attack has ended it."""

    level: str
    user: User
    stack: AsyncExitStack
    world: World | None = None
    attackers: dict[str, Person] = field(default_factory=dict[str, Person])
    victim: Person | None = None

    async def prepare(self, package: str) -> tuple[World, Person, Person]:
        """A world that is well, somebody who attacks from this package, and a victim who is served."""
        if self.world is None or not self.world.is_well():
            await self.stack.aclose()
            self.world = await self.stack.enter_async_context(open_world(self.level, self.user))
            self.attackers, self.victim = {}, None
        world = self.world
        if package not in self.attackers:
            self.attackers[package] = world.make_person(package)
        # Started anew where the last attack was on its own keeper.
        await world.settle(self.attackers[package], plant=False)
        if self.victim is None or not await world.serves(self.victim):
            self.victim = world.make_person()
        await world.settle(self.victim)
        return world, self.attackers[package], self.victim


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=WORLDS, ids=world_id)
async def scene(request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    level, user = request.param
    async with AsyncExitStack() as stack:
        yield Scene(level, user, stack)


@pytest.mark.threat("E02")
@pytest.mark.parametrize("package", ["mail", "open"])
@pytest.mark.parametrize("row", SIGNALS, ids=lambda row: row.name)
async def test_nobody_is_hit_behind_a_wall(scene: Scene, row: Row, package: str) -> None:
    world, attacker, victim = await scene.prepare(package)
    works = row.works(world.level, world.user, is_local=package == "open")
    target = world.role(row.at or "victim", attacker, victim)
    before = None if target is None else look_at(target)
    was_hit = False
    attacking = asyncio.create_task(world.attack(attacker, victim, row))
    if target is not None and before is not None and works and row.at:
        was_hit = await wait_harmed(target, before)
        # Before the attack is waited for: a gateway that is stopped answers nothing.
        release(target)
    told = await attacking
    assert told["outcome"] != "error", told
    if row.attack == "signals.kill_everybody":
        was_hit = int(await world.call(victim, "pending")) > 0
    elif target is not None and not was_hit:
        was_hit = look_at(target) != before
    assert was_hit == works, told
    if was_hit:
        # Whoever was hit is not what it was: the next row begins with others.
        scene.victim = None
        if row.at == "gateway":
            scene.world = None
    else:
        assert await world.serves(victim)


def release(target: psutil.Process | None) -> None:
    """One that was stopped goes on, so that its world can end."""
    # It may be ending just now.
    with suppress(psutil.NoSuchProcess):
        if target is not None and target.is_running() and target.status() == psutil.STATUS_STOPPED:
            target.resume()
