"""The web application is built for the first request that needs it: once, in a thread, for all who ask meanwhile."""

import asyncio
import os
import threading

import pytest
from fastapi import FastAPI

from fluidmcp.gateway.health import answer_health
from fluidmcp.gateway.late_web import LateWeb
from tests.gateway.running import running_gateway, stdlib_entry

LIMIT_SECONDS = 30.0


class Building:
    """Builds when the test says so, and counts."""

    def __init__(self, *faults: Exception) -> None:
        self.begun = threading.Event()
        self.may_end = threading.Event()
        self.count = 0
        self._faults = list(faults)

    def __call__(self) -> FastAPI:
        self.count += 1
        self.begun.set()
        assert self.may_end.wait(LIMIT_SECONDS)
        if self._faults:
            raise self._faults.pop(0)
        return FastAPI()


async def test_everybody_waits_for_the_one_that_is_built_and_the_loop_goes_on() -> None:
    building = Building()
    web = LateWeb(building)
    async with asyncio.timeout(LIMIT_SECONDS):
        asking = [asyncio.create_task(web.get()) for _ in range(20)]
        assert await asyncio.to_thread(building.begun.wait, LIMIT_SECONDS)
        # This line runs while it is built.
        building.may_end.set()
        apps = await asyncio.gather(*asking)
        assert {id(app) for app in apps} == {id(await web.get())}
    assert building.count == 1


async def test_whoever_goes_away_does_not_end_it_for_the_others() -> None:
    building = Building()
    web = LateWeb(building)
    async with asyncio.timeout(LIMIT_SECONDS):
        leaving, staying = asyncio.create_task(web.get()), asyncio.create_task(web.get())
        assert await asyncio.to_thread(building.begun.wait, LIMIT_SECONDS)
        leaving.cancel()
        await asyncio.wait((leaving,))
        building.may_end.set()
        assert isinstance(await staying, FastAPI)
    assert leaving.cancelled()
    assert building.count == 1


async def test_what_failed_is_tried_again_for_the_next_request() -> None:
    building = Building(ImportError("a library is gone"))
    building.may_end.set()
    web = LateWeb(building)
    async with asyncio.timeout(LIMIT_SECONDS):
        failed = await asyncio.gather(web.get(), web.get(), return_exceptions=True)
        assert [type(each) for each in failed] == [ImportError, ImportError]
        assert isinstance(await web.get(), FastAPI)
    assert building.count == 2


@pytest.mark.parametrize("query", ["", "?detail=0"])
async def test_health_is_the_same_from_the_web_application_and_without_it(query: str) -> None:
    async with running_gateway([stdlib_entry()]) as running:
        answer = await running.client.get(f"/health{query}")
    plain = answer_health("GET", "/health", b"")
    assert plain is not None
    assert (answer.status_code, answer.content) == (plain.status, plain.body)
    # Date and server are added by uvicorn.
    names = {name: value for name, value in answer.headers.items() if name not in ("date", "server")}
    expected = {name.decode(): value.decode() for name, value in plain.headers}
    assert names == {**expected, "content-length": str(len(plain.body))}


async def test_of_two_gateways_one_builds_at_a_time() -> None:
    """Their own FastAPI silences warnings while it builds, which Python does for the whole process."""
    running: list[int] = []
    together: list[int] = []

    def build() -> FastAPI:
        running.append(1)
        together.append(len(running))
        for _ in range(500):
            # Lets other threads run: a second one would come in.
            os.stat(".")
        running.pop()
        return FastAPI()

    async with asyncio.timeout(LIMIT_SECONDS):
        await asyncio.gather(*(LateWeb(build).get() for _ in range(8)))
    assert together == [1] * 8
