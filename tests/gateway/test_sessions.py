"""Handshake-era sessions through real HTTP: their streams, questions to the user, batches, and what survives."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from fluidmcp.config.settings import ProcessLimits
from tests.gateway.events import EventSource, open_events
from tests.gateway.running import RunningGateway, running_gateway, stdlib_entry

Json = dict[str, Any]
Headers = dict[str, str]

BOTH = "application/json, text/event-stream"
CAPABILITIES: Json = {"sampling": {}, "roots": {"listChanged": True}, "elicitation": {"form": {}}}


@pytest.fixture
async def running() -> AsyncIterator[RunningGateway]:
    async with running_gateway([stdlib_entry()], limits=ProcessLimits(request_timeout_seconds=30)) as gateway:
        yield gateway


def initialize_params(version: str = "2025-11-25") -> Json:
    return {"protocolVersion": version, "capabilities": CAPABILITIES, "clientInfo": {"name": "test", "version": "1"}}


async def open_session(running: RunningGateway, version: str = "2025-11-25") -> Headers:
    response = await running.rpc("echo", "initialize", initialize_params(version), accept=BOTH)
    assert response.status_code == 200, response.text
    # Where patience is short, the start takes longer, and the answer is the one event of a stream.
    text = response.text.rpartition("data: ")[2]
    assert json.loads(text)["result"]["protocolVersion"] == version
    return {"mcp-session-id": response.headers["mcp-session-id"], "accept": BOTH}


def call(tool: str, request_id: Any = 1, progress_token: Any = None, **arguments: Any) -> Json:
    params: Json = {"name": tool, "arguments": arguments}
    if progress_token is not None:
        params["_meta"] = {"progressToken": progress_token}
    return {"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": params}


def post_events(running: RunningGateway, session: Headers, message: Json) -> AbstractAsyncContextManager[EventSource]:
    return open_events(running.client, "POST", "/echo/mcp", json=message, headers=session)


def get_events(running: RunningGateway, session: Headers, **headers: str) -> AbstractAsyncContextManager[EventSource]:
    return open_events(
        running.client, "GET", "/echo/mcp", headers={**session, "accept": "text/event-stream", **headers}
    )


async def answer(running: RunningGateway, session: Headers, question: Json, **outcome: Any) -> None:
    message = {"jsonrpc": "2.0", "id": question["id"], **outcome}
    response = await running.client.post("/echo/mcp", json=message, headers=session)
    assert (response.status_code, response.content) == (202, b"")


def text_of(message: Json) -> str:
    return str(message["result"]["content"][0]["text"])


async def test_the_server_hears_what_the_client_can_be_asked(running: RunningGateway) -> None:
    response = await running.rpc("echo", "initialize", initialize_params(), accept=BOTH)
    assert response.json()["result"]["serverInfo"]["heard"] == initialize_params()


@pytest.mark.parametrize("method", ["elicitation/create", "sampling/createMessage", "roots/list", "x/unheard-of"])
async def test_a_question_goes_to_the_client_and_its_answer_back(running: RunningGateway, method: str) -> None:
    session = await open_session(running)
    params = {"message": "Wie heißt du?", "big": 12345678901234567890123, "_meta": {"x": None}}
    async with post_events(running, session, call("quiz", 7, method=method, params=params)) as events:
        question = await events.message()
        assert question["method"] == method
        assert question["params"] == params
        result = {"action": "accept", "content": {"name": "Ünï"}, "number": 98765432109876543210}
        await answer(running, session, question, result=result)
        reply = await events.message()
    assert reply["id"] == 7
    assert json.loads(text_of(reply)) == {"result": result}


async def test_a_refusal_reaches_the_server_as_an_error(running: RunningGateway) -> None:
    session = await open_session(running)
    async with post_events(running, session, call("quiz", method="roots/list")) as events:
        error = {"code": -32601, "message": "no roots here"}
        await answer(running, session, await events.message(), error=error)
        assert json.loads(text_of(await events.message())) == {"error": error}


async def test_two_questions_at_once_keep_their_answers_apart(running: RunningGateway) -> None:
    session = await open_session(running)
    async with post_events(running, session, call("quiz", "a", method="roots/list", params={"n": 1})) as first:
        one = await first.message()
        async with post_events(running, session, call("quiz", "b", method="roots/list", params={"n": 2})) as second:
            two = await second.message()
            assert one["id"] != two["id"]
            await answer(running, session, two, result={"roots": [2]})
            await answer(running, session, one, result={"roots": [1]})
            assert json.loads(text_of(await second.message())) == {"result": {"roots": [2]}}
        assert json.loads(text_of(await first.message())) == {"result": {"roots": [1]}}


async def test_a_question_is_answered_once_and_only_by_its_session(running: RunningGateway) -> None:
    session, stranger = await open_session(running), await open_session(running)
    async with post_events(running, session, call("quiz", method="roots/list")) as events:
        question = await events.message()
        await answer(running, stranger, question, result={"roots": ["stranger"]})
        await answer(running, session, question, result={"roots": ["own"]})
        await answer(running, session, question, result={"roots": ["late"]})
        assert json.loads(text_of(await events.message())) == {"result": {"roots": ["own"]}}


async def test_a_question_that_is_taken_back_is_cancelled_at_the_client(running: RunningGateway) -> None:
    session = await open_session(running)
    async with post_events(running, session, call("withdraw")) as events:
        question, withdrawal, reply = await events.message(), await events.message(), await events.message()
    assert question["method"] == "sampling/createMessage"
    assert withdrawal["method"] == "notifications/cancelled"
    assert withdrawal["params"] == {"requestId": question["id"], "reason": "never mind"}
    assert text_of(reply) == "done"


async def test_a_question_of_a_process_that_dies_is_cancelled(running: RunningGateway) -> None:
    session = await open_session(running)
    async with get_events(running, session) as general:
        async with post_events(running, session, call("quiz", 1, method="roots/list")) as events:
            question = await events.message()
            assert (await running.rpc("echo", "tools/call", {"name": "die", "arguments": {}}, **session)).is_success
            messages = await events.rest()
        messages += [await general.message()] if len(messages) < 2 else []
    assert {"notifications/cancelled"} == {m["method"] for m in messages if "method" in m}
    assert [m["params"]["requestId"] for m in messages if "method" in m] == [question["id"]]
    assert [m["error"]["code"] for m in messages if "error" in m] == [-32603]
    assert await running.call("echo", "count", **session) == "1"


async def test_what_belongs_to_no_request_comes_on_the_get_stream_alone(running: RunningGateway) -> None:
    session = await open_session(running)
    async with get_events(running, session) as general:
        reply = await running.client.post("/echo/mcp", json=call("change"), headers=session)
        assert text_of(reply.json()) == "done"
        assert (await general.message())["method"] == "notifications/tools/list_changed"


async def test_without_a_get_stream_the_running_request_carries_it(running: RunningGateway) -> None:
    session = await open_session(running)
    async with post_events(running, session, call("change")) as events:
        changed, reply = await events.message(), await events.message()
    assert changed["method"] == "notifications/tools/list_changed"
    assert text_of(reply) == "done"


async def test_what_found_no_stream_waits_for_the_next_one(running: RunningGateway) -> None:
    session = await open_session(running)
    for _ in range(2):
        await running.client.post("/echo/mcp", json=call("change"), headers={**session, "accept": "application/json"})
    async with get_events(running, session) as general:
        assert [(await general.message())["method"] for _ in range(2)] == ["notifications/tools/list_changed"] * 2


async def test_what_found_no_stream_goes_with_the_next_request(running: RunningGateway) -> None:
    session = await open_session(running)
    await running.client.post("/echo/mcp", json=call("change"), headers={**session, "accept": "application/json"})
    async with post_events(running, session, call("echo", text="hi")) as events:
        changed, reply = await events.message(), await events.message()
    assert changed["method"] == "notifications/tools/list_changed"
    assert text_of(reply) == "hi"


async def test_a_log_line_goes_to_the_running_request(running: RunningGateway) -> None:
    session = await open_session(running)
    async with get_events(running, session), post_events(running, session, call("log")) as events:
        assert (await events.message())["method"] == "notifications/message"
        assert text_of(await events.message()) == "done"


async def test_a_second_get_stream_is_refused_while_the_first_is_open(running: RunningGateway) -> None:
    session = await open_session(running)
    async with get_events(running, session):
        response = await running.client.get("/echo/mcp", headers=session)
        assert response.status_code == 409
    other = await running.client.get("/echo/mcp", headers={**session, "accept": "application/json"})
    assert other.status_code == 406


async def test_a_get_without_a_session_is_405_and_with_an_unknown_one_404(running: RunningGateway) -> None:
    response = await running.client.get("/echo/mcp", headers={"accept": "text/event-stream"})
    assert response.status_code == 405
    assert response.headers["allow"] == "POST"
    unknown = {"accept": "text/event-stream", "mcp-session-id": "no-such-session"}
    assert (await running.client.get("/echo/mcp", headers=unknown)).status_code == 404


async def test_an_interrupted_request_is_resumed_where_it_was(running: RunningGateway) -> None:
    session = await open_session(running)
    async with post_events(running, session, call("quiz", 5, method="roots/list")) as events:
        question = await events.message()
        last_event_id = events.last_event_id
        assert events.begins_with_id
    # The connection is closed; the request goes on.
    await answer(running, session, question, result={"roots": []})
    async with get_events(running, session, **{"last-event-id": last_event_id}) as resumed:
        reply = await resumed.message()
        assert (reply["id"], json.loads(text_of(reply))) == (5, {"result": {"roots": []}})
        assert await resumed.rest() == []


async def test_a_resumed_stream_repeats_what_came_after_the_named_event(running: RunningGateway) -> None:
    session = await open_session(running)
    async with post_events(running, session, call("progress", 5, "token", steps=5)) as events:
        first = await events.next()
        later = await events.rest()
    async with get_events(running, session, **{"last-event-id": first.event_id}) as resumed:
        assert await resumed.rest() == later
    assert [message.get("method") for message in later] == ["notifications/progress"] * 4 + [None]


@pytest.mark.parametrize("event_id", ["", "x", "1-1", "0-1", "999999999999999999999-1"])
async def test_an_event_id_that_was_never_given_is_refused(running: RunningGateway, event_id: str) -> None:
    session = await open_session(running)
    response = await running.client.get("/echo/mcp", headers={**session, "last-event-id": event_id})
    assert response.status_code == 400


async def test_nobody_resumes_the_stream_of_another_session(running: RunningGateway) -> None:
    session, stranger = await open_session(running), await open_session(running)
    async with post_events(running, session, call("progress", 5, "token", steps=1)) as events:
        event = await events.next()
    response = await running.client.get("/echo/mcp", headers={**stranger, "last-event-id": event.event_id})
    assert response.status_code == 400


async def test_older_clients_get_no_event_without_data(running: RunningGateway) -> None:
    session = await open_session(running, "2025-06-18")
    async with post_events(running, session, call("progress", 5, "token", steps=1)) as events:
        await events.rest()
        assert not events.begins_with_id


async def test_a_disconnect_cancels_nothing(running: RunningGateway) -> None:
    session = await open_session(running)
    async with post_events(running, session, call("quiz", 5, method="roots/list")) as events:
        question = await events.message()
    assert await running.call("echo", "echo", {"text": "still there"}, **session) == "still there"
    await answer(running, session, question, result={})
    async with get_events(running, session, **{"last-event-id": events.last_event_id}) as resumed:
        assert (await resumed.message())["id"] == 5


async def test_the_end_of_a_session_ends_its_streams(running: RunningGateway) -> None:
    session = await open_session(running)
    async with (
        get_events(running, session) as general,
        post_events(running, session, call("quiz", 5, method="roots/list")) as events,
    ):
        await events.message()
        assert (await running.client.delete("/echo/mcp", headers=session)).status_code == 204
        assert [message["error"]["code"] for message in await events.rest()] == [-32603]
        assert await general.rest() == []
    assert running.gateway.process_count == 0


async def test_a_batch_of_2025_03_26_is_answered_as_an_array(running: RunningGateway) -> None:
    session = await open_session(running, "2025-03-26")
    notification: Json = {"jsonrpc": "2.0", "method": "notifications/x"}
    batch: list[Any] = [call("echo", 1, text="a"), notification, call("echo", "2", text="b"), {"id": None}]
    response = await running.client.post("/echo/mcp", json=batch, headers=session)
    assert response.status_code == 200
    answers = {answer["id"]: answer for answer in response.json()}
    assert (text_of(answers[1]), text_of(answers["2"])) == ("a", "b")
    assert answers[None]["error"]["code"] == -32600
    only_notifications = await running.client.post("/echo/mcp", json=[notification], headers=session)
    assert (only_notifications.status_code, only_notifications.content) == (202, b"")


async def test_a_batch_holds_no_initialize(running: RunningGateway) -> None:
    batch = [{"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": initialize_params()}]
    response = await running.client.post("/echo/mcp", json=batch)
    assert [answer["error"]["code"] for answer in response.json()] == [-32600]


@pytest.mark.parametrize("version", ["2025-06-18", "2025-11-25"])
async def test_later_revisions_have_no_batches(running: RunningGateway, version: str) -> None:
    session = await open_session(running, version)
    response = await running.client.post("/echo/mcp", json=[call("echo", 1, text="a")], headers=session)
    assert (response.status_code, response.json()["error"]["code"]) == (400, -32600)


async def test_ten_sessions_with_the_same_ids_and_tokens_stay_apart(running: RunningGateway) -> None:
    async def talk(number: int) -> None:
        session = await open_session(running)
        async with post_events(running, session, call("progress", 1, "token", steps=number)) as events:
            messages = await events.rest()
        assert len(messages) == number + 1
        async with post_events(running, session, call("quiz", 1, method="roots/list", params={"n": number})) as events:
            question = await events.message()
            assert question["params"] == {"n": number}
            await answer(running, session, question, result={"n": number})
            assert json.loads(text_of(await events.message())) == {"result": {"n": number}}

    await asyncio.gather(*(talk(number) for number in range(1, 11)))


async def test_a_call_without_a_word_becomes_a_stream_before_a_proxy_gives_up() -> None:
    async with running_gateway([stdlib_entry()], keep_alive_seconds=0.05) as running:
        session = await open_session(running)
        async with post_events(running, session, call("hang", 9)) as events:
            cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 9}}
            assert (await running.client.post("/echo/mcp", json=cancel, headers=session)).status_code == 202
            assert [message["id"] for message in await events.rest()] == [9]


async def test_whoever_takes_no_stream_waits_for_the_answer() -> None:
    async with running_gateway([stdlib_entry()], keep_alive_seconds=0.01) as running:
        session = await open_session(running)
        only_json = {**session, "accept": "application/json"}
        calling = asyncio.create_task(running.client.post("/echo/mcp", json=call("hang", 9), headers=only_json))
        await running.wait_hanging("echo", **only_json)
        async with get_events(running, session):
            # A comment on this stream takes as long as the patience for the call.
            cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 9}}
            await running.client.post("/echo/mcp", json=cancel, headers=session)
        response = await calling
        assert (response.headers["content-type"], response.json()["id"]) == ("application/json", 9)
