"""Sessions, streams, suspended calls and subscriptions belong to one person, whatever ids another one knows."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.gateway.events import open_events
from tests.gateway.running import RunningGateway
from tests.gateway.test_persons import bearer, running_mail, token

Json = dict[str, Any]
Headers = dict[str, str]

INITIALIZE: Json = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"sampling": {}, "roots": {}},
    "clientInfo": {"name": "test", "version": "1"},
}
BOTH = "application/json, text/event-stream"
ADA, GRACE = token("ada"), token("grace")
STRANGERS = pytest.mark.parametrize(
    ("stranger", "status"),
    [(GRACE, 404), (token("ada", 1, "other"), 404), (token("ada", 1, "mail", "another-client"), 401), (None, 401)],
    ids=["another person", "fewer scopes", "another client", "nobody"],
)


@pytest.fixture
async def running() -> AsyncIterator[RunningGateway]:
    async with running_mail() as (running, _):
        yield running


def with_token(headers: Headers, value: str | None) -> Headers:
    return headers if value is None else {**headers, **bearer(value)}


async def open_session(running: RunningGateway, value: str) -> Headers:
    headers = {"accept": BOTH, **bearer(value)}
    response = await running.rpc("mail", "initialize", INITIALIZE, **headers)
    assert response.status_code == 200, response.text
    return {"accept": BOTH, "mcp-session-id": response.headers["mcp-session-id"]}


def quiz(method: str = "roots/list") -> Json:
    params: Json = {"name": "quiz", "arguments": {"method": method}}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


@pytest.mark.threat("B32")
@STRANGERS
async def test_no_stranger_opens_or_resumes_a_stream_or_answers_a_question(
    running: RunningGateway, stranger: str | None, status: int
) -> None:
    session = await open_session(running, ADA)
    foreign = with_token(session, stranger)
    async with open_events(
        running.client, "POST", "/mail/mcp", json=quiz(), headers=with_token(session, ADA)
    ) as events:
        question = await events.next()
        statuses = [
            (await running.client.get("/mail/mcp", headers=foreign)).status_code,
            (await running.client.get("/mail/mcp", headers={**foreign, "last-event-id": "1-1"})).status_code,
            (await running.client.delete("/mail/mcp", headers=foreign)).status_code,
        ]
        forged: Json = {"jsonrpc": "2.0", "id": question.message["id"], "result": {"roots": ["forged"]}}
        statuses.append((await running.client.post("/mail/mcp", json=forged, headers=foreign)).status_code)
        assert statuses == [status] * 4
        own = {**forged, "result": {"roots": ["own"]}}
        await running.client.post("/mail/mcp", json=own, headers=with_token(session, ADA))
        reply = await events.message()
    assert json.loads(reply["result"]["content"][0]["text"]) == {"result": {"roots": ["own"]}}


@pytest.mark.threat("B32")
async def test_the_message_address_of_a_stream_is_no_key(running: RunningGateway) -> None:
    async with open_events(running.client, "GET", "/mail/sse", headers=bearer(ADA)) as events:
        address = (await events.next()).data
        greeting: Json = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": INITIALIZE}
        assert (await running.client.post(address, json=greeting)).status_code == 401
        assert (await running.client.post(address, json=greeting, headers=bearer(GRACE))).status_code == 404
        assert (await running.client.post(address, json=greeting, headers=bearer(ADA))).status_code == 202
        assert (await events.message())["id"] == 1
    assert (await running.client.get("/mail/sse")).status_code == 401


def stateless(method: str, params: Json, value: str) -> tuple[Json, Headers]:
    meta: Json = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {"roots": {}},
    }
    message: Json = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}
    headers = {"accept": BOTH, "mcp-protocol-version": "2026-07-28", "mcp-method": method, **bearer(value)}
    return message, {**headers, "mcp-name": str(params.get("name", ""))}


@pytest.mark.threat("B32")
async def test_a_suspended_call_is_resumed_by_its_own_person_only(running: RunningGateway) -> None:
    params: Json = {"name": "quiz", "arguments": {"method": "roots/list"}}

    async def send(value: str, **more: Any) -> Json:
        message, headers = stateless("tools/call", {**params, **more}, value)
        answer: Json = (await running.client.post("/mail/mcp", json=message, headers=headers)).json()
        return answer

    asked = (await send(ADA))["result"]
    assert asked["resultType"] == "input_required"
    (key,) = asked["inputRequests"]
    state = asked["requestState"]
    responses = {key: {"roots": [{"uri": "file:///ada"}]}}
    stolen = await send(GRACE, inputResponses=responses, requestState=state)
    assert stolen["error"]["code"] == -32602
    resumed = await send(ADA, inputResponses=responses, requestState=state)
    assert "file:///ada" in resumed["result"]["content"][0]["text"]
