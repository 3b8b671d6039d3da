"""Who is shut out, at each place where the list may be."""

import asyncio
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from fluidmcp.errors import ConfigurationError, ForbiddenError, StoreUnavailableError, UnauthorizedError, UserError
from fluidmcp.store.deny_list import FRESH_SECONDS, Denial, Denials, DenyList, DenyPlace
from fluidmcp.store.deny_places import FilePlace, SharedPlace
from tests.providers.login_gateway import Clock
from tests.store.running_redis import Replicas

ADA = [("https://id.example", "ada")]


@dataclass
class World:
    """`place` makes the place anew, as another gateway has it; `clock` is that of the lists."""

    place: Callable[[], DenyPlace]
    clock: Clock

    def gateway(self) -> DenyList:
        return DenyList(self.place(), now=self.clock, clock=self.clock)


@pytest.fixture(params=["file", pytest.param("redis", marks=pytest.mark.needs("redis-server"))])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    if request.param == "file":
        return World(lambda: FilePlace(tmp_path / "people" / "deny.json"), Clock())
    replicas: Replicas = request.getfixturevalue("replicas")
    return World(lambda: SharedPlace(replicas.store(entries=10)), Clock())


async def is_let_in(denied: DenyList, package: str | None = "mail", people: list[tuple[str, str]] = ADA) -> bool:
    try:
        await denied.check(package, people)
    except ForbiddenError:
        return False
    return True


async def test_somebody_is_shut_out_at_every_gateway_until_allowed(world: World) -> None:
    one, other = world.gateway(), world.gateway()
    for denied in (one, other):
        await denied.begin()
    assert await is_let_in(one)
    assert await one.revoke("ada")
    assert not await one.revoke("ada")
    assert not await is_let_in(one)
    assert await is_let_in(other)
    world.clock.time += FRESH_SECONDS
    assert not await is_let_in(other)
    assert other.shuts_out("mail", ADA)
    assert [denial.who for denial in other.people] == ["ada"]
    assert await other.allow("ada")
    assert not await other.allow("ada")
    world.clock.time += FRESH_SECONDS
    assert await is_let_in(one)
    assert not one.people


async def test_a_name_with_its_issuer_means_that_person_alone(world: World) -> None:
    denied = world.gateway()
    await denied.revoke("https://id.example|ada")
    assert not await is_let_in(denied)
    assert await is_let_in(denied, people=[("https://other.example", "ada")])
    assert not await is_let_in(denied, people=[("https://other.example", "ada"), *ADA])


async def test_the_operator_cannot_be_shut_out(world: World) -> None:
    denied = world.gateway()
    await denied.revoke("operator")
    assert await is_let_in(denied, people=[("fluidmcp", "operator")])


async def test_a_package_is_shut_by_itself(world: World) -> None:
    denied = world.gateway()
    await denied.revoke("ada", "mail")
    assert not await is_let_in(denied)
    assert await is_let_in(denied, "jira")
    assert await is_let_in(denied, None)
    await denied.revoke("ada")
    with pytest.raises(UserError, match="shut out of all packages"):
        await denied.allow("ada", "mail")
    await denied.allow("ada")
    assert await is_let_in(denied)


async def test_what_began_before_somebody_was_let_in_again_stays_dead(world: World) -> None:
    denied = world.gateway()
    before = world.clock.time
    world.clock.time += 10
    await denied.revoke("ada")
    world.clock.time += 10
    await denied.allow("ada")
    with pytest.raises(UnauthorizedError):
        await denied.check("mail", ADA, begun_at=before)
    await denied.check("mail", ADA, begun_at=world.clock.time)
    await denied.check("mail", [("i", "bo")], begun_at=before)


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 1001])
async def test_what_is_no_name_is_refused(world: World, name: str) -> None:
    with pytest.raises(UserError, match="no subject"):
        await world.gateway().revoke(name)


async def test_changes_at_the_same_time_are_all_there(world: World) -> None:
    gateways = [world.gateway() for _ in range(4)]
    names = [f"person-{number}" for number in range(24)]
    await asyncio.gather(*(gateways[number % 4].revoke(name) for number, name in enumerate(names)))
    reader = world.gateway()
    await reader.begin()
    assert sorted(denial.who for denial in reader.people) == sorted(names)


async def test_who_looks_tells_who_ends_things(world: World) -> None:
    one, other = world.gateway(), world.gateway()
    told = asyncio.Event()
    other.on_denied = told.set
    watching = asyncio.create_task(other.watch())
    try:
        await one.revoke("ada")
        async with asyncio.timeout(30):
            await told.wait()
    finally:
        watching.cancel()
        await asyncio.wait((watching,))
    assert other.shuts_out("mail", ADA)


def test_the_list_is_bounded_and_forgets_who_was_let_in_long_ago() -> None:
    full = Denials(tuple(Denial(f"p{number}", 0) for number in range(10_000)))
    with pytest.raises(UserError, match="full"):
        full.with_denial(Denial("one more", 0), now=0)
    old = Denials((Denial("a", 0, is_over=True), Denial("b", 0)))
    assert old.with_denial(Denial("c", 0), now=10**9).people == (Denial("b", 0), Denial("c", 0))


async def test_a_file_that_is_broken_keeps_the_gateway_from_starting_and_changes_nothing_later(tmp_path: Path) -> None:
    path, clock = tmp_path / "deny.json", Clock()
    denied = DenyList(FilePlace(path), now=clock, clock=clock)
    await denied.begin()
    await denied.revoke("ada")
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_text())["people"][0]["who"] == "ada"
    path.write_text("{")
    clock.time += FRESH_SECONDS
    assert not await is_let_in(denied)
    with pytest.raises(ConfigurationError, match="cannot be used"):
        await DenyList(FilePlace(path)).begin()


@pytest.mark.parametrize("fault", ["link", "folder", "writable"])
async def test_a_file_that_others_could_have_made_is_not_used(tmp_path: Path, fault: str) -> None:
    path = tmp_path / "deny.json"
    if fault == "link":
        (tmp_path / "other").write_text('{"people":[]}')
        path.symlink_to(tmp_path / "other")
    elif fault == "folder":
        path.mkdir()
    else:
        path.write_text('{"people":[]}')
        os.chmod(path, 0o666)
    with pytest.raises(ConfigurationError, match="cannot be used"):
        await DenyList(FilePlace(path)).begin()


@pytest.mark.threat("E16")
@pytest.mark.needs("redis-server")
async def test_e16_a_redis_that_forgot_gets_the_list_back(replicas: Replicas) -> None:
    clock = Clock()
    denied = DenyList(SharedPlace(replicas.store(entries=10)), now=clock, clock=clock)
    await denied.begin()
    await denied.revoke("ada")
    async with replicas.running.client() as client:
        await client.flushall()
    clock.time += FRESH_SECONDS
    assert not await is_let_in(denied)
    later = DenyList(SharedPlace(replicas.store(entries=10)), now=clock, clock=clock)
    await later.begin()
    assert not await is_let_in(later)


@pytest.mark.threat("E16")
@pytest.mark.needs("redis-server")
async def test_e16_a_redis_that_is_full_when_the_list_has_to_be_put_back_does_not_end_the_watch(
    replicas: Replicas,
) -> None:
    clock = Clock()
    denied = DenyList(SharedPlace(replicas.store(entries=10)), now=clock, clock=clock)
    await denied.begin()
    await denied.revoke("ada")
    async with replicas.running.client() as client:
        await client.flushall()
        await client.config_set("maxmemory", 1)
    clock.time += FRESH_SECONDS
    await denied.refresh()
    assert not await is_let_in(denied)
    assert await is_let_in(denied, people=[("i", "bo")])
    async with replicas.running.client() as client:
        await client.config_set("maxmemory", 0)
    await denied.refresh()
    later = DenyList(SharedPlace(replicas.store(entries=10)))
    await later.begin()
    assert not await is_let_in(later)


@pytest.mark.threat("E16")
@pytest.mark.needs("redis-server")
async def test_e16_nobody_gets_through_when_the_list_cannot_be_read_for_a_while(replicas: Replicas) -> None:
    clock = Clock()
    denied = DenyList(SharedPlace(replicas.store(entries=10)), now=clock, clock=clock)
    await denied.begin()
    replicas.running.kill()
    await denied.check("mail", ADA)
    clock.time += FRESH_SECONDS
    with pytest.raises(StoreUnavailableError):
        await denied.check("mail", ADA)
    await denied.check("mail", ())


@pytest.mark.threat("E16")
@pytest.mark.needs("redis-server")
@pytest.mark.parametrize("changes_before", [1, 3])
async def test_e16_what_is_written_to_a_redis_that_forgot_stays_beside_what_is_put_back(
    replicas: Replicas, changes_before: int
) -> None:
    clock = Clock()
    denied = DenyList(SharedPlace(replicas.store(entries=10)), now=clock, clock=clock)
    for number in range(changes_before):
        await denied.revoke(f"ada-{number}")
    async with replicas.running.client() as client:
        await client.flushall()
    command = DenyList(SharedPlace(replicas.store(entries=10)), now=clock, clock=clock)
    clock.time += 1
    assert await command.revoke("bo")
    clock.time += FRESH_SECONDS
    assert not await is_let_in(denied, people=[("i", "bo")])
    assert not await is_let_in(denied, people=[("i", "ada-0")])
    await denied.allow("bo")
    later = DenyList(SharedPlace(replicas.store(entries=10)), now=clock, clock=clock)
    await later.begin()
    assert [one.who for one in later.people] == [f"ada-{number}" for number in range(changes_before)]


async def test_a_file_that_could_not_be_read_once_is_read_the_next_time(tmp_path: Path) -> None:
    path, clock = tmp_path / "deny.json", Clock()
    one, other = (DenyList(FilePlace(path), now=clock, clock=clock) for _ in range(2))
    await other.begin()
    await one.revoke("ada")
    path.chmod(0o666)
    clock.time += FRESH_SECONDS
    assert await is_let_in(other)
    path.chmod(0o600)
    clock.time += FRESH_SECONDS
    assert not await is_let_in(other)


async def test_a_file_that_is_gone_lets_nobody_in_and_comes_back(tmp_path: Path) -> None:
    path, clock = tmp_path / "deny.json", Clock()
    denied = DenyList(FilePlace(path), now=clock, clock=clock)
    await denied.begin()
    await denied.revoke("ada")
    path.unlink()
    clock.time += FRESH_SECONDS
    assert not await is_let_in(denied)
    assert json.loads(path.read_text())["people"][0]["who"] == "ada"


async def test_who_was_out_only_between_two_looks_has_all_ended_too(world: World) -> None:
    one, other = world.gateway(), world.gateway()
    await other.begin()
    ended: list[bool] = []
    other.on_denied = lambda: ended.append(other.shuts_out("mail", ADA))
    await one.revoke("ada")
    await one.allow("ada")
    await other.refresh()
    assert ended == [True]
    assert not other.shuts_out("mail", ADA)


@pytest.mark.needs("redis-server")
async def test_looks_beside_changes_bring_no_old_list_back(replicas: Replicas) -> None:
    denied = DenyList(SharedPlace(replicas.store(entries=10)))
    await denied.begin()
    for number in range(40):
        await asyncio.gather(denied.refresh(), denied.revoke(f"p{number}"), denied.refresh(), denied.refresh())
        await denied.refresh()
        assert denied.shuts_out("mail", [("i", f"p{number}")])


@pytest.mark.threat("D16")
@pytest.mark.needs("redis-server")
async def test_d16_a_list_that_does_not_open_is_not_nobody(replicas: Replicas) -> None:
    def place() -> SharedPlace:
        return SharedPlace(replicas.store("deny_list", entries=10, unreadable=b""))

    clock = Clock()
    denied = DenyList(place(), now=clock, clock=clock)
    await denied.begin()
    await denied.revoke("ada")
    async with replicas.running.client() as client:
        for name in await client.keys("*deny_list*"):
            if await client.type(name) == b"string":
                await client.set(name, "garbage")
    clock.time += FRESH_SECONDS
    assert not await is_let_in(denied)
    with pytest.raises(ConfigurationError, match="cannot be used"):
        await DenyList(place()).begin()
