"""HTTP+SSE (2024-11-05) through real HTTP, with hand-made messages and with the official SDK's client."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from mcp.client.session import ClientSession
from mcp.client.sse import sse_client

from tests.gateway.events import EventSource, open_events
from tests.gateway.running import RunningGateway, running_gateway, stdlib_entry

Json = dict[str, Any]

INITIALIZE: Json = {
    "protocolVersion": "2024-11-05",
    "capabilities": {"sampling": {}},
    "clientInfo": {"name": "test", "version": "1"},
}


@pytest.fixture
async def running() -> AsyncIterator[RunningGateway]:
    async with running_gateway([stdlib_entry()]) as gateway:
        yield gateway


async def read_address(events: EventSource) -> str:
    event = await events.next()
    assert event.name == "endpoint"
    return event.data


async def post(running: RunningGateway, address: str, method: str, params: Any = None, request_id: Any = 1) -> None:
    message: Json = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params or {}}
    response = await running.client.post(address, json=message)
    assert (response.status_code, response.content) == (202, b"")


async def test_everything_comes_on_the_one_stream(running: RunningGateway) -> None:
    async with open_events(running.client, "GET", "/echo/sse") as events:
        address = await read_address(events)
        assert address.startswith("/echo/sse?sessionId=")
        await post(running, address, "initialize", INITIALIZE, "first")
        greeting = await events.next()
        assert (greeting.name, greeting.message["id"]) == ("message", "first")
        assert greeting.message["result"]["serverInfo"]["heard"] == INITIALIZE
        params = {"name": "progress", "arguments": {"steps": 2}, "_meta": {"progressToken": "t"}}
        await post(running, address, "tools/call", params, 2)
        kinds = [(await events.message()).get("method") for _ in range(3)]
        assert kinds == ["notifications/progress", "notifications/progress", None]
        await post(running, address, "tools/call", {"name": "quiz", "arguments": {"method": "roots/list"}}, 3)
        question = await events.message()
        answer: Json = {"jsonrpc": "2.0", "id": question["id"], "result": {"roots": []}}
        assert (await running.client.post(address, json=answer)).status_code == 202
        reply = await events.message()
        assert (reply["id"], json.loads(reply["result"]["content"][0]["text"])) == (3, {"result": {"roots": []}})


async def test_a_failure_comes_on_the_stream_as_well(running: RunningGateway) -> None:
    async with open_events(running.client, "GET", "/echo/sse") as events:
        address = await read_address(events)
        await post(running, address, "initialize", INITIALIZE)
        await events.message()
        await post(running, address, "tools/call", {"name": "die", "arguments": {}}, 2)
        failure = await events.message()
        assert (failure["id"], failure["error"]["code"]) == (2, -32603)
        await post(running, address, "tools/call", {"name": "echo", "arguments": {"text": "alive"}}, 3)
        assert (await events.message())["result"]["content"][0]["text"] == "alive"


async def test_the_first_message_is_initialize(running: RunningGateway) -> None:
    async with open_events(running.client, "GET", "/echo/sse") as events:
        message: Json = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        response = await running.client.post(await read_address(events), json=message)
        assert (response.status_code, response.json()["error"]["code"]) == (400, -32600)


async def test_the_end_of_the_stream_is_the_end_of_the_session(running: RunningGateway) -> None:
    async with open_events(running.client, "GET", "/echo/sse") as events:
        address = await read_address(events)
        await post(running, address, "initialize", INITIALIZE)
        await events.message()
        assert (len(running.gateway.parts.calls.sessions), running.gateway.process_count) == (1, 1)
    async with asyncio.timeout(20):
        while running.gateway.process_count or len(running.gateway.parts.calls.sessions):
            # Each request lets the gateway's loop run; nothing else tells a client that its session is gone.
            assert (await running.client.get("/health")).is_success
    message: Json = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    assert (await running.client.post(address, json=message)).status_code == 404


async def test_its_session_is_none_of_streamable_http_and_the_other_way_round(running: RunningGateway) -> None:
    message: Json = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    async with open_events(running.client, "GET", "/echo/sse") as events:
        session_id = (await read_address(events)).partition("=")[2]
        response = await running.client.post("/echo/mcp", json=message, headers={"mcp-session-id": session_id})
        assert response.status_code == 404
    opened = await running.rpc("echo", "initialize", INITIALIZE)
    other = opened.headers["mcp-session-id"]
    assert (await running.client.post(f"/echo/sse?sessionId={other}", json=message)).status_code == 404


async def test_the_official_client_of_that_transport_works(running: RunningGateway) -> None:
    heard: list[float] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append(progress)

    async with (
        asyncio.timeout(60),
        sse_client(f"{running.url}/echo/sse") as (reading, writing),
        ClientSession(reading, writing) as client,
    ):
        greeting = await client.initialize()
        assert greeting.server_info.name == "stdlib"
        result = await client.call_tool("progress", {"steps": 3}, progress_callback=hear)
        assert "done" in str(result.content)
        assert heard == [1, 2, 3]
        assert len((await client.list_tools()).tools) > 3
