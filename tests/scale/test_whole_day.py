"""1,000 clients of 50 persons at three gateways, of which one is killed and one stopped, and Redis restarts."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from tests.acceptance.test_balanced import IDS
from tests.clients.logins.browser import OUR_CONSENT
from tests.clients.logins.driving import CLIENTS, DrivenClient, driven
from tests.scale.people import LIMIT_SECONDS, PACKAGE, PLACES, Client, World
from tests.scale.stage import Held, Stage, holding, running_stage
from tests.timing import patience

PERSONS: Final = 50
CLIENTS_EACH: Final = 20
EARLY: Final = 700
"""So many have logged in before anything happens; `LATE` others do while each of the three things does."""
LATE: Final = 100
HELD_EACH: Final = 3
"""Calls that each gateway has when something happens."""
CALL_EACH: Final = 20
"""Of so many answers of all clients one SDK client gets one."""
RENEWING_EACH: Final = 9
"""Of so many clients one renews."""
MAX_GATEWAY_MEGABYTES: Final = 300

pytestmark = [pytest.mark.needs("nginx", "node", "redis-server")]

Doing = Coroutine[Any, Any, None]


async def all_of(*doing: Doing) -> None:
    async with asyncio.timeout(LIMIT_SECONDS), asyncio.TaskGroup() as group:
        for one in doing:
            group.create_task(one)


@dataclass
class RealClients:
    """SDK clients, which call all the time but while they are told to wait. They know nothing of gateways."""

    world: World
    clients: dict[str, DrivenClient] = field(default_factory=dict[str, DrivenClient])
    may_call: asyncio.Event = field(default_factory=asyncio.Event)
    turns: dict[str, asyncio.Lock] = field(default_factory=dict[str, asyncio.Lock])
    calls: int = 0
    is_over: bool = False

    async def keep_calling(self) -> None:
        async with asyncio.TaskGroup() as group:
            for name in self.clients:
                group.create_task(self._keep_calling(name))

    async def end(self) -> None:
        self.is_over = True
        await self.world.note("over")

    async def call_once(self) -> None:
        await all_of(*(self._call(name) for name in self.clients))

    @asynccontextmanager
    async def paused(self) -> AsyncGenerator[None]:
        async with AsyncExitStack() as stack:
            for turn in self.turns.values():
                await stack.enter_async_context(turn)
            yield

    async def _keep_calling(self, name: str) -> None:
        while not self.is_over:
            await self._call(name)
            goal = self.world.events["answered"] + CALL_EACH
            await self.world.until(partial(self._may_call, goal))

    def _may_call(self, goal: int) -> bool:
        return self.is_over or self.world.events["answered"] >= goal

    async def _call(self, name: str) -> None:
        async with self.turns[name]:
            answer = await self.clients[name].call()
            assert answer == self.world.provider.accounts[name].token, (name, answer, self.clients[name].report())
            self.calls += 1


@asynccontextmanager
async def real_clients(stage: Stage, folder: Path) -> AsyncGenerator[RealClients]:
    """Each has logged in and called once, as a person whom it shares with some of the others."""
    present = [client for client in CLIENTS if client.id in IDS]
    if missing := [why for client in present if (why := client.find_missing())]:
        pytest.skip("; ".join(missing))
    real = RealClients(stage.world)
    url = stage.world.url
    async with AsyncExitStack() as running:
        for number, client in enumerate(present, 1):
            name = f"person{number}.{client.id}"
            (folder / client.id).mkdir()
            starting = driven(
                client,
                f"{url}/{PACKAGE}/mcp",
                folder / client.id,
                gateway_url=url,
                person=name,
                authority=stage.authority,
            )
            real.clients[name] = await running.enter_async_context(starting)
            real.turns[name] = asyncio.Lock()
        answers = await asyncio.gather(*(client.wait_called() for client in real.clients.values()))
        assert answers == [stage.world.provider.accounts[name].token for name in real.clients]
        yield real


def choose_held(clients: Sequence[Client], number: int) -> list[Client]:
    """So many clients of each gateway that has sessions: one that was started again has few or none."""
    chosen: list[Client] = []
    for name in ("gateway-1", "gateway-2", "gateway-3"):
        there = [client for client in clients if client.session is not None and client.session.gateway == name]
        chosen += there[:number]
    return chosen


async def go_on(
    stage: Stage,
    held: Held,
    old: Sequence[Client],
    new: Sequence[Client],
    happen: Callable[[], Doing],
    after: tuple[str, int],
    *,
    renewing_each: int = 0,
    times: int = 1,
) -> None:
    """All `old` clients call, the `new` ones log in; after so many of an event something happens.

    One of `renewing_each` of those that do not wait for an answer renews what it has (0: none), and asks so many
    `times` at once.
    """
    waiting = choose_held(old, HELD_EACH)
    others = [client for client in old if client not in waiting]
    renewing = others[::renewing_each] if renewing_each else []
    renewed = stage.world.events["renewed"] + len(renewing)
    async with asyncio.timeout(LIMIT_SECONDS), asyncio.TaskGroup() as group:
        before = held.arrived
        for client in waiting:
            group.create_task(client.call("wait", port=held.port))
        await held.until_arrived(before + len(waiting))

        async def then() -> None:
            await stage.world.until_more(*after)
            await happen()

        happening = group.create_task(then())
        load = [*(client.begin() for client in new), *(client.renew(times=times) for client in renewing)]
        load += [client.call() for client in others]
        tasks = [group.create_task(each) for each in load]
        await happening
        await asyncio.wait(tasks)
        assert stage.world.events["renewed"] == renewed
        held.release()


def sessions_at(clients: Sequence[Client], name: str) -> set[str]:
    return {client.session.id for client in clients if client.session is not None and client.session.gateway == name}


def all_sessions(clients: Sequence[Client]) -> set[str]:
    return {client.session.id for client in clients if client.session is not None}


@pytest.fixture
def long_limit() -> Generator[None]:
    """pytest ends what has not finished after two minutes; this needs as long on two processors that are busy."""
    with patience(2 * LIMIT_SECONDS):
        yield


@dataclass
class Day:
    """What the parts of the test share: `old` are the clients that have logged in."""

    stage: Stage
    real: RealClients
    old: list[Client]
    late: list[list[Client]]

    @property
    def world(self) -> World:
        return self.stage.world

    async def log_in_and_call(self) -> None:
        await all_of(*(client.begin() for client in self.old))
        await all_of(*(client.call() for client in self.old))
        events = self.world.events
        assert dict(events) == {"logged in": len(self.old), "answered": 2 * len(self.old)}
        assert len(self.world.processes) == len(all_sessions(self.old)) == len(self.old)

    async def kill_one(self) -> None:
        """Its sessions are lost, and calls that it had; all others stay in their sessions and processes."""
        lost, kept = sessions_at(self.old, "gateway-1"), all_sessions(self.old)
        async with holding() as held:
            await go_on(self.stage, held, self.old, self.late[0], lambda: self.stage.kill(0), ("answered", 100))
        await self.stage.gateways.start(0)
        self.old += self.late[0]
        await all_of(*(client.call() for client in self.old))
        events = self.world.events
        assert all_sessions(self.old) & kept == kept - lost
        assert HELD_EACH <= events["call lost"] <= HELD_EACH + PLACES
        assert events["session of gateway-1 gone"] >= len(lost)
        assert events["login begun again"] <= PLACES

    async def stop_one(self) -> None:
        """No call fails, those that it had least of all; its sessions begin anew when it is gone."""
        ended, kept = sessions_at(self.old, "gateway-2"), all_sessions(self.old)
        lost = self.world.events["call lost"]
        async with holding() as held:
            happen = partial(self.stage.tell_to_stop, 1)
            more = {"renewing_each": RENEWING_EACH, "times": 3}
            await go_on(self.stage, held, self.old, self.late[1], happen, ("answered", 100), **more)
        await self.stage.wait_stopped(1)
        self.old += self.late[1]
        await all_of(*(client.call() for client in self.old))
        assert all_sessions(self.old) & kept == kept - ended
        assert self.world.events["call lost"] == lost
        await self.stage.gateways.start(1)

    async def restart_redis(self) -> list[Client]:
        """Who needs it waits, and repeats what it asked; what was revoked before stays revoked. The revoked clients."""
        revoked = self.old[-PERSONS:]
        del self.old[-PERSONS:]
        await all_of(*(client.revoke() for client in revoked))
        kept = all_sessions(self.old)
        async with self.real.paused(), holding() as held:
            after = ("logged in", 10)
            await go_on(self.stage, held, self.old, self.late[2], self.restart, after, renewing_each=RENEWING_EACH)
        assert all_sessions(self.old) >= kept
        self.old += self.late[2]
        await all_of(*(client.call() for client in self.old))
        return revoked

    async def restart(self) -> None:
        seen = self.world.events["unavailable"]
        await self.stage.stop_redis()
        await self.world.until(lambda: self.world.events["unavailable"] >= seen + 10)
        await self.stage.start_redis()


@pytest.mark.usefixtures("long_limit")
@pytest.mark.threat("B24", "E16")
async def test_b24_e16_a_thousand_clients_go_on_while_gateways_and_redis_come_and_go(tmp_path: Path) -> None:
    async with AsyncExitStack() as running:
        stage = await running.enter_async_context(running_stage(tmp_path))
        persons = [stage.person(number, CLIENTS_EACH) for number in range(1, PERSONS + 1)]
        clients = [client for row in zip(*persons, strict=True) for client in row]
        real = await running.enter_async_context(real_clients(stage, tmp_path))
        late = [clients[first : first + LATE] for first in range(EARLY, len(clients), LATE)]
        day = Day(stage, real, clients[:EARLY], late)
        await day.log_in_and_call()
        async with asyncio.TaskGroup() as group:
            group.create_task(real.keep_calling())
            await day.kill_one()
            await day.stop_one()
            revoked = await day.restart_redis()
            await real.end()
        for client in revoked:
            await client.check_revoked(stage.gateways.ports)
        # A renewed token at each gateway, and an old one.
        await all_of(*(client.call() for client in day.old))
        await real.call_once()
        assert len(day.old) + len(revoked) == PERSONS * CLIENTS_EACH
        assert [trip.pages for client in real.clients.values() for trip in client.trips] == [
            [OUR_CONSENT, "login"]
        ] * len(real.clients), "nobody logged in again"
        provider = stage.world.provider
        assert not provider.faults
        # Each login asked once, and those that were under way in what went away once more.
        begun = len(clients) + len(real.clients)
        assert begun <= provider.logins <= begun + stage.world.events["login begun again"]
        assert max(stage.memory()) < MAX_GATEWAY_MEGABYTES
