import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from msgspec import Raw

from fluidmcp.authentication.principal import Principal
from fluidmcp.bridge.tool_header_rules import KEPT_SECONDS, MAX_KEPT_SECONDS, MAX_PAGES, ToolHeaders
from fluidmcp.errors import ServerStartError
from fluidmcp.protocol.stateless import StatelessError
from tests.bridge.stateless_calls import EVERYTHING, make_request, person
from tests.bridge.subscribing import TOOLS_CHANGED, Running, changed, running

ERAS = pytest.mark.parametrize("era", ["handshake", "stateless"])


def tool(name: str, header: str | None = None) -> dict[str, Any]:
    """A tool; with a header, its argument `place` has to be repeated there."""
    place: dict[str, Any] = {"type": "string"} if header is None else {"type": "string", "x-mcp-header": header}
    return {"name": name, "inputSchema": {"type": "object", "properties": {"place": place}}}


@dataclass(slots=True)
class Checking:
    it: Running
    tools: ToolHeaders
    clock: list[float]

    async def offer(self, *tools: dict[str, Any], **more: Any) -> None:
        """What the server lists from now on."""
        await self.it.test("tools", pages=[list(tools)], **more)

    async def is_good(self, name: str, place: str | None, header: str | None, **options: Any) -> bool:
        """Whether a call of a tool passes, with its argument and the header Mcp-Param-Place."""
        try:
            await self.check(name, place, header, **options)
        except StatelessError as error:
            assert (error.rpc_code, error.status) == (-32020, 400)
            return False
        return True

    async def check(
        self,
        name: str,
        place: str | None,
        header: str | None,
        *,
        principal: Principal | None = None,
        capabilities: Any = None,
    ) -> None:
        arguments = {} if place is None else {"place": place}
        request = make_request("tools/call", {"name": name, "arguments": arguments}, capabilities or {})
        await self.tools.check(request, principal, (), {} if header is None else {"mcp-param-place": header})

    async def asked(self) -> int:
        """How often this process was asked for its tools."""
        return len(await self.it.heard("tools/list"))


@asynccontextmanager
async def checking(era: str = "stateless", *args: str, **options: Any) -> AsyncGenerator[Checking]:
    clock = [1000.0]
    async with running(era, *args) as it:
        tools = ToolHeaders(it.servers, it.subscriptions.hub, it.bridge.attach, now=lambda: clock[0], **options)
        yield Checking(it, tools, clock)


@ERAS
async def test_the_headers_of_a_tool_are_compared_with_its_arguments(era: str) -> None:
    async with checking(era) as call:
        await call.offer(tool("go", "Place"), tool("stay"))
        assert await call.is_good("go", "here", "here")
        assert not await call.is_good("go", "here", "there")
        assert not await call.is_good("go", "here", None)
        assert not await call.is_good("go", None, "here")
        assert await call.is_good("go", None, None)
        assert await call.is_good("stay", "here", "there")
        assert await call.is_good("unknown", "here", "there")
        assert await call.asked() == 1


@ERAS
async def test_a_list_of_several_pages_is_read_to_its_end(era: str) -> None:
    async with checking(era) as call:
        await call.it.test("tools", pages=[[tool("a")], [], [tool("go", "Place")]])
        assert not await call.is_good("go", "here", "there")
        requests = await call.it.heard("tools/list")
        assert [request["params"].get("cursor") for request in requests] == [None, "1", "2"]
        described = [("_meta" in request["params"]) for request in requests]
        assert described == [era == "stateless"] * 3


async def test_all_who_need_the_list_at_once_wait_for_one_answer() -> None:
    async with checking() as call:
        await call.offer(tool("go", "Place"))
        results = await asyncio.gather(*(call.is_good("go", "here", header) for header in ("here", "there") * 5))
        assert results == [True, False] * 5
        assert await call.asked() == 1


async def test_one_who_stops_waiting_does_not_stop_the_others() -> None:
    async with checking() as call:
        await call.offer(tool("go", "Place"))
        first = asyncio.create_task(call.is_good("go", "here", "there"))
        second = asyncio.create_task(call.is_good("go", "here", "there"))
        await asyncio.sleep(0)
        first.cancel()
        assert not await second
        assert await call.asked() == 1


@pytest.mark.parametrize("members", [{}, {"name": Raw(b"1")}])
async def test_a_call_without_a_name_is_for_the_server_to_refuse(members: dict[str, Raw]) -> None:
    async with checking() as call:
        request = replace(make_request("tools/call", {"name": "go"}, {}), members=members)
        await call.tools.check(request, None, (), {})
        assert await call.asked() == 0


async def test_a_process_that_cannot_be_had_fails_the_call(tmp_path: Any) -> None:
    (tmp_path / "faulty").touch()
    async with checking("stateless", "exit", str(tmp_path / "faulty")) as call:
        with pytest.raises(ServerStartError):
            await call.check("go", "here", "here")


# -- How long a list is kept.


async def test_a_list_holds_for_a_time_and_is_asked_for_again_after_it() -> None:
    async with checking() as call:
        await call.offer(tool("go"))
        assert await call.is_good("go", "here", None)
        await call.offer(tool("go", "Place"))
        call.clock[0] += KEPT_SECONDS
        assert await call.is_good("go", "here", None)
        call.clock[0] += 1
        assert not await call.is_good("go", "here", None)
        assert await call.asked() == 2


@pytest.mark.parametrize(
    ("ttl", "seconds"),
    [
        (20_000, 20.0),
        (100.5, 1.0),
        (0, 1.0),
        (-5, 1.0),
        (10**15, MAX_KEPT_SECONDS),
        ("20000", KEPT_SECONDS),
        (None, KEPT_SECONDS),
    ],
)
async def test_a_server_says_how_long_its_list_holds_within_bounds(ttl: Any, seconds: float) -> None:
    async with checking() as call:
        await call.offer(tool("go"), ttl=ttl)
        await call.check("go", "here", None)
        call.clock[0] += seconds
        await call.check("go", "here", None)
        assert await call.asked() == 1
        call.clock[0] += 0.5
        await call.check("go", "here", None)
        assert await call.asked() == 2


async def test_a_tool_that_is_not_in_the_list_may_be_new() -> None:
    async with checking() as call:
        await call.offer(tool("stay"))
        assert await call.is_good("go", "here", None)
        await call.offer(tool("go", "Place"))
        # Not at once: a client that calls what does not exist shall not keep the server busy.
        assert await call.is_good("go", "here", None)
        call.clock[0] += 1.5
        assert not await call.is_good("go", "here", None)
        assert await call.asked() == 2


async def test_a_header_that_is_wrong_may_belong_to_a_tool_that_has_changed() -> None:
    async with checking() as call:
        await call.offer(tool("go", "Place"))
        assert await call.is_good("go", "here", "here")
        await call.offer(tool("go"))
        assert not await call.is_good("go", "here", None)
        call.clock[0] += 1.5
        assert await call.is_good("go", "here", None)
        assert await call.asked() == 2


@ERAS
async def test_a_server_that_tells_of_changed_tools_is_asked_again(era: str) -> None:
    async with checking(era) as call:
        await call.offer(tool("go"))
        assert await call.is_good("go", "here", None)
        stream = await call.it.open({"toolsListChanged": True})
        await stream.acknowledged()
        await call.offer(tool("go", "Place"))
        await call.it.tell(changed(TOOLS_CHANGED))
        await stream.message()
        assert not await call.is_good("go", "here", None)
        assert await call.asked() == 2


async def test_a_handshake_era_server_needs_no_subscriber_to_be_heard() -> None:
    async with checking("handshake") as call:
        await call.offer(tool("go"))
        assert await call.is_good("go", "here", None)
        await call.offer(tool("go", "Place"))
        await call.it.tell(changed(TOOLS_CHANGED))
        assert not await call.is_good("go", "here", None)


async def test_a_list_that_changes_while_it_is_read_is_not_kept() -> None:
    async with checking("handshake") as call:
        await call.offer(hangs=True)
        first = asyncio.create_task(call.is_good("go", "here", None))
        await call.it.test("wait", method="tools/list")
        [asking] = await call.it.heard("tools/list")
        await call.it.tell(changed(TOOLS_CHANGED))
        await call.offer(tool("go", "Place"))
        # Who comes after the change is not given the list from before it.
        assert not await call.is_good("go", "here", None)
        old = {"id": asking["id"], "result": {"tools": [tool("go")]}}
        await call.it.test("say", message=old)
        assert await first
        assert not await call.is_good("go", "here", None)
        assert await call.asked() == 2


async def test_the_changes_of_one_persons_process_cost_nobody_else_a_list() -> None:
    ada, grace = person("ada", digest="a"), person("grace", digest="g")
    async with checking("handshake") as call:
        for principal in (ada, grace):
            await call.check("go", None, None, principal=principal)
        await call.it.tell(changed(TOOLS_CHANGED), principal=ada)
        for principal in (ada, grace):
            await call.check("go", None, None, principal=principal)
        heard = [await call.it.test("heard", principal=principal) for principal in (ada, grace)]
        lists = [[message["method"] for message in one["messages"]].count("tools/list") for one in heard]
        assert lists == [2, 1]


async def test_the_changes_of_another_package_cost_no_list() -> None:
    async with checking() as call:
        await call.check("go", None, None)
        call.it.subscriptions.hub.tell_tools_changed(("another", None))
        await call.check("go", None, None)
        assert await call.asked() == 1


async def test_persons_and_capabilities_have_lists_of_their_own() -> None:
    ada = person("ada", digest="a")
    async with checking("handshake") as call:
        await call.offer(tool("go", "Place"))
        assert not await call.is_good("go", "here", None)
        assert await call.is_good("go", "here", None, principal=ada)
        assert await call.is_good("go", "here", None, capabilities=EVERYTHING)
        assert not await call.is_good("go", "here", None)


async def test_a_bounded_number_of_lists_is_kept() -> None:
    async with checking(max_groups=2) as call:
        for name in ("ada", "grace", "joan"):
            await call.check("go", None, None, principal=person(name, digest=name))
        for name, count in (("joan", 1), ("grace", 1), ("ada", 2)):
            principal = person(name, digest=name)
            await call.check("go", None, None, principal=principal)
            heard = await call.it.test("heard", principal=principal)
            assert [message["method"] for message in heard["messages"]].count("tools/list") == count


# -- Servers that do not list their tools.


@pytest.mark.parametrize(
    "answer",
    [
        {"error": True},
        {"hangs": True},
        {"pages": ["none"]},
        {"pages": [[{"title": "without a name"}]]},
        {"pages": [[{"name": f"a{number}"}] for number in range(MAX_PAGES + 1)]},
    ],
)
async def test_tools_that_cannot_be_listed_are_called_without_rules(
    answer: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with checking(list_seconds=3.0) as call:
        await call.it.test("tools", **answer)
        with caplog.at_level(logging.WARNING, "fluidmcp.bridge.tool_header_rules"):
            assert await call.is_good("go", "here", "there")
            asked = await call.asked()
            call.clock[0] += KEPT_SECONDS
            # Nothing is learnt by asking again soon, and a call would have to wait for it.
            assert await call.is_good("go", "here", "there")
            assert await call.asked() == asked
            call.clock[0] += 1
            await call.it.test("tools", error=True)
            assert await call.is_good("go", "here", "there")
            assert await call.asked() == asked + 1
        assert len(caplog.records) == 1
        assert "listening" in caplog.text
        assert call.it.pool.busy_count == 0


async def test_a_list_that_takes_too_long_is_taken_back() -> None:
    async with checking(list_seconds=0.2) as call:
        await call.offer(hangs=True)
        await call.check("go", "here", "there")
        await call.it.test("wait", method="notifications/cancelled")


async def test_a_list_that_takes_long_is_not_old_when_it_comes() -> None:
    async with checking() as call:
        await call.offer(hangs=True)
        checking_once = asyncio.create_task(call.is_good("go", "here", None))
        await call.it.test("wait", method="tools/list")
        call.clock[0] += KEPT_SECONDS
        [asking] = await call.it.heard("tools/list")
        await call.it.test("say", message={"id": asking["id"], "result": {"tools": [tool("go")]}})
        assert await checking_once
        call.clock[0] += 1.5
        assert await call.is_good("go", "here", None)
        assert await call.asked() == 1


async def test_what_was_read_before_a_list_failed_holds() -> None:
    async with checking() as call:
        await call.it.test("tools", pages=[[tool("go", "Place")], "none"])
        assert not await call.is_good("go", "here", "there")
        assert not await call.is_good("go", "here", "there")
        assert await call.is_good("go", "here", "here")


async def test_a_second_failure_is_told_after_a_success(caplog: pytest.LogCaptureFixture) -> None:
    async with checking() as call:
        for fails in (True, False, True):
            await call.offer(**({"error": True} if fails else {}))
            await call.check("go", None, None)
            call.clock[0] += KEPT_SECONDS + 1
        assert len(caplog.records) == 2
