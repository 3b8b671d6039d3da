"""E01: whoever gets a user id after somebody else finds nothing of theirs."""

import asyncio
import ctypes
import json
import secrets
from typing import Final

import pytest

from tests.isolation.levels import USERS
from tests.isolation.rows import Row
from tests.isolation.world import Person, World, is_well, open_world

pytestmark = pytest.mark.skipif("root" not in USERS, reason="only root can give out user ids")
LIMIT_SECONDS: Final = 30.0
_IPC_RMID: Final = 0

LEFT: Final = (
    Row(name="segments", attack="sharing.segments", seeks="token"),
    Row(name="key", attack="sharing.user_key", seeks="token"),
    Row(name="queue", attack="sharing.queue", seeks="token"),
    Row(name="home", attack="files.read", path="home/token.txt", seeks="token"),
)


@pytest.mark.threat("E01")
@pytest.mark.parametrize("level", ["uid", "auto"])
async def test_nothing_is_left_for_the_next_one_with_the_same_user_id(level: str) -> None:
    user_id = 1_500_000 + secrets.randbelow(100_000)
    async with open_world(level, "root", FMCP_UID_RANGE=f"{user_id}-{user_id}") as world:
        first, second = world.make_person(), world.make_person()
        await open_when_free(world, first)
        first.planted = json.loads(await world.call(first, "plant", label=first.label, lasting=True))
        assert "failed" not in f"{first.planted['sysv_shm']} {first.planted['key']}"
        try:
            server = world.find_server(first)
            user = server.uids().real
            await world.close_session(first)
            async with asyncio.timeout(LIMIT_SECONDS):
                while is_well(server):
                    await asyncio.sleep(0.02)
            await open_when_free(world, second)
            assert world.find_server(second).uids().real == user, "it has the number again"
            told = {row.name: await world.attack(second, first, row) for row in LEFT}
        finally:
            remove_segment(int(first.planted["sysv_shm"]))
        assert [name for name, outcome in told.items() if outcome["outcome"] == "found"] == [], told


async def open_when_free(world: World, person: Person) -> None:
    """The only id there is, is free again a moment after its process has ended; servers are tried at start too."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while True:
            try:
                await world.open_session(person)
            except AssertionError as error:
                assert "no free user id" in str(error)
                await asyncio.sleep(0.02)
            else:
                return


def remove_segment(number: int) -> None:
    ctypes.CDLL(None).shmctl(number, _IPC_RMID, None)
