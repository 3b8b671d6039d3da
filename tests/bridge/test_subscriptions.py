import asyncio
import os
import time
from dataclasses import replace
from typing import Any

import pytest

from fluidmcp.bridge.client_subscriptions import SubscriptionRefusedError
from fluidmcp.bridge.session import CancelledByClientError
from fluidmcp.config.settings import ProcessLimits
from fluidmcp.errors import CapacityError, ServerExitedError, ServerTimeoutError
from fluidmcp.protocol.stateless import StatelessError
from tests.bridge.stateless_calls import EVERYTHING, decode, person
from tests.bridge.subscribing import (
    ENDED,
    GONE,
    PROMPTS_CHANGED,
    SUBSCRIPTION_ID,
    TOOLS,
    TOOLS_CHANGED,
    assert_nothing_is_held,
    changed,
    resources,
    running,
    updated,
)

ERAS = pytest.mark.parametrize("era", ["handshake", "stateless"])

IMPATIENT = ProcessLimits(request_timeout_seconds=3, stop_timeout_seconds=0.3)
"""Enough for a process to start on a busy machine, and not too long to wait for."""


# -- What a subscriber gets.


@ERAS
async def test_the_acknowledgement_comes_first_and_then_the_changes_that_were_asked_for(era: str) -> None:
    async with running(era) as it:
        stream = await it.open(TOOLS | resources("note:a"))
        assert await stream.acknowledged() == TOOLS | resources("note:a")
        await it.tell(changed(TOOLS_CHANGED, own=1), updated("note:a"))
        assert await stream.message() == changed(TOOLS_CHANGED, own=1)
        assert await stream.message() == updated("note:a")


@ERAS
@pytest.mark.parametrize("request_id", [b'"a b"', b"7", b'"7"', b"12345678901234567890"])
async def test_every_message_carries_the_id_of_the_request_with_its_type(era: str, request_id: bytes) -> None:
    async with running(era) as it:
        stream = await it.open(TOOLS, request_id=request_id)
        await it.tell(changed(TOOLS_CHANGED))
        marks: list[Any] = []
        for _ in range(2):
            event = await stream.subscription.exchange.next_event()
            marks.append(decode(event.params)["_meta"][SUBSCRIPTION_ID])
        stream.subscription.close()
        answer = await stream.subscription.exchange.answer()
        marks.append(decode(answer.result)["_meta"][SUBSCRIPTION_ID])
        assert marks == [int(request_id) if request_id.isdigit() else request_id.decode().strip('"')] * 3


async def test_what_was_not_asked_for_and_what_the_server_does_not_promise_is_not_told() -> None:
    everything = TOOLS | {"promptsListChanged": True, "resourcesListChanged": False, "new": 1} | resources("note:a")
    async with running("handshake") as it:
        stream = await it.open(everything)
        assert await stream.acknowledged() == TOOLS | resources("note:a")
        await it.tell(
            changed(PROMPTS_CHANGED), changed("notifications/resources/list_changed"), updated("note:b"), changed("x/y")
        )
        await it.tell(changed(TOOLS_CHANGED))
        assert await stream.message() == changed(TOOLS_CHANGED)


async def test_a_filter_that_asks_for_nothing_is_acknowledged_too() -> None:
    async with running("handshake") as it:
        stream = await it.open({})
        assert await stream.acknowledged() == {}


@pytest.mark.parametrize("told", ["note:a/b", "note:a"])
async def test_a_resource_below_one_that_was_asked_for_is_told(told: str) -> None:
    async with running("handshake") as it:
        stream = await it.open(resources("note:a"))
        await stream.acknowledged()
        await it.tell(updated("note:ab"), updated(told))
        assert await stream.message() == updated(told)


@ERAS
async def test_changes_before_the_acknowledgement_come_after_it(era: str) -> None:
    async with running(era) as it:
        stream = await it.open(resources("early:a"))
        assert await stream.acknowledged() == resources("early:a")
        assert await stream.message() == updated("early:a")


async def test_a_change_during_the_questions_is_told_unless_its_resource_is_refused() -> None:
    async with running("handshake") as it:
        subscription, opening = await it.begin(resources("late:a", "refused:b"))
        await it.tell(updated("refused:b"), updated("late:a"))
        await it.test("answer")
        await opening
        assert decode((await subscription.exchange.next_event()).params)["notifications"] == resources("late:a")
        assert decode((await subscription.exchange.next_event()).params)["uri"] == "late:a"
        await it.tell(updated("refused:b"), updated("late:a"))
        assert decode((await subscription.exchange.next_event()).params)["uri"] == "late:a"


async def test_progress_and_log_lines_are_not_for_subscribers() -> None:
    level = {"io.modelcontextprotocol__logLevel": "debug"}
    async with running("stateless") as it:
        stream = await it.open(TOOLS, progressToken="mine", **level)
        await stream.acknowledged()
        [request] = await it.heard("subscriptions/listen")
        meta = request["params"]["_meta"]
        assert "io.modelcontextprotocol/logLevel" not in meta
        assert meta["progressToken"] == request["id"]
        progress = {"progressToken": request["id"], "progress": 1}
        await it.test("say", message={"method": "notifications/progress", "params": progress})
        await it.tell(changed("notifications/message", level="info", data="x"), changed(TOOLS_CHANGED))
        assert await stream.message() == changed(TOOLS_CHANGED)


async def test_a_stateless_server_tells_those_who_keep_lists_of_tools_through_the_subscriptions_of_clients() -> None:
    heard: list[object] = []
    async with running("stateless") as it:
        it.subscriptions.hub.watch_tools(heard.append)
        stream = await it.open(TOOLS)
        await stream.acknowledged()
        await it.tell(changed(TOOLS_CHANGED))
        await stream.message()
        assert heard == [("listening", None)]


# -- Whose processes tell whom.


async def test_the_changes_of_one_process_reach_the_subscribers_at_all_processes_of_the_group() -> None:
    async with running("handshake") as it:
        plain = await it.open(TOOLS)
        able = await it.open(TOOLS, capabilities=EVERYTHING)
        assert it.pool.busy_count == 2
        await it.tell(changed(TOOLS_CHANGED))
        for stream in (plain, able):
            await stream.acknowledged()
            assert await stream.message() == changed(TOOLS_CHANGED)


@ERAS
async def test_nobody_hears_of_the_changes_of_somebody_elses_process(era: str) -> None:
    ada, grace = person("ada", digest="a"), person("grace", digest="g")
    async with running(era) as it:
        hers = await it.open(TOOLS, principal=ada)
        others = await it.open(TOOLS, principal=grace)
        await it.tell(changed(TOOLS_CHANGED, of="grace"), principal=grace)
        await it.tell(changed(TOOLS_CHANGED, of="ada"), principal=ada)
        for stream, name in ((hers, "ada"), (others, "grace")):
            await stream.acknowledged()
            assert await stream.message() == changed(TOOLS_CHANGED, of=name)


async def test_known_callers_of_a_shared_package_hear_of_each_others_changes() -> None:
    async with running("handshake", shared=True) as it:
        stream = await it.open(TOOLS, principal=person("ada", digest="a"))
        await stream.acknowledged()
        await it.tell(changed(TOOLS_CHANGED), principal=person("grace", digest="g"))
        assert await stream.message() == changed(TOOLS_CHANGED)


# -- Resources at a handshake-era server.


async def test_a_resource_that_many_want_is_asked_for_once_and_left_when_the_last_one_goes() -> None:
    async with running("handshake") as it:
        first = await it.open(resources("note:a", "note:b"))
        second = await it.open(resources("note:b", "note:b", "note:c"))
        assert await it.subscribed() == ["note:a", "note:b", "note:c"]
        first.subscription.close()
        first.subscription.close()
        await it.test("wait", method="resources/unsubscribe")
        assert (await it.subscribed())[3:] == ["-note:a"]
        await it.tell(updated("note:b"))
        assert await second.acknowledged() == resources("note:b", "note:c")
        assert await second.message() == updated("note:b")
        second.subscription.close()
        await it.test("wait", method="resources/unsubscribe", count=3)
        assert sorted((await it.subscribed())[4:]) == ["-note:b", "-note:c"]
        await it.open(resources("note:b"))
        assert (await it.subscribed())[6:] == ["note:b"]


async def test_who_waits_for_the_same_refused_resource_is_not_told_that_it_is_honoured() -> None:
    async with running("handshake") as it:
        first, opening = await it.begin(resources("late:a"))
        second = it.make(TOOLS | resources("late:a"))
        also_opening = asyncio.create_task(second.open())
        await it.test("heard")
        await it.test("answer", error={"code": -32602, "message": "no"})
        await opening
        await also_opening
        assert decode((await first.exchange.next_event()).params)["notifications"] == {}
        assert decode((await second.exchange.next_event()).params)["notifications"] == TOOLS
        second.close()
        # Whoever comes later asks anew, and nobody takes back what was never given.
        _, opening = await it.begin(resources("late:a"))
        await it.test("answer")
        await opening
        first.close()
        assert await it.subscribed() == ["late:a", "late:a"]


async def test_who_stops_waiting_for_a_resource_does_not_take_it_from_another() -> None:
    async with running("handshake") as it:
        first, opening = await it.begin(resources("late:a"))
        second = it.make(resources("late:a"))
        also_opening = asyncio.create_task(second.open())
        await it.test("heard")
        first.close()
        with pytest.raises(CancelledByClientError):
            await opening
        await it.test("answer")
        await also_opening
        assert decode((await second.exchange.next_event()).params)["notifications"] == resources("late:a")
        assert await it.subscribed() == ["late:a"]
        second.close()
        await it.test("wait", method="resources/unsubscribe")


async def test_a_refusal_of_an_earlier_question_does_not_answer_a_later_one() -> None:
    async with running("handshake") as it:
        first, opening = await it.begin(resources("late:a"))
        first.close()
        with pytest.raises(CancelledByClientError):
            await opening
        second, opening = await it.begin(resources("late:a"))
        [asked, _] = await it.heard("resources/subscribe")
        await it.test("say", message={"id": asked["id"], "error": {"code": 7, "message": "no"}})
        await it.test("answer")
        await opening
        assert decode((await second.exchange.next_event()).params)["notifications"] == resources("late:a")
        second.close()
        await it.test("wait", method="resources/unsubscribe", count=2)


async def test_a_server_that_does_not_answer_for_a_resource_keeps_nobody() -> None:
    async with running("handshake", limits=IMPATIENT) as it:
        with pytest.raises(ServerTimeoutError):
            await it.open(TOOLS | resources("late:a", "note:b"))
        assert_nothing_is_held(it)
        await it.test("wait", method="resources/unsubscribe")
        # The next one asks anew for both.
        subscription, opening = await it.begin(resources("note:b", "late:a"))
        subscription.close()
        with pytest.raises(CancelledByClientError):
            await opening
        asked = await it.subscribed()
        assert (asked.count("late:a"), asked.count("note:b")) == (2, 2)


# -- Servers that refuse, end, or say nothing.


async def test_a_server_that_refuses_says_why() -> None:
    async with running("stateless") as it:
        with pytest.raises(SubscriptionRefusedError) as caught:
            await it.open(resources("refused:a"))
        assert decode(caught.value.answer.error) == {"code": -32603, "message": "refused"}
        assert_nothing_is_held(it)


async def test_a_server_that_does_not_acknowledge_in_time_is_told_to_stop() -> None:
    async with running("stateless", limits=IMPATIENT) as it:
        with pytest.raises(ServerTimeoutError):
            await it.open(resources("late:a"))
        assert_nothing_is_held(it)
        await it.test("wait", method=GONE)


async def test_an_acknowledged_subscription_outlasts_the_request_timeout() -> None:
    async with running("stateless", limits=IMPATIENT) as it:
        stream = await it.open(TOOLS)
        await stream.acknowledged()
        # A request of which the server hears later, and that runs into its timeout, stands for the time.
        with pytest.raises(ServerTimeoutError):
            await it.test("wait", method="never")
        await it.tell(changed(TOOLS_CHANGED))
        assert await stream.message() == changed(TOOLS_CHANGED)
        assert len(await it.heard("subscriptions/listen")) == 1


async def test_a_server_may_refuse_after_it_has_told_of_a_change() -> None:
    async with running("stateless") as it:
        _, opening = await it.begin(resources("late:a"))
        [request] = await it.heard("subscriptions/listen")
        params = {"uri": "late:a", "_meta": {SUBSCRIPTION_ID: request["id"]}}
        await it.test("say", message=changed("notifications/resources/updated", **params))
        await it.test("answer", error={"code": 7, "message": "no"})
        with pytest.raises(SubscriptionRefusedError):
            await opening


@pytest.mark.parametrize(
    ("how", "end"),
    [
        ("result", {"result": {"resultType": "complete", "_meta": {SUBSCRIPTION_ID: 7}, "own": 1}}),
        ("cancelled", {"result": ENDED}),
        ("error", {"error": {"code": 7, "message": "enough"}}),
    ],
)
async def test_a_server_that_ends_a_subscription_ends_it_for_the_client(how: str, end: Any) -> None:
    async with running("stateless") as it:
        stream = await it.open(TOOLS)
        await stream.acknowledged()
        await it.test("end", how=how)
        assert await stream.message() == end
        assert it.pool.busy_count == 0
        stream.subscription.close()
        assert_nothing_is_held(it)
        assert await it.heard(GONE) == []


async def test_a_server_may_end_a_subscription_at_once() -> None:
    async with running("stateless") as it:
        stream = await it.open(resources("brief:a"))
        await stream.acknowledged()
        assert "own" in (await stream.message())["result"]
        assert it.pool.busy_count == 0


@ERAS
async def test_a_process_that_ends_while_it_is_asked_fails_the_request(era: str) -> None:
    async with running(era) as it:
        with pytest.raises(ServerExitedError):
            await it.open(resources("deadly:a"))
        assert_nothing_is_held(it)


def stand_still_until_ended(pid: int) -> None:
    """Answer and end of the process are there before anything here goes on."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


async def test_a_process_that_ends_with_its_last_answer_fails_the_request() -> None:
    async with running("handshake") as it:
        pid = (await it.test("pid"))["pid"]
        _, opening = await it.begin(resources("late:a"))
        lease = await it.acquire()
        lease.worker.send_request("test/last", b"{}")
        await asyncio.sleep(0)
        stand_still_until_ended(pid)
        lease.release()
        with pytest.raises(ServerExitedError):
            await opening
        assert_nothing_is_held(it)


# -- Tokens and bounds.


@ERAS
async def test_a_subscription_ends_with_its_token(era: str) -> None:
    expires_at = time.time() + 3600
    clock = [expires_at - 0.01]
    ada = replace(person("ada"), expires_at=expires_at)
    async with running(era, now=lambda: clock[0]) as it:
        stream = await it.open(TOOLS, principal=ada)
        await stream.acknowledged()
        # Its timer rings before this one. A clock that stands still ends nothing.
        has_rung = asyncio.Event()
        asyncio.get_running_loop().call_later(0.1, has_rung.set)
        await has_rung.wait()
        await it.tell(changed(TOOLS_CHANGED), principal=ada)
        assert await stream.message() == changed(TOOLS_CHANGED)
        clock[0] = expires_at
        assert await stream.message() == {"result": ENDED}
        assert it.pool.busy_count == 0
        assert len(it.subscriptions) == 1
        stream.subscription.close()
        assert_nothing_is_held(it)


async def test_a_subscription_with_a_token_that_has_ended_ends_at_once() -> None:
    ada = replace(person("ada"), expires_at=time.time() + 3600)
    async with running("handshake", now=lambda: time.time() + 7200) as it:
        stream = await it.open(TOOLS, principal=ada)
        await stream.acknowledged()
        assert await stream.message() == {"result": ENDED}


async def test_an_owner_has_a_number_of_places_whichever_token_comes() -> None:
    async with running("handshake", max_per_owner=2) as it:
        first = it.make(TOOLS, principal=person("ada", digest="1"))
        it.make(TOOLS, principal=person("ada", digest="2"))
        with pytest.raises(CapacityError):
            it.make(TOOLS, principal=person("ada", digest="3"))
        it.make(TOOLS, principal=person("grace"))
        first.close()
        first.close()
        it.make(TOOLS, principal=person("ada"))
        with pytest.raises(CapacityError):
            it.make(TOOLS, principal=person("ada"))


async def test_all_together_have_a_number_of_places() -> None:
    async with running("handshake", max_all=2) as it:
        first = it.make(TOOLS)
        it.make(TOOLS, principal=person("ada"))
        for principal in (None, person("grace")):
            with pytest.raises(CapacityError):
                it.make(TOOLS, principal=principal)
        first.close()
        it.make(TOOLS, principal=person("grace"))


async def test_a_filter_that_is_refused_takes_no_place() -> None:
    async with running("handshake", max_all=1) as it:
        with pytest.raises(StatelessError):
            it.make({"toolsListChanged": "yes"})
        assert_nothing_is_held(it)
