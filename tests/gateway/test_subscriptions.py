"""`subscriptions/listen` over HTTP: servers on the official SDKs, and one that makes faults."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from fluidmcp.bridge.client_subscriptions import MAX_SUBSCRIPTIONS_PER_OWNER
from fluidmcp.bridge.session import CancelledByClientError
from fluidmcp.config.entries import ServerEntry
from fluidmcp.config.settings import ProcessLimits
from fluidmcp.gateway.http import HttpReply, HttpRequest, HttpStream
from fluidmcp.gateway.mcp.messages import Caller
from fluidmcp.gateway.mcp.subscription_endpoint import SubscriptionEndpoint
from fluidmcp.protocol.jsonrpc import Json
from tests.bridge.stateless_calls import LIMIT_SECONDS, make_request
from tests.bridge.subscribing import (
    ACKNOWLEDGED,
    GONE,
    SERVER,
    SUBSCRIPTION_ID,
    TOOLS,
    TOOLS_CHANGED,
    assert_nothing_is_held,
    resources,
    running,
)
from tests.conformance.fixtures import FixtureName, fixture_command, missing_fixture
from tests.gateway.events import EventSource, open_events
from tests.gateway.guards import KnownTokens, gate_token
from tests.gateway.running import RunningGateway, running_gateway

NAMES = {"tools/call": "name", "resources/read": "uri"}
BOTH = "application/json, text/event-stream"
ERAS = pytest.mark.parametrize("era", ["handshake", "stateless"])

Message = dict[str, Any]


def make_message(method: str, params: Message, request_id: object = 1) -> Message:
    meta: Message = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": {**params, "_meta": meta}}


def make_headers(message: Message, **more: str) -> dict[str, str]:
    method = message["method"]
    headers = {"accept": BOTH, "mcp-protocol-version": "2026-07-28", "mcp-method": method}
    if method in NAMES:
        headers["mcp-name"] = message["params"][NAMES[method]]
    return {**headers, **{name.replace("_", "-"): value for name, value in more.items()}}


@dataclass(slots=True)
class Client:
    """A client of revision 2026-07-28 at one package."""

    running: RunningGateway
    package: str

    @property
    def path(self) -> str:
        return f"/{self.package}/mcp"

    async def send(self, method: str, params: Message | None = None, **headers: str) -> httpx2.Response:
        message = make_message(method, params or {})
        return await self.running.client.post(self.path, json=message, headers=make_headers(message, **headers))

    async def result(self, method: str, params: Message | None = None, **headers: str) -> Any:
        response = await self.send(method, params, **headers)
        assert response.status_code == 200, response.text
        return response.json()["result"]

    async def call(self, tool: str, arguments: Message | None = None) -> None:
        await self.result("tools/call", {"name": tool, "arguments": arguments or {}})

    async def listen_in_vain(self, wanted: object, **headers: str) -> httpx2.Response:
        """A subscription that is refused."""
        return await self.send("subscriptions/listen", {"notifications": wanted}, **headers)

    @asynccontextmanager
    async def listen(self, wanted: object, request_id: object = 1, **headers: str) -> AsyncGenerator[EventSource]:
        message = make_message("subscriptions/listen", {"notifications": wanted}, request_id)
        options: dict[str, Any] = {"json": message, "headers": make_headers(message, **headers)}
        async with open_events(self.running.client, "POST", self.path, **options) as events:
            yield events


def entry(name: str, command: tuple[str, ...]) -> ServerEntry:
    return ServerEntry(
        name=name,
        command=command[0],
        args=command[1:],
        env=(),
        auth=None,
        directory=SERVER.parent,
        source="a test",
    )


@asynccontextmanager
async def listening(era: str, **options: Any) -> AsyncGenerator[Client]:
    """A gateway before the server that makes faults."""
    command = (sys.executable, "-I", str(SERVER), era)
    options.setdefault("limits", ProcessLimits(stop_timeout_seconds=0.3))
    async with running_gateway([entry("listening", command)], **options) as it:
        yield Client(it, "listening")


def error_of(response: httpx2.Response) -> tuple[int, int]:
    """Status and code."""
    return response.status_code, response.json()["error"]["code"]


def marked(method: str, request_id: object, **params: Any) -> Message:
    return {"jsonrpc": "2.0", "method": method, "params": {**params, "_meta": {SUBSCRIPTION_ID: request_id}}}


# -- Servers on the official SDKs.

URI = "test://watched-resource"
EVERYTHING: Message = {
    "toolsListChanged": True,
    "promptsListChanged": True,
    "resourcesListChanged": True,
    "resourceSubscriptions": [URI],
}


@pytest.mark.parametrize("fixture", ["dual", "handshake", "stateless"])
async def test_servers_of_all_eras_tell_their_subscribers_of_changes(fixture: FixtureName) -> None:
    missing = missing_fixture(fixture)
    if missing is not None:
        pytest.skip(missing)
    async with running_gateway([entry(fixture, fixture_command(fixture))]) as it:
        client = Client(it, fixture)
        async with client.listen(EVERYTHING, "all") as everything, client.listen(TOOLS, 2) as tools:
            assert await everything.message() == marked(ACKNOWLEDGED, "all", notifications=EVERYTHING)
            assert await tools.message() == marked(ACKNOWLEDGED, 2, notifications=TOOLS)
            await client.call("test_trigger_prompt_change")
            await client.call("test_trigger_resource_update", {"uri": "test://another-resource"})
            await client.call("test_trigger_resource_update", {"uri": URI})
            await client.call("test_trigger_tool_change")
            told = [await everything.message() for _ in range(3)]
            assert told == [
                marked("notifications/prompts/list_changed", "all"),
                marked("notifications/resources/updated", "all", uri=URI),
                marked(TOOLS_CHANGED, "all"),
            ]
            assert await tools.message() == marked(TOOLS_CHANGED, 2)
            assert tools.last_event_id == ""


# -- The endpoint.


@ERAS
async def test_a_subscription_needs_a_client_that_takes_an_event_stream(era: str) -> None:
    async with listening(era) as client:
        for accept in ("application/json", "*/*"):
            response = await client.listen_in_vain(TOOLS, accept=accept)
            assert error_of(response) == (406, -32600)
            assert response.json()["id"] == 1
        async with client.listen(TOOLS, accept="text/event-stream") as events:
            assert await events.message() == marked(ACKNOWLEDGED, 1, notifications=TOOLS)


@ERAS
@pytest.mark.parametrize("wanted", [None, 1, {"toolsListChanged": "yes"}, resources(*map(str, range(257)))])
async def test_a_filter_that_is_none_is_refused_before_any_process_starts(era: str, wanted: object) -> None:
    async with listening(era) as client:
        assert error_of(await client.listen_in_vain(wanted)) == (400, -32602)
        assert client.running.gateway.process_count == 0


async def test_a_server_that_refuses_a_subscription_answers_the_client() -> None:
    async with listening("stateless") as client:
        response = await client.listen_in_vain(resources("refused:a"))
        assert response.json() == {"jsonrpc": "2.0", "id": 1, "error": {"code": -32603, "message": "refused"}}
        assert response.status_code == 200


async def test_a_server_that_knows_no_subscriptions_makes_it_a_404() -> None:
    async with listening("stateless") as client:
        answering = asyncio.create_task(client.listen_in_vain(resources("late:a")))
        await client.result("test/wait", {"method": "subscriptions/listen"})
        await client.result("test/answer", {"error": {"code": -32601, "message": "no"}})
        assert error_of(await answering) == (404, -32601)


async def test_one_person_has_so_many_subscriptions_and_others_have_theirs() -> None:
    ada = {"authorization": f"Bearer {gate_token('ada')}"}
    ada_again = {"authorization": f"Bearer {gate_token('ada', 2)}"}
    grace = {"authorization": f"Bearer {gate_token('grace')}"}
    async with listening("handshake", guard=KnownTokens()) as client, contextlib.AsyncExitStack() as stack:
        for _ in range(MAX_SUBSCRIPTIONS_PER_OWNER - 1):
            await stack.enter_async_context(client.listen(TOOLS, **ada))
        async with client.listen(TOOLS, **ada):
            response = await client.listen_in_vain(TOOLS, **ada_again)
            assert error_of(response) == (429, -32603)
            assert response.headers["retry-after"] == "60"
            await stack.enter_async_context(client.listen(TOOLS, **grace))
        async with asyncio.timeout(LIMIT_SECONDS):
            while (response := await client.listen_in_vain({"toolsListChanged": 1}, **ada)).status_code == 429:
                pass
        assert error_of(response) == (400, -32602)
        async with client.listen(TOOLS, **ada):
            pass


async def test_nobody_hears_of_the_changes_of_somebody_elses_process() -> None:
    ada = {"authorization": f"Bearer {gate_token('ada')}"}
    grace = {"authorization": f"Bearer {gate_token('grace')}"}
    async with listening("handshake", guard=KnownTokens()) as client:
        async with client.listen(TOOLS, **ada) as events:
            await events.message()
            for person in (grace, ada):
                messages = [{"method": TOOLS_CHANGED, "params": {"of": person["authorization"]}}]
                await client.result("test/tell", {"messages": messages}, **person)
            assert (await events.message())["params"]["of"] == ada["authorization"]


# -- Ends.


@ERAS
async def test_a_client_that_closes_its_stream_ends_its_subscription(era: str) -> None:
    method = "resources/unsubscribe" if era == "handshake" else "notifications/cancelled"
    async with listening(era) as client:
        async with client.listen(resources("note:a")) as events:
            await events.message()
        await client.result("test/wait", {"method": method})


@ERAS
async def test_a_client_that_goes_before_the_acknowledgement_leaves_nothing_behind(era: str) -> None:
    """The endpoint alone, with a request whose client goes when the test says so."""
    async with running(era) as it:
        endpoint = SubscriptionEndpoint(it.servers, it.subscriptions, it.bridge.attach)
        leaving: list[Any] = []
        asked = len(await it.heard(it.asks_with))
        opening = asyncio.create_task(listen_at(endpoint, resources("late:a"), leaving))
        await it.test("wait", method=it.asks_with, count=asked + 1)
        [leave] = leaving
        leave()
        with pytest.raises(CancelledByClientError):
            await opening
        assert leaving == []
        assert_nothing_is_held(it)
        await it.test("wait", method=GONE if era == "stateless" else "resources/unsubscribe")


@ERAS
async def test_a_stream_that_is_never_begun_leaves_nothing_behind(era: str) -> None:
    """As when the head of the reply cannot be sent."""
    async with running(era) as it:
        endpoint = SubscriptionEndpoint(it.servers, it.subscriptions, it.bridge.attach)
        leaving: list[Any] = []
        stream = await listen_at(endpoint, resources("note:a"), leaving)
        assert isinstance(stream, HttpStream)
        assert leaving == []
        assert stream.on_disconnect is not None
        stream.on_disconnect()
        await stream.chunks.aclose()
        assert_nothing_is_held(it)


async def test_a_stream_that_has_come_to_its_end_leaves_nothing_behind() -> None:
    async with running("stateless") as it:
        endpoint = SubscriptionEndpoint(it.servers, it.subscriptions, it.bridge.attach)
        stream = await listen_at(endpoint, resources("brief:a"), [])
        assert isinstance(stream, HttpStream)
        sent = b"".join([chunk async for chunk in stream.chunks]).decode()
        events = sent.removesuffix("\n\n").split("\n\n")
        assert [ACKNOWLEDGED in event for event in events] == [True, False]
        assert_nothing_is_held(it)


async def listen_at(endpoint: SubscriptionEndpoint, wanted: object, leaving: list[Any]) -> HttpReply | HttpStream:
    """`leaving` holds what is to be called when the client goes, as long as that is watched."""

    def watch(callback: Any) -> Any:
        leaving.append(callback)
        return leaving.clear

    async def read_body() -> Json:
        return b""

    request = HttpRequest(
        method="POST",
        path="/listening/mcp",
        query="",
        headers={},
        read_body=read_body,
        watch_disconnect=watch,
    )
    parsed = make_request("subscriptions/listen", {"notifications": wanted}, {})
    return await endpoint.listen(parsed, b"7", Caller(None), "event-stream", request)


@ERAS
async def test_a_gateway_that_closes_ends_its_subscriptions_with_a_word(era: str) -> None:
    async with listening(era) as client:
        async with client.listen(TOOLS, "mine") as events:
            await events.message()
            closing = asyncio.create_task(client.running.gateway.close())
            end: Message = {"resultType": "complete", "_meta": {SUBSCRIPTION_ID: "mine"}}
            assert await events.rest() == [{"jsonrpc": "2.0", "id": "mine", "result": end}]
            await closing


@ERAS
async def test_a_stream_goes_on_when_the_process_behind_it_ends(era: str) -> None:
    method = "resources/subscribe" if era == "handshake" else "subscriptions/listen"
    async with listening(era) as client:
        async with client.listen(TOOLS | resources("note:a")) as events:
            await events.message()
            pid = await client.result("test/pid")
            await client.send("test/die")
            while await client.result("test/pid") == pid:
                pass
            await client.result("test/wait", {"method": method})
            await client.result("test/tell", {"messages": [{"method": TOOLS_CHANGED}]})
            assert await events.message() == marked(TOOLS_CHANGED, 1)


async def test_what_a_server_ends_ends_for_the_client() -> None:
    async with listening("stateless") as client:
        async with client.listen(TOOLS) as events:
            await events.message()
            await client.result("test/end", {"how": "cancelled"})
            end: Message = {"resultType": "complete", "_meta": {SUBSCRIPTION_ID: 1}}
            assert await events.rest() == [{"jsonrpc": "2.0", "id": 1, "result": end}]


@ERAS
async def test_a_client_that_goes_before_its_stream_begins_ends_its_subscription(era: str) -> None:
    asked = "resources/subscribe" if era == "handshake" else "subscriptions/listen"
    method = "resources/unsubscribe" if era == "handshake" else "notifications/cancelled"
    async with listening(era) as client:
        listening_in_vain = asyncio.create_task(client.listen_in_vain(resources("late:a")))
        await client.result("test/wait", {"method": asked})
        listening_in_vain.cancel()
        await client.result("test/wait", {"method": method})
