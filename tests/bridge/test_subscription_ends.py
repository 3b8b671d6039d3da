"""Subscriptions whose process goes away, and whose client does."""

import asyncio
import gc
import time
import weakref
from dataclasses import replace
from pathlib import Path

import pytest

from fluidmcp.bridge.exchange import MAX_WAITING_EVENTS, SlowReaderError
from fluidmcp.bridge.session import CancelledByClientError
from fluidmcp.config.settings import ProcessLimits
from fluidmcp.errors import ServerProcessError
from tests.bridge.stateless_calls import LIMIT_SECONDS, person
from tests.bridge.subscribing import (
    ENDED,
    GONE,
    TOOLS,
    TOOLS_CHANGED,
    Running,
    assert_nothing_is_held,
    changed,
    resources,
    running,
    updated,
)

ERAS = pytest.mark.parametrize("era", ["handshake", "stateless"])


# -- Processes that go away.


async def is_asked(it: Running) -> bool:
    """Whether a process runs, and is asked to subscribe; False when there is none."""
    try:
        await it.test("wait", method=it.asks_with)
    except ServerProcessError:
        return False
    return True


@ERAS
async def test_a_new_process_takes_over_without_a_word_to_the_client(era: str) -> None:
    async with running(era) as it:
        stream = await it.open(TOOLS | resources("note:a"))
        await stream.acknowledged()
        await it.die()
        await it.test("wait", method=it.asks_with)
        await it.tell(updated("note:a"), changed(TOOLS_CHANGED))
        assert await stream.message() == updated("note:a")
        assert await stream.message() == changed(TOOLS_CHANGED)
        stream.subscription.close()
        assert_nothing_is_held(it)
        await it.test("wait", method=GONE if era == "stateless" else "resources/unsubscribe")


@ERAS
async def test_a_subscription_waits_until_a_process_may_be_started_again(era: str) -> None:
    async with running(era) as it:
        stream = await it.open(resources("note:a"))
        await stream.acknowledged()
        for _ in range(2):
            # The second death in a row brings the back-off.
            await it.die()
            async with asyncio.timeout(LIMIT_SECONDS):
                while not await is_asked(it):
                    await asyncio.sleep(0.01)
            await it.tell(updated("note:a"))
            assert await stream.message() == updated("note:a")
        assert it.pool.busy_count == 1


async def test_a_subscription_to_lists_alone_survives_too() -> None:
    async with running("handshake") as it:
        stream = await it.open(TOOLS)
        await stream.acknowledged()
        await it.die()
        await it.tell(changed(TOOLS_CHANGED))
        assert await stream.message() == changed(TOOLS_CHANGED)


@pytest.mark.parametrize(("era", "fault"), [("stateless", "refuse"), ("stateless", "exit"), ("handshake", "exit")])
async def test_a_subscription_that_no_new_process_takes_ends(era: str, fault: str, tmp_path: Path) -> None:
    async with running(era, fault, str(tmp_path / "faulty")) as it:
        stream = await it.open(TOOLS | resources("note:a"))
        await stream.acknowledged()
        (tmp_path / "faulty").touch()
        await it.die()
        assert await stream.message() == {"result": ENDED}
        stream.subscription.close()
        assert_nothing_is_held(it)


async def test_a_new_process_that_refuses_is_not_asked_twice(tmp_path: Path) -> None:
    async with running("stateless", "refuse", str(tmp_path / "faulty")) as it:
        stream = await it.open(TOOLS)
        await stream.acknowledged()
        (tmp_path / "faulty").touch()
        await it.die()
        await stream.message()
        assert len(await it.heard("subscriptions/listen")) == 1


@ERAS
async def test_a_new_process_that_ends_while_it_is_asked_is_replaced_too(era: str, tmp_path: Path) -> None:
    async with running(era, "fragile", str(tmp_path / "faulty")) as it:
        stream = await it.open(resources("note:a"))
        await stream.acknowledged()
        (tmp_path / "faulty").touch()
        await it.die()
        async with asyncio.timeout(LIMIT_SECONDS):
            while not await is_asked(it):
                await asyncio.sleep(0.01)
        await it.tell(updated("note:a"))
        assert await stream.message() == updated("note:a")
        assert len(await it.heard(it.asks_with)) == 1
        stream.subscription.close()
        assert_nothing_is_held(it)


async def test_a_client_that_goes_while_a_new_process_is_asked_leaves_nothing_behind(tmp_path: Path) -> None:
    async with running("stateless", "silent", str(tmp_path / "faulty")) as it:
        stream = await it.open(TOOLS)
        (tmp_path / "faulty").touch()
        await it.die()
        await it.test("wait", method="subscriptions/listen")
        assert it.pool.busy_count == 1
        stream.subscription.close()
        assert_nothing_is_held(it)
        await it.test("wait", method=GONE)


@ERAS
async def test_closing_the_gateway_ends_the_subscriptions_with_a_word(era: str) -> None:
    async with running(era) as it:
        stream = await it.open(TOOLS)
        await stream.acknowledged()
        await it.pool.close()
        assert await stream.message() == {"result": ENDED}
        stream.subscription.close()
        assert_nothing_is_held(it)


@ERAS
async def test_a_client_may_go_while_its_process_is_being_stopped(era: str) -> None:
    async with running(era) as it:
        stream = await it.open(TOOLS | resources("note:a"))
        stopping = asyncio.create_task(it.pool.close())
        while not it.pool.stopping_count:
            await asyncio.sleep(0)
        stream.subscription.close()
        await stopping
        assert_nothing_is_held(it)


# -- Clients that go away.


@ERAS
async def test_a_client_that_closes_lets_go_of_its_process(era: str) -> None:
    async with running(era) as it:
        stream = await it.open(resources("note:a"))
        assert it.pool.busy_count == 1
        stream.subscription.close()
        stream.subscription.close()
        assert_nothing_is_held(it)
        await it.test("wait", method=GONE if era == "stateless" else "resources/unsubscribe")
        await it.tell(updated("note:a"))
        await stream.acknowledged()
        assert await stream.message() == {"result": ENDED}


@ERAS
async def test_a_client_that_closes_while_the_server_is_asked_leaves_nothing_behind(era: str) -> None:
    async with running(era) as it:
        subscription, opening = await it.begin(resources("late:a"))
        subscription.close()
        with pytest.raises(CancelledByClientError):
            await opening
        assert_nothing_is_held(it)
        await it.test("wait", method=GONE if era == "stateless" else "resources/unsubscribe")


async def test_a_client_that_closes_while_its_process_starts_leaves_nothing_behind() -> None:
    async with running("handshake") as it:
        subscription = it.make(TOOLS)
        opening = asyncio.create_task(subscription.open())
        while not it.pool.starting_count:
            await asyncio.sleep(0)
        subscription.close()
        with pytest.raises(CancelledByClientError):
            await opening
        await it.tell()
        assert_nothing_is_held(it)


async def test_a_task_that_is_cancelled_while_it_opens_leaves_nothing_behind() -> None:
    async with running("stateless") as it:
        _, opening = await it.begin(resources("late:a"))
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert_nothing_is_held(it)
        await it.test("wait", method=GONE)


@ERAS
async def test_a_client_that_does_not_read_loses_its_subscription(era: str) -> None:
    async with running(era) as it:
        stream = await it.open(TOOLS)
        await it.test("flood", count=MAX_WAITING_EVENTS)
        assert it.pool.busy_count == 0
        await stream.acknowledged()
        for number in range(MAX_WAITING_EVENTS - 1):
            assert await stream.message() == changed(TOOLS_CHANGED, number=number)
        with pytest.raises(SlowReaderError):
            await stream.message()


async def test_a_subscription_that_is_closed_is_forgotten_by_its_process() -> None:
    ada = replace(person("ada"), expires_at=time.time() + 3600)
    async with running("handshake") as it:
        stream = await it.open(TOOLS | resources("note:a"), principal=ada)
        forgotten = weakref.ref(stream.subscription)
        stream.subscription.close()
        del stream
        await it.tell(principal=ada)
        gc.collect()
        assert forgotten() is None


async def test_a_process_that_has_gone_is_forgotten_by_the_subscriptions() -> None:
    async with running("handshake") as it:
        stream = await it.open(TOOLS | resources("note:a"))
        lease = await it.acquire()
        forgotten = weakref.ref(lease.worker)
        lease.release()
        del lease
        await it.die()
        await it.test("wait", method="resources/subscribe")
        assert await stream.acknowledged() == TOOLS | resources("note:a")
        gc.collect()
        assert forgotten() is None


@ERAS
async def test_an_open_subscription_keeps_its_process(era: str) -> None:
    async with running(era, limits=ProcessLimits(idle_timeout_seconds=0.2, stop_timeout_seconds=0.3)) as it:
        first, second = await it.open(TOOLS), await it.open(TOOLS)
        pid = await it.test("pid")
        second.subscription.close()
        # Another person's process is left alone meanwhile, and goes.
        await it.test("pid", principal=person("ada"))
        async with asyncio.timeout(LIMIT_SECONDS):
            while len(it.pool) > 1:
                await asyncio.sleep(0.01)
        assert await it.test("pid") == pid
        first.subscription.close()
        async with asyncio.timeout(LIMIT_SECONDS):
            while len(it.pool):
                await asyncio.sleep(0.01)
