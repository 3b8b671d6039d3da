import asyncio
import json
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from fluidmcp.config.entries import ServerEntry
from tests.gateway.events import EventSource, open_events
from tests.gateway.running import running_gateway

SERVER = Path(__file__).parents[1] / "servers" / "asking_server.py"
NAMES = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
EVERYTHING: dict[str, Any] = {"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {}}
BOTH = "application/json, text/event-stream"
ERAS = pytest.mark.parametrize("era", ["handshake", "stateless"])


def make_message(method: str, params: dict[str, Any], *, capabilities: Any = None, **meta: Any) -> dict[str, Any]:
    described: dict[str, Any] = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": capabilities or {},
        **meta,
    }
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": described}}


def make_headers(message: dict[str, Any], **more: str) -> dict[str, str]:
    method = message["method"]
    headers = {"accept": BOTH, "mcp-protocol-version": "2026-07-28", "mcp-method": method}
    if method in NAMES:
        headers["mcp-name"] = message["params"][NAMES[method]]
    return {**headers, **{name.replace("_", "-"): value for name, value in more.items()}}


@dataclass(slots=True)
class Client:
    """A client of revision 2026-07-28."""

    http: httpx2.AsyncClient

    async def post(self, message: Any, headers: dict[str, str]) -> httpx2.Response:
        return await self.http.post("/asking/mcp", json=message, headers=headers)

    async def send(self, method: str, params: dict[str, Any], capabilities: Any = None) -> httpx2.Response:
        message = make_message(method, params, capabilities=capabilities)
        return await self.post(message, make_headers(message))

    async def result(self, method: str, params: dict[str, Any], capabilities: Any = None) -> Any:
        response = await self.send(method, params, capabilities)
        assert response.status_code == 200, response.text
        return response.json()["result"]

    @asynccontextmanager
    async def stream(self, message: dict[str, Any], **headers: str) -> AsyncGenerator[EventSource]:
        options: dict[str, Any] = {"json": message, "headers": make_headers(message, **headers)}
        async with open_events(self.http, "POST", "/asking/mcp", **options) as events:
            yield events


@asynccontextmanager
async def running_client(era: str = "handshake", **settings: Any) -> AsyncGenerator[Client]:
    entry = ServerEntry(
        name="asking",
        command=sys.executable,
        args=("-I", str(SERVER), era),
        env=(),
        auth=None,
        directory=SERVER.parent,
        source="a test",
    )
    async with running_gateway([entry], **settings) as running:
        yield Client(running.client)


def error_of(response: httpx2.Response) -> tuple[int, int]:
    """Status and code."""
    return response.status_code, response.json()["error"]["code"]


async def test_the_first_fault_of_a_request_decides_code_and_status() -> None:
    echo = make_message("tools/call", {"name": "echo"})
    good = make_headers(echo)
    without_meta = {**echo, "params": {"name": "echo"}}
    without_capabilities = json.loads(json.dumps(echo))
    del without_capabilities["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"]
    future = json.loads(json.dumps(echo).replace("2026-07-28", "2030-01-01"))
    async with running_client() as client:
        assert error_of(await client.post(without_meta, good)) == (400, -32602)
        assert error_of(await client.post(without_capabilities, {**good, "mcp-method": "x"})) == (400, -32602)
        for name in ("mcp-protocol-version", "mcp-method", "mcp-name"):
            assert error_of(await client.post(echo, {**good, name: "x"})) == (400, -32020)
            assert error_of(await client.post(echo, {key: good[key] for key in good if key != name})) == (400, -32020)
        unsupported = await client.post(future, {**good, "mcp-protocol-version": "2030-01-01"})
        assert error_of(unsupported) == (400, -32022)
        assert unsupported.json()["error"]["data"] == {"supported": ["2026-07-28"], "requested": "2030-01-01"}
        assert (await client.result("server/discover", {}))["supportedVersions"] == ["2026-07-28"]


@ERAS
async def test_methods_that_the_revision_removed_and_unknown_ones_are_not_found(era: str) -> None:
    async with running_client(era) as client:
        for method in ("initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"):
            assert error_of(await client.send(method, {})) == (404, -32601)
        assert error_of(await client.send("no/such", {})) == (404, -32601)
        lines = (await client.result("test/heard", {}))["lines"]
        heard = [json.loads(line)["method"] for line in lines]
        assert "ping" not in heard
        assert heard.count("no/such") == 1


@pytest.mark.parametrize("request_id", [1, "1", 12345678901234567890, "a b"])
async def test_answers_and_errors_carry_the_requests_id_with_its_type(request_id: int | str) -> None:
    async with running_client() as client:
        for method, params in (("tools/call", {"name": "echo"}), ("ping", {}), ("no/such", {})):
            message = {**make_message(method, params), "id": request_id}
            response = await client.post(message, make_headers(message))
            assert response.json()["id"] == request_id
            assert isinstance(response.json()["id"], type(request_id))


async def test_a_notification_is_accepted_and_reaches_no_server() -> None:
    message = make_message("notifications/cancelled", {"requestId": 1})
    del message["id"]
    async with running_client() as client:
        response = await client.post(message, make_headers(message))
        assert (response.status_code, response.content) == (202, b"")
        unsupported = await client.post(message, make_headers(message, mcp_protocol_version="2030-01-01"))
        assert error_of(unsupported) == (400, -32022)
        lines = (await client.result("test/heard", {}))["lines"]
        assert not any("cancelled" in line for line in lines)


async def test_an_answer_of_a_client_is_refused() -> None:
    async with running_client() as client:
        message: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "result": {}}
        response = await client.post(message, {"accept": BOTH, "mcp-protocol-version": "2026-07-28"})
        assert error_of(response) == (400, -32600)


@ERAS
async def test_no_session_is_made_and_a_session_id_means_nothing(era: str) -> None:
    message = make_message("tools/call", {"name": "echo"})
    async with running_client(era) as client:
        response = await client.post(message, make_headers(message, mcp_session_id="x", last_event_id="y"))
        assert response.status_code == 200
        assert response.json()["result"]["name"] == "echo"
        assert "mcp-session-id" not in response.headers


@ERAS
async def test_an_event_stream_begins_when_the_server_says_something_before_its_answer(era: str) -> None:
    message = make_message("tools/call", {"name": "progress", "arguments": {"steps": 2}}, progressToken="mine")
    async with running_client(era) as client:
        async with client.stream(message) as events:
            messages = await events.rest()
            assert [item["params"] for item in messages[:-1]] == [
                {"progressToken": "mine", "progress": 1},
                {"progressToken": "mine", "progress": 2},
            ]
            assert messages[-1]["id"] == 1
            assert messages[-1]["result"]["resultType"] == "complete"
            assert events.last_event_id == ""
            assert events.response.headers["x-accel-buffering"] == "no"
        silent = make_message("tools/call", {"name": "progress", "arguments": {"steps": 0}}, progressToken="mine")
        response = await client.post(silent, make_headers(silent))
        assert response.headers["content-type"] == "application/json"


async def test_a_client_without_event_streams_gets_json_and_one_without_json_an_event_stream() -> None:
    message = make_message("tools/call", {"name": "progress", "arguments": {"steps": 2}}, progressToken="mine")
    async with running_client() as client:
        response = await client.post(message, make_headers(message, accept="application/json"))
        assert response.json()["result"]["content"][0]["text"] == "done"
        echo = make_message("tools/call", {"name": "echo"})
        async with client.stream(echo, accept="text/event-stream") as events:
            assert [item["result"]["name"] for item in await events.rest()] == ["echo"]


@ERAS
async def test_the_code_of_an_error_decides_the_status_for_every_form_of_answer(era: str) -> None:
    statuses = {-32602: 400, -32601: 404, -32603: 200, 7: 200}
    async with running_client(era) as client:
        for code, status in statuses.items():
            error = {"code": code, "message": "m", "data": [1]}
            message = make_message("tools/call", {"name": "fail", "arguments": {"error": error}})
            response = await client.post(message, make_headers(message))
            assert (response.status_code, response.json()["error"]) == (status, error)
            if status != 200:
                response = await client.post(message, make_headers(message, accept="text/event-stream"))
                assert (response.status_code, response.json()["error"]) == (status, error)


async def test_a_resource_that_is_not_there_is_an_invalid_parameter() -> None:
    async with running_client() as client:
        assert error_of(await client.send("resources/read", {"uri": "file:///none"})) == (400, -32602)


QUESTION: dict[str, Any] = {"id": "name", "method": "elicitation/create", "params": {"message": "who?"}}


async def test_a_question_is_the_answer_and_the_retry_gets_the_result() -> None:
    params = {"name": "ask", "arguments": {"rounds": [[QUESTION]]}}
    async with running_client() as client:
        asked = await client.result("tools/call", params, EVERYTHING)
        assert asked["resultType"] == "input_required"
        assert asked["inputRequests"] == {"name": {"method": "elicitation/create", "params": {"message": "who?"}}}
        responses = {"name": {"action": "accept", "content": {"n": 1}}}
        retry = {**params, "inputResponses": responses, "requestState": asked["requestState"]}
        result = await client.result("tools/call", retry, EVERYTHING)
        assert json.loads(result["content"][0]["text"]) == responses
        assert error_of(await client.send("tools/call", retry, EVERYTHING)) == (400, -32602)


async def test_a_question_that_the_client_cannot_be_asked_is_a_missing_capability() -> None:
    params = {"name": "ask", "arguments": {"rounds": [[QUESTION]]}}
    async with running_client() as client:
        response = await client.send("tools/call", params)
        assert error_of(response) == (400, -32021)
        assert response.json()["error"]["data"] == {"requiredCapabilities": {"elicitation": {"form": {}}}}
        # Once the stream has begun, its status stands.
        arguments = {**params["arguments"], "steps": 1}  # type: ignore[dict-item]
        message = make_message("tools/call", {"name": "ask", "arguments": arguments}, progressToken=1)
        async with client.stream(message) as events:
            progress, refusal = await events.rest()
            assert progress["method"] == "notifications/progress"
            assert refusal["error"]["code"] == -32021


@ERAS
async def test_the_headers_of_a_tools_arguments_are_compared_before_the_call(era: str) -> None:
    located = make_message("tools/call", {"name": "located", "arguments": {"region": "north"}})
    async with running_client(era) as client:
        for headers in ({}, {"mcp_param_region": "south"}):
            assert error_of(await client.post(located, make_headers(located, **headers))) == (400, -32020)
        lines = (await client.result("test/heard", {}))["lines"]
        assert not any("tools/call" in line for line in lines)
        response = await client.post(located, make_headers(located, mcp_param_region="north"))
        assert response.status_code == 200


@ERAS
async def test_a_client_that_goes_away_before_the_reply_cancels_its_request(era: str) -> None:
    async with running_client(era) as client:
        request = asyncio.create_task(client.send("tools/call", {"name": "hang"}))
        await client.result("test/wait", {"method": "tools/call"})
        request.cancel()
        await client.result("test/wait", {"method": "notifications/cancelled"})


@ERAS
async def test_a_client_that_closes_its_stream_cancels_its_request(era: str) -> None:
    hanging = {"name": "progress", "arguments": {"steps": 1, "hangs": True}}
    message = make_message("tools/call", hanging, progressToken=1)
    async with running_client(era) as client:
        async with client.stream(message) as events:
            assert (await events.message())["method"] == "notifications/progress"
        await client.result("test/wait", {"method": "notifications/cancelled"})


async def test_a_client_that_has_read_its_questions_may_close_the_connection() -> None:
    params = {"name": "ask", "arguments": {"rounds": [[QUESTION]], "steps": 1}}
    message = make_message("tools/call", params, capabilities=EVERYTHING, progressToken=1)
    async with running_client() as client:
        async with client.stream(message) as events:
            await events.message()
            asked = (await events.message())["result"]
        retry = {**params, "inputResponses": {"name": {"action": "cancel"}}, "requestState": asked["requestState"]}
        result = await client.result("tools/call", retry, EVERYTHING)
        assert json.loads(result["content"][0]["text"]) == {"name": {"action": "cancel"}}


async def test_after_each_reply_its_process_is_free_for_the_next_request() -> None:
    async with running_client() as client:
        for _ in range(3):
            await client.result("tools/call", {"name": "echo"}, EVERYTHING)
        lines = (await client.result("test/heard", {}, EVERYTHING))["lines"]
        assert sum("tools/call" in line for line in lines) == 3
