"""The MCP endpoints through real HTTP, with a real server process behind them."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from fluidmcp.config.entries import ServerEntry
from fluidmcp.config.settings import ProcessLimits
from tests.gateway.running import STDLIB_SERVER, RunningGateway, running_gateway, stdlib_entry

Json = dict[str, Any]

INITIALIZE: Json = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"sampling": {}, "roots": {}, "elicitation": {}},
    "clientInfo": {"name": "test", "version": "1"},
}
BOTH = "application/json, text/event-stream"


@pytest.fixture
async def running() -> AsyncIterator[RunningGateway]:
    limits = ProcessLimits(request_timeout_seconds=120)
    async with running_gateway([stdlib_entry(), stdlib_entry("noisy", "--noise")], limits=limits) as gateway:
        yield gateway


async def open_session(running: RunningGateway) -> dict[str, str]:
    response = await running.rpc("echo", "initialize", INITIALIZE, accept=BOTH)
    assert response.status_code == 200, response.text
    return {"mcp-session-id": response.headers["mcp-session-id"], "accept": BOTH}


def read_events(response: httpx2.Response) -> list[dict[str, object]]:
    assert response.headers["content-type"].startswith("text/event-stream")
    return [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: ") and line[6:]]


@pytest.mark.promise(27, 43, 106)
async def test_bare_json_rpc_gets_plain_json_whatever_it_accepts(running: RunningGateway) -> None:
    for accept in ("*/*", "application/json", BOTH):
        response = await running.rpc("echo", "tools/list", accept=accept)
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/json"
        assert response.json()["id"] == 1
        assert "echo" in [tool["name"] for tool in response.json()["result"]["tools"]]
        assert "mcp-session-id" not in response.headers


async def test_curl_without_a_content_type_is_understood(running: RunningGateway) -> None:
    body = b'{"jsonrpc":"2.0","id":"x","method":"tools/list"}'
    form = {"content-type": "application/x-www-form-urlencoded"}
    response = await running.client.post("/echo/mcp", content=body, headers=form)
    assert response.json()["id"] == "x"


@pytest.mark.parametrize("request_id", ["1", '"1"', "1.0", '"a\\u00e9"', "123456789012345678901234567890"])
async def test_the_id_comes_back_as_sent(running: RunningGateway, request_id: str) -> None:
    body = f'{{"jsonrpc":"2.0","id":{request_id},"method":"ping"}}'
    response = await running.client.post("/echo/mcp", content=body, headers={"content-type": "application/json"})
    assert response.text == f'{{"jsonrpc":"2.0","id":{request_id},"result":{{}}}}'


async def test_a_notification_gets_202_and_no_body(running: RunningGateway) -> None:
    message: Json = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    response = await running.client.post("/echo/mcp", json=message)
    assert (response.status_code, response.content) == (202, b"")


@pytest.mark.parametrize(("body", "code"), [(b"{", -32700), (b"[]", -32600), (b'{"id":null,"method":"x"}', -32600)])
async def test_what_is_no_message_gets_its_error_code(running: RunningGateway, body: bytes, code: int) -> None:
    response = await running.client.post("/echo/mcp", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert response.json()["error"]["code"] == code
    assert response.json()["id"] is None


async def test_an_error_of_the_server_passes_under_the_clients_id(running: RunningGateway) -> None:
    response = await running.rpc("echo", "no/such/method")
    assert response.status_code == 200
    assert response.json()["error"]["code"] == -32601


async def test_noise_on_stdout_is_passed_over(running: RunningGateway) -> None:
    assert await running.call("noisy", "echo", {"text": "hi"}) == "hi"


async def test_equal_ids_at_once_never_get_each_others_answer(running: RunningGateway) -> None:
    texts = [f"text {number}" for number in range(100)]
    answers = await asyncio.gather(*(running.call("echo", "echo", {"text": text}) for text in texts))
    assert answers == texts
    assert running.gateway.process_count == 1


async def test_a_30_megabyte_answer_passes() -> None:
    async with running_gateway([stdlib_entry()], max_body_bytes=40 * 2**20) as running:
        text = "x" * (30 * 2**20)
        assert await running.call("echo", "echo", {"text": text}) == text


@pytest.mark.promise(108)
async def test_post_sse_streams_data_events_until_the_answer(running: RunningGateway) -> None:
    params = {"name": "progress", "arguments": {"steps": 3}, "_meta": {"progressToken": "mine"}}
    message: Json = {"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": params}
    response = await running.client.post("/echo/sse", json=message)
    events = read_events(response)
    assert [event.get("method") for event in events] == ["notifications/progress"] * 3 + [None]
    assert events[0]["params"] == {"progressToken": "mine", "progress": 1}
    assert events[-1]["id"] == 5


@pytest.mark.promise(108)
async def test_post_sse_ends_with_an_error_as_well(running: RunningGateway) -> None:
    message: Json = {"jsonrpc": "2.0", "id": 6, "method": "no/such/method"}
    events = read_events(await running.client.post("/echo/sse", json=message))
    assert len(events) == 1
    assert events[0]["id"] == 6
    assert "error" in events[0]


async def test_initialize_opens_a_session_with_a_process_of_its_own(running: RunningGateway) -> None:
    first, second = await open_session(running), await open_session(running)
    assert first["mcp-session-id"] != second["mcp-session-id"]
    assert await running.call("echo", "count", **first) == "1"
    assert await running.call("echo", "count", **first) == "2"
    assert await running.call("echo", "count", **second) == "1"
    assert await running.call("echo", "count") == "1"
    assert running.gateway.process_count == 3


async def test_the_server_hears_the_client_but_not_what_nobody_can_answer(running: RunningGateway) -> None:
    response = await running.rpc("echo", "initialize", INITIALIZE)
    heard = response.json()["result"]["serverInfo"]["heard"]
    assert heard == {**INITIALIZE, "capabilities": {}}


async def test_a_question_that_nobody_can_be_asked_is_refused(running: RunningGateway) -> None:
    assert await running.call("echo", "ask") == "-32601"


async def test_in_a_session_json_becomes_a_stream_when_the_server_speaks_first(running: RunningGateway) -> None:
    session = await open_session(running)
    params = {"name": "progress", "arguments": {"steps": 2}, "_meta": {"progressToken": 77}}
    events = read_events(await running.rpc("echo", "tools/call", params, **session))
    assert [event.get("method") for event in events] == ["notifications/progress"] * 2 + [None]
    assert events[1]["params"] == {"progressToken": 77, "progress": 2}
    logged = read_events(await running.rpc("echo", "tools/call", {"name": "log", "arguments": {}}, **session))
    assert logged[0]["method"] == "notifications/message"
    plain = await running.rpc("echo", "tools/list", **session)
    assert plain.headers["content-type"] == "application/json"


async def test_an_unknown_or_ended_session_is_404_and_a_missing_one_400(running: RunningGateway) -> None:
    session = await open_session(running)
    assert (await running.client.delete("/echo/mcp", headers=session)).status_code == 204
    assert running.gateway.process_count == 0
    assert (await running.rpc("echo", "tools/list", **session)).status_code == 404
    assert (await running.client.delete("/echo/mcp", headers=session)).status_code == 404
    assert (await running.client.delete("/echo/mcp")).status_code == 400


async def test_a_session_of_one_package_is_none_of_another(running: RunningGateway) -> None:
    session = await open_session(running)
    assert (await running.rpc("noisy", "tools/list", **session)).status_code == 404


async def test_a_session_survives_its_process(running: RunningGateway) -> None:
    session = await open_session(running)
    first = await running.call("echo", "pid", **session)
    await running.rpc("echo", "tools/call", {"name": "die", "arguments": {}}, **session)
    assert await running.call("echo", "pid", **session) != first


async def test_a_client_can_cancel_its_request(running: RunningGateway) -> None:
    session = await open_session(running)
    message: Json = {
        "jsonrpc": "2.0",
        "id": "slow",
        "method": "tools/call",
        "params": {"name": "hang", "arguments": {}},
    }
    hanging = asyncio.create_task(running.client.post("/echo/mcp", json=message, headers=session))
    await running.wait_hanging("echo", **session)
    cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "slow"}}
    assert (await running.client.post("/echo/mcp", json=cancel, headers=session)).status_code == 202
    async with asyncio.timeout(60):
        assert "cancelled" in (await hanging).json()["error"]["message"]


async def test_an_unsupported_version_header_is_400(running: RunningGateway) -> None:
    session = await open_session(running)
    session["mcp-protocol-version"] = "1999-01-01"
    assert (await running.rpc("echo", "tools/list", **session)).status_code == 400


async def test_process_wide_methods_never_reach_a_shared_process(running: RunningGateway) -> None:
    response = await running.rpc("echo", "logging/setLevel", {"level": "debug"})
    assert response.status_code == 400
    assert "session" in response.json()["error"]["message"]


async def test_calls_in_flight_fail_at_once_when_the_process_dies(running: RunningGateway) -> None:
    async with asyncio.timeout(60):
        hanging = asyncio.create_task(running.rpc("echo", "tools/call", {"name": "hang", "arguments": {}}))
        await running.wait_hanging("echo")
        await running.rpc("echo", "tools/call", {"name": "die", "arguments": {}})
        response = await hanging
    assert response.status_code == 200
    assert response.json()["id"] == 1
    assert "exit code 7" in response.json()["error"]["message"]
    assert await running.call("echo", "echo", {"text": "next"}) == "next"


async def test_a_request_that_takes_too_long_is_cancelled_at_the_server() -> None:
    async with running_gateway([stdlib_entry()], limits=ProcessLimits(request_timeout_seconds=0.3)) as running:
        response = await running.rpc("echo", "tools/call", {"name": "hang", "arguments": {}})
        assert response.status_code == 200
        assert "0.3 seconds" in response.json()["error"]["message"]
        async with asyncio.timeout(60):
            # Its calls have the same short time; on a slow machine the first ones may not be answered in it.
            while "result" not in response.json():
                response = await running.rpc("echo", "tools/call", {"name": "pid", "arguments": {}})
        assert running.gateway.process_count == 1


async def test_an_entry_has_a_request_timeout_of_its_own() -> None:
    entries = [stdlib_entry(), replace(stdlib_entry("quick"), request_timeout_seconds=0.3)]
    async with running_gateway(entries) as running:
        waiting = asyncio.create_task(running.rpc("echo", "tools/call", {"name": "hang", "arguments": {}}))
        await running.wait_hanging("echo")
        response = await running.rpc("quick", "tools/call", {"name": "hang", "arguments": {}})
        message = response.json()["error"]["message"]
        assert "0.3 seconds" in message
        assert "raise request_timeout_seconds of quick" in message
        assert not waiting.done()
        waiting.cancel()


async def test_an_entry_has_a_start_timeout_of_its_own() -> None:
    silent = replace(shell_entry("silent", "exec sleep 1000"), start_timeout_seconds=0.3)
    async with running_gateway([silent]) as running:
        response = await running.rpc("silent", "tools/list")
        assert response.status_code == 200
        assert "It had 0.3 seconds" in response.json()["error"]["message"]
        assert "raise start_timeout_seconds of silent" in response.json()["error"]["message"]


async def test_a_server_whose_calls_have_to_be_quick_may_be_slow_to_start() -> None:
    late = shell_entry("late", f'sleep 1; exec "{sys.executable}" -I "{STDLIB_SERVER}"')
    async with running_gateway([replace(late, request_timeout_seconds=0.2)]) as running:
        await running.gateway.check_server("late")


def shell_entry(name: str, script: str) -> ServerEntry:
    return replace(stdlib_entry(name), command="/bin/sh", args=("-c", script))


async def test_a_server_that_does_not_start_is_502_and_its_stderr_stays_with_the_operator() -> None:
    async with running_gateway([stdlib_entry("dead", "--die-at-start")]) as running:
        response = await running.rpc("dead", "tools/list")
        assert response.status_code == 502
        assert response.json()["id"] == 1
        assert "exit code 3" in response.json()["error"]["message"]
        assert "configuration" not in response.text


@pytest.mark.parametrize(("method", "path"), [("GET", "/echo/mcp"), ("PUT", "/echo/sse"), ("PUT", "/echo/mcp")])
async def test_methods_without_a_endpoint_are_405_with_allow(running: RunningGateway, method: str, path: str) -> None:
    response = await running.client.request(method, path)
    assert response.status_code == 405
    assert "POST" in response.headers["allow"]


async def test_an_unknown_package_is_404_and_names_the_known_ones_where_nothing_is_guarded(
    running: RunningGateway,
) -> None:
    response = await running.rpc("nobody", "tools/list")
    assert response.status_code == 404
    assert "echo" in response.json()["hint"]
