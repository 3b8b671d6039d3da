"""Tools that an entry does not serve: no client of any kind sees one in a list, and no process hears of a call."""

import json
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fluidmcp.config.entries import ServerEntry
from fluidmcp.config.tools import ToolFilter
from tests.gateway.events import open_events
from tests.gateway.guards import KnownTokens, gate_token
from tests.gateway.running import RunningGateway, running_gateway
from tests.gateway.tool_clients import ASKED, WAYS, Client, Json, client_of

SERVER = Path(__file__).parents[1] / "servers" / "tool_server.py"
ERAS = ("handshake", "stateless")
FILTERS = {
    "deny": ToolFilter(None, frozenset({"drop"})),
    "allow": ToolFilter(frozenset({"read", "ask", "keep"})),
    "both": ToolFilter(frozenset({"read", "ask", "keep", "drop"}), frozenset({"drop"})),
}


@asynccontextmanager
async def running_tools(
    era: str, tools: ToolFilter | None = FILTERS["deny"], **options: Any
) -> AsyncGenerator[RunningGateway]:
    entry = ServerEntry(
        name="tools",
        command=sys.executable,
        args=("-I", str(SERVER), era),
        tools=tools,
        directory=SERVER.parent,
        source="a test",
    )
    async with running_gateway([entry], **options) as running:
        yield running


async def names_of(client: Client) -> list[list[str]]:
    """The names of the tools, page by page."""
    pages: list[list[str]] = []
    cursor: str | None = None
    while True:
        result = (await client.ask("tools/list", {} if cursor is None else {"cursor": cursor}))["result"]
        pages.append([tool["name"] for tool in result["tools"]])
        if cursor is None:
            assert result["more"] == 1.5
        cursor = result.get("nextCursor")
        if cursor is None:
            return pages


async def check_client(client: Client) -> None:
    assert await names_of(client) == [["read"], ["ask", "keep"]]
    answer = await client.ask("tools/call", {"name": "read", "arguments": {}})
    assert answer["result"]["content"][0]["text"] == "read"
    answer = await client.ask("tools/call", {"name": "drop", "arguments": {}})
    assert answer["error"] == {"code": -32602, "message": "Unknown tool: drop"}
    for method in ("Tools/call", "tools//call"):
        assert "error" in await client.ask(method, {"name": "drop", "arguments": {}})
    heard = await client.heard()
    assert '"read"' in heard
    assert "drop" not in heard


@pytest.mark.parametrize("has_front", [True, False])
@pytest.mark.parametrize("era", ERAS)
async def test_a_tool_that_is_not_served_does_not_exist_for_any_client(era: str, has_front: bool) -> None:
    async with running_tools(era, has_front=has_front) as running:
        for way in WAYS:
            async with client_of(running, way) as client:
                await check_client(client)


@pytest.mark.parametrize("era", ERAS)
async def test_nor_for_one_whom_the_gateway_knows(era: str) -> None:
    async with running_tools(era, guard=KnownTokens()) as running:
        for way in WAYS:
            async with client_of(running, way, authorization=f"Bearer {gate_token('ann')}") as client:
                await check_client(client)


@pytest.mark.parametrize("name", FILTERS)
async def test_what_is_denied_and_what_is_not_allowed_are_the_same_to_a_client(name: str) -> None:
    async with running_tools("handshake", FILTERS[name]) as running, client_of(running, "session") as client:
        await check_client(client)


async def test_an_empty_list_of_allowed_tools_allows_none() -> None:
    async with running_tools("handshake", ToolFilter(frozenset())) as running, client_of(running, "bare") as client:
        assert await names_of(client) == [[], []]
        assert "error" in await client.ask("tools/call", {"name": "read"})


async def test_without_lists_everything_passes() -> None:
    async with running_tools("handshake", None) as running, client_of(running, "bare") as client:
        assert await names_of(client) == [["read", "drop"], ["ask", "keep"]]
        assert (await client.ask("tools/call", {"name": "drop"}))["result"]["content"][0]["text"] == "drop"


ABUSE = [
    r'"name":"\u0064rop"',
    '"name":"read","name":"drop"',
    '"name":"drop","name":"read","name":"drop"',
    r'"name":"read","n\u0061me":"drop"',
    '"name":"read","Name":"drop"',
    '"NAME":"drop","name":"read"',
    '"name":"DROP"',
    '"name":" drop "',
    '"name":"drop\\u0000"',
    '"name":"dro\\u200bp"',
    '"name":"\\uff44rop"',
    '"name":["drop"]',
    '"name":{"name":"drop"}',
    '"name":null',
    '"Name":"drop"',
    '"arguments":{}',
]


@pytest.mark.parametrize("way", ["bare", "batch", "session", "single", "stateless"])
@pytest.mark.parametrize("era", ERAS)
async def test_a_call_reaches_no_process_however_the_tool_is_spelled(era: str, way: str) -> None:
    async with running_tools(era) as running, client_of(running, way) as client:
        meta = client.encode({})[1:-1]
        for spelled in ABUSE:
            params = "{" + ",".join(filter(None, (spelled, meta))) + "}"
            name = json.loads(params).get("name")
            answer = await client.ask_raw("tools/call", params, name)
            # A stateless request whose header cannot repeat the name is refused for that (-32020).
            is_named = isinstance(name, str) or not client.is_stateless
            assert answer["error"]["code"] in ((-32602,) if is_named else (-32602, -32020)), (spelled, answer)
        assert "tools/call" not in await client.heard()
        if not client.is_stateless:
            for params in (None, "null", "[]", '["drop"]', '"drop"', "7"):
                assert (await client.ask_raw("tools/call", params))["error"]["code"] == -32602
            assert "tools/call" not in await client.heard()


@pytest.mark.parametrize("way", ["bare", "session", "single"])
@pytest.mark.parametrize("era", ERAS)
async def test_of_two_names_the_server_gets_the_one_that_was_looked_at(era: str, way: str) -> None:
    async with running_tools(era) as running, client_of(running, way) as client:
        answer = await client.ask_raw("tools/call", '{"name":"drop","name":"read"}')
        assert answer["result"]["content"][0]["text"] == "read"
        assert "drop" not in await client.heard()


@pytest.mark.parametrize("way", ["bare", "batch", "session", "single"])
@pytest.mark.parametrize("era", ERAS)
async def test_a_call_without_an_id_reaches_no_process(era: str, way: str) -> None:
    async with running_tools(era) as running, client_of(running, way) as client:
        await client.heard()
        await client.post('{"jsonrpc":"2.0","method":"tools/call","params":{"name":"drop"}}', "tools/call")
        assert "tools/call" not in await client.heard()


@pytest.mark.parametrize("era", ERAS)
async def test_a_call_that_asks_goes_on_in_a_session(era: str) -> None:
    async with running_tools(era) as running, client_of(running, "session", ASKED) as client:
        message: Json = {"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": {"name": "ask", "arguments": {}}}
        headers = {**client.headers, "accept": "application/json, text/event-stream"}
        async with open_events(running.client, "POST", "/tools/mcp", json=message, headers=headers) as events:
            question = await events.message()
            assert question["method"] == "elicitation/create"
            answer: Json = {"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept", "content": {}}}
            assert (await running.client.post("/tools/mcp", json=answer, headers=headers)).status_code == 202
            assert (await events.message())["result"]["content"][0]["text"] == "answered"


@pytest.mark.parametrize("era", ERAS)
async def test_the_retry_of_a_call_that_asks_is_for_no_other_tool(era: str) -> None:
    async with running_tools(era) as running, client_of(running, "stateless", ASKED) as client:
        first = (await client.ask("tools/call", {"name": "ask", "arguments": {}}))["result"]
        assert first["resultType"] == "input_required"
        answers: Json = {key: {"action": "accept", "content": {}} for key in first["inputRequests"]}
        retry: Json = {"arguments": {}, "inputResponses": answers, "requestState": first["requestState"]}
        refused = await client.ask("tools/call", {"name": "drop", **retry})
        assert refused["error"]["code"] == -32602
        answer = await client.ask("tools/call", {"name": "ask", **retry})
        assert answer["result"]["content"][0]["text"] == "answered"
        assert "drop" not in await client.heard()


@pytest.mark.parametrize("era", ERAS)
async def test_headers_of_a_tool_that_is_not_served_are_not_asked_for(era: str) -> None:
    """A call of it would otherwise learn that it is there."""
    async with running_tools(era) as running, client_of(running, "stateless") as client:
        arguments = {"region": "north"}
        missing = await client.ask("tools/call", {"name": "keep", "arguments": arguments})
        assert missing["error"]["code"] == -32020
        refused = await client.ask("tools/call", {"name": "drop", "arguments": arguments})
        assert refused["error"] == {"code": -32602, "message": "Unknown tool: drop"}
