import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest
from msgspec import UNSET, Raw

from fluidmcp.bridge.channel import Channel
from fluidmcp.bridge.session import MAX_OPEN_QUESTIONS
from fluidmcp.bridge.stateless_link import MAX_ROUNDS, StatelessLink, send_bare_request
from fluidmcp.errors import ServerExitedError
from tests.bridge.stateless_servers import (
    CLIENT_INFO,
    INITIALIZE,
    LIMIT_SECONDS,
    META,
    Message,
    Servers,
    answer_of,
    decode,
    encode,
    event_of,
    open_session,
    run_servers,
)

FORM: Message = {
    "method": "elicitation/create",
    "params": {"message": "Your name?", "requestedSchema": {"type": "object"}},
}
SAMPLE: Message = {"method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 5}}
ROOTS: Message = {"method": "roots/list"}


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[Servers]:
    async with run_servers(tmp_path / "homes") as servers:
        yield servers


# What the client and the server say of themselves.


async def test_the_answer_to_initialize_is_made_of_what_the_server_says_when_it_is_discovered(servers: Servers) -> None:
    channel = await servers.start(wanted="handshake")
    assert channel.era == "stateless"
    answer = StatelessLink(open_session(), channel).build_initialize_answer()
    assert decode(answer.result) == {
        "protocolVersion": "2025-06-18",
        "capabilities": {
            "tools": {"listChanged": True},
            "prompts": {"listChanged": False},
            "resources": {"listChanged": True, "subscribe": True},
            "logging": {},
        },
        "serverInfo": {"name": "stateless", "version": "1"},
        "instructions": "Be brief.",
        "_meta": {"own": 1},
    }


async def test_a_known_revision_is_kept_and_any_other_becomes_the_latest_of_the_handshake_era(servers: Servers) -> None:
    channel = await servers.start()
    for requested, agreed in (
        ("2024-11-05", "2024-11-05"),
        ("2025-03-26", "2025-03-26"),
        ("2025-11-25", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
        ("1.0", "2025-11-25"),
        (7, "2025-11-25"),
    ):
        session = open_session({**INITIALIZE, "protocolVersion": requested})
        answer = StatelessLink(session, channel).build_initialize_answer()
        assert decode(answer.result)["protocolVersion"] == agreed


async def test_each_request_says_what_the_client_said_in_its_handshake(servers: Servers) -> None:
    client = await servers.connect()
    await client.call("tools/list", {"cursor": "c", "_meta": {"traceparent": "00-1", META + "logLevel": "debug"}})
    (request,) = await client.heard("tools/list")
    assert request["params"] == {
        "cursor": "c",
        "_meta": {
            "traceparent": "00-1",
            META + "protocolVersion": "2026-07-28",
            META + "clientCapabilities": {"elicitation": {}, "sampling": {}, "roots": {}, "experimental": {"x": {}}},
            META + "clientInfo": CLIENT_INFO,
        },
    }


@pytest.mark.parametrize("params", [{}, {"capabilities": 1, "clientInfo": "me"}, []])
async def test_a_client_that_says_nothing_usable_declares_nothing(servers: Servers, params: object) -> None:
    client = await servers.connect(initialize=params)
    await client.call("tools/list")
    (request,) = await client.heard("tools/list")
    assert request["params"]["_meta"] == {META + "protocolVersion": "2026-07-28", META + "clientCapabilities": {}}


# What passes, and what is answered here.


async def test_unknown_methods_and_fields_and_large_numbers_pass_byte_for_byte(servers: Servers) -> None:
    client = await servers.connect()
    kept = b'"z":1,"n":123456789012345678901234567890.50,"a":{"k" :"\\u00e9","n":1E400}'
    params = Raw(b'{%b,"resultType":"mine","ttlMs":3}' % kept)
    async with asyncio.timeout(LIMIT_SECONDS):
        answer = await client.send("echo/params", params).answer()
    assert bytes(cast(Raw, answer.result)).startswith(b'{%b,"_meta":' % kept)


async def test_results_lose_what_only_the_stateless_era_knows(servers: Servers) -> None:
    client = await servers.connect()
    answer = await client.tool("any")
    assert answer == {"result": {"_meta": {"own": 1}, "content": [{"type": "text", "text": "done"}]}}


@pytest.mark.parametrize(("code", "expected"), [(-32020, -32603), (-32021, -32602), (-32022, -32603), (-32602, -32602)])
async def test_codes_of_the_stateless_era_become_codes_that_the_client_knows(
    servers: Servers, code: int, expected: int
) -> None:
    client = await servers.connect()
    answer = await client.call("test/error", {"code": code})
    assert answer == {"error": {"code": expected, "message": "as you wish", "data": {"a": 1}}}


async def test_a_ping_is_answered_without_the_server(servers: Servers) -> None:
    client = await servers.connect()
    assert client.send("ping").is_done
    assert await client.call("ping") == {"result": {}}
    assert await client.heard("ping") == []


async def test_a_log_level_is_remembered_and_goes_with_each_later_request(servers: Servers) -> None:
    client = await servers.connect()
    assert await client.call("logging/setLevel", {"level": "warning"}) == {"result": {}}
    await client.call("tools/list")
    (request,) = await client.heard("tools/list")
    assert request["params"]["_meta"][META + "logLevel"] == "warning"
    assert await client.heard("logging/setLevel") == []


@pytest.mark.parametrize("params", [{"level": "loud"}, {"level": 3}, {}, None])
async def test_a_log_level_that_is_none_is_refused_and_changes_nothing(servers: Servers, params: object) -> None:
    client = await servers.connect()
    answer = await client.call("logging/setLevel", params)
    assert answer["error"]["code"] == -32602
    await client.call("tools/list")
    (request,) = await client.heard("tools/list")
    assert META + "logLevel" not in request["params"]["_meta"]


async def test_log_lines_reach_a_client_that_has_chosen_a_level_on_the_stream_of_its_request(servers: Servers) -> None:
    client = await servers.connect()
    assert (await event_of(client.send_tool("log"))).is_answer
    await client.call("logging/setLevel", {"level": "info"})
    line = await event_of(client.send_tool("log"))
    assert line.method == "notifications/message"
    assert decode(line.params) == {"level": "info", "data": "hello"}


async def test_progress_comes_under_the_clients_token(servers: Servers) -> None:
    client = await servers.connect()
    params = {"name": "progress", "_meta": {"progressToken": "mine"}}
    exchange = client.send("tools/call", params, progress=True)
    progress = await event_of(exchange)
    assert progress.method == "notifications/progress"
    assert decode(progress.params) == {"progressToken": "mine", "progress": 1}
    assert "result" in await answer_of(exchange)


async def test_notifications_pass_where_the_stateless_era_has_them(servers: Servers) -> None:
    client = await servers.connect()
    for method in ("initialized", "roots/list_changed", "progress", "custom"):
        client.link.send_notification(f"notifications/{method}", encode({"a": 1}))
    (custom,) = await client.heard("notifications/custom")
    assert custom["params"] == {"a": 1}
    for method in ("initialized", "roots/list_changed", "progress"):
        assert await client.heard(f"notifications/{method}") == []


async def test_a_cancelled_request_is_cancelled_under_the_id_that_the_server_knows(servers: Servers) -> None:
    client = await servers.connect()
    client.link.cancel(client.send_tool("hang"), encode({"requestId": "mine", "reason": "bored"}))
    (request,) = await client.heard("tools/call")
    (cancelled,) = await client.heard("notifications/cancelled")
    assert cancelled["params"] == {"requestId": request["id"], "reason": "bored"}


async def test_a_server_that_sends_a_request_is_told_that_nobody_answers(servers: Servers) -> None:
    client = await servers.connect()
    exchange = client.send_tool("question")
    assert (await event_of(exchange)).is_answer
    messages = (await client.call("test/heard"))["result"]["heard"]
    (refusal,) = [message for message in messages if message.get("id") == "q"]
    assert refusal["error"]["code"] == -32601


# Questions.


async def test_all_questions_of_a_round_are_asked_at_once_and_the_request_is_sent_again_with_the_answers(
    servers: Servers,
) -> None:
    client = await servers.connect()
    questions: dict[str, Message] = {"form": FORM, "model": SAMPLE, "roots": ROOTS}
    arguments: Message = {"questions": questions, "state": "s-1", "n": 1}
    exchange = client.send("tools/call", {"name": "ask", "arguments": arguments, "_meta": {"own": 2}})
    asked = [await client.asked(exchange) for _ in questions]
    assert [(question["method"], question.get("params")) for question in asked] == [
        (question["method"], question.get("params")) for question in questions.values()
    ]
    assert len({question["id"] for question in asked}) == 3
    answers: list[object] = [{"action": "accept", "content": {"name": "Ada"}}, {"role": "assistant"}, {"roots": []}]
    for question, answer in reversed([*zip(asked, answers, strict=True)]):
        client.reply(question, answer)
    heard = (await answer_of(exchange))["result"]["heard"]
    assert heard["inputResponses"] == dict(zip(questions, answers, strict=True))
    assert heard["requestState"] == "s-1"
    assert heard["arguments"] == arguments
    assert heard["_meta"]["own"] == 2
    first, second = await client.heard("tools/call")
    assert first["id"] != second["id"]
    assert first["params"]["_meta"] == second["params"]["_meta"]


async def test_a_later_round_has_the_answers_of_that_round_alone(servers: Servers) -> None:
    client = await servers.connect()
    exchange = client.send_tool("steps")
    for name in ("Ada", "Grace"):
        client.reply(await client.asked(exchange), {"action": "accept", "content": {"name": name}})
    heard = (await answer_of(exchange))["result"]["heard"]
    assert heard["inputResponses"] == {"step-2": {"action": "accept", "content": {"name": "Grace"}}}
    assert heard["requestState"] == "2"


async def test_progress_goes_on_under_the_clients_token_after_a_question(servers: Servers) -> None:
    client = await servers.connect()
    params = {"name": "ask", "arguments": {"questions": {"q": FORM}}, "_meta": {"progressToken": "mine"}}
    exchange = client.send("tools/call", params, progress=True)
    client.reply(await client.asked(exchange), {"action": "decline"})
    await answer_of(exchange)
    first, second = await client.heard("tools/call")
    assert [request["params"]["_meta"]["progressToken"] for request in (first, second)] == [first["id"], second["id"]]


async def test_a_question_waits_on_the_general_stream_for_a_request_that_takes_no_events(servers: Servers) -> None:
    client = await servers.connect()
    exchange = client.send_tool("ask", {"questions": {"q": FORM}}, takes_events=False)
    question = await client.told()
    assert question["method"] == "elicitation/create"
    client.reply(question, {"action": "decline"})
    assert (await answer_of(exchange))["result"]["heard"]["inputResponses"] == {"q": {"action": "decline"}}


async def test_a_question_with_a_web_page_gets_the_id_that_the_handshake_era_requires(servers: Servers) -> None:
    client = await servers.connect(initialize={"capabilities": {"elicitation": {"url": {}}}})
    params = {"mode": "url", "message": "Log in", "url": "https://example.com/"}
    question = {"method": "elicitation/create", "params": params}
    exchange = client.send_tool("ask", {"questions": {"a": question, "b": question}})
    first, second = [(await client.asked(exchange))["params"] for _ in range(2)]
    assert first.pop("elicitationId") != second.pop("elicitationId")
    assert first == second == params


async def test_the_request_timeout_does_not_count_while_the_client_is_asked(servers: Servers) -> None:
    client = await servers.connect()
    exchange = client.send_tool("endless")
    question = await client.asked(exchange)
    assert exchange.clock is None
    client.reply(question, {"action": "decline"})
    assert exchange.clock is not None
    await client.asked(exchange)
    assert exchange.clock is None


async def test_a_server_that_asks_without_end_gets_no_further_round(servers: Servers) -> None:
    client = await servers.connect()
    exchange = client.send_tool("endless")
    for _ in range(MAX_ROUNDS):
        client.reply(await client.asked(exchange), {"action": "decline"})
    answer = await answer_of(exchange)
    assert answer["error"]["code"] == -32603
    assert len(await client.heard("tools/call")) == MAX_ROUNDS + 1
    assert client.link.waiting == {}


async def test_a_server_that_asks_nothing_is_called_again_with_its_state(servers: Servers) -> None:
    client = await servers.connect()
    answer = await client.tool("later", {"times": 3})
    assert "content" in answer["result"]
    calls = await client.heard("tools/call")
    assert [call["params"].get("requestState") for call in calls] == [None, "1", "2", "3"]
    assert all("inputResponses" not in call["params"] for call in calls)


async def test_a_server_is_not_called_again_for_longer_than_a_question_may_take(servers: Servers) -> None:
    client = await servers.connect(question_seconds=0.1)
    answer = await client.tool("later", {"times": 1000})
    assert answer["error"]["code"] == -32603


async def test_a_question_that_nobody_understands_ends_the_request_with_an_error(servers: Servers) -> None:
    client = await servers.connect()
    assert (await client.tool("broken"))["error"]["code"] == -32603


async def test_a_form_that_the_client_refuses_is_cancelled_by_its_user(servers: Servers) -> None:
    client = await servers.connect()
    exchange = client.send_tool("ask", {"questions": {"q": FORM}})
    client.refuse(await client.asked(exchange))
    assert (await answer_of(exchange))["result"]["heard"]["inputResponses"] == {"q": {"action": "cancel"}}


@pytest.mark.parametrize("question", [SAMPLE, ROOTS])
async def test_another_question_that_the_client_refuses_ends_the_request_and_withdraws_the_others(
    servers: Servers, question: object
) -> None:
    client = await servers.connect()
    exchange = client.send_tool("ask", {"questions": {"q": question, "form": FORM}})
    refused, form = await client.asked(exchange), await client.asked(exchange)
    client.refuse(refused)
    withdrawn = await event_of(exchange)
    assert withdrawn.method == "notifications/cancelled"
    assert decode(withdrawn.params) == {"requestId": form["id"]}
    assert (await answer_of(exchange))["error"]["code"] == -32603
    client.reply(form, {"action": "decline"})
    assert len(await client.heard("tools/call")) == 1


async def test_what_the_client_did_not_declare_is_not_asked(servers: Servers) -> None:
    client = await servers.connect(initialize={"capabilities": {"roots": {}}})
    answer = await client.tool("ask", {"questions": {"q": FORM}})
    assert answer["result"]["heard"]["inputResponses"] == {"q": {"action": "cancel"}}
    assert (await client.tool("ask", {"questions": {"q": SAMPLE}}))["error"]["code"] == -32603
    unknown: Message = {"method": "custom/question", "params": {}}
    assert (await client.tool("ask", {"questions": {"q": unknown}}))["error"]["code"] == -32603


async def test_more_forms_than_a_client_may_have_open_count_as_cancelled(servers: Servers) -> None:
    client = await servers.connect()
    keys = [f"q{number}" for number in range(MAX_OPEN_QUESTIONS + 2)]
    exchange = client.send_tool("ask", {"questions": dict.fromkeys(keys, FORM)})
    for _ in range(MAX_OPEN_QUESTIONS):
        client.reply(await client.asked(exchange), {"action": "decline"})
    responses = (await answer_of(exchange))["result"]["heard"]["inputResponses"]
    assert [key for key in keys if responses[key] == {"action": "cancel"}] == keys[MAX_OPEN_QUESTIONS:]


async def test_a_form_that_nobody_fills_in_is_withdrawn_and_cancelled(servers: Servers) -> None:
    client = await servers.connect(question_seconds=0.1)
    exchange = client.send_tool("ask", {"questions": {"q": FORM}})
    question, withdrawn = await client.asked(exchange), await event_of(exchange)
    assert withdrawn.method == "notifications/cancelled"
    assert decode(withdrawn.params) == {"requestId": question["id"]}
    assert (await answer_of(exchange))["result"]["heard"]["inputResponses"] == {"q": {"action": "cancel"}}


async def test_another_question_that_nobody_answers_ends_the_request(servers: Servers) -> None:
    client = await servers.connect(question_seconds=0.1)
    exchange = client.send_tool("ask", {"questions": {"q": ROOTS, "form": FORM}})
    questions = [await client.asked(exchange) for _ in range(2)]
    withdrawn = [decode((await event_of(exchange)).params)["requestId"] for _ in range(2)]
    assert withdrawn == [question["id"] for question in questions]
    assert (await answer_of(exchange))["error"]["code"] == -32603
    assert len(await client.heard("tools/call")) == 1


async def test_a_request_that_is_cancelled_while_its_client_is_asked_is_not_sent_again(servers: Servers) -> None:
    client = await servers.connect()
    exchange = client.send_tool("ask", {"questions": {"q": FORM}})
    question = await client.asked(exchange)
    client.link.cancel(exchange, encode({"requestId": 1}))
    withdrawn = await event_of(exchange)
    assert decode(withdrawn.params) == {"requestId": question["id"]}
    client.reply(question, {"action": "decline"})
    assert len(await client.heard("tools/call")) == 1
    assert await client.heard("notifications/cancelled") == []
    assert client.link.waiting == {}


async def test_a_request_fails_when_its_process_ends_while_its_client_is_asked(servers: Servers) -> None:
    client = await servers.connect()
    exchange = client.send_tool("ask", {"questions": {"q": FORM}})
    question = await client.asked(exchange)
    client.send_tool("die", takes_events=False)
    withdrawn = await event_of(exchange)
    assert decode(withdrawn.params) == {"requestId": question["id"]}
    with pytest.raises(ServerExitedError):
        await event_of(exchange)
    client.reply(question, {"action": "decline"})


# Callers without a session.


async def bare(channel: Channel, method: str, params: object = None) -> Message:
    text = UNSET if params is None else encode(params)
    exchange = send_bare_request(channel, method, text, mentions_progress=False, wants_notifications=False)
    return await answer_of(exchange)


async def test_a_request_without_a_session_is_the_gateways_own_and_declares_nothing(servers: Servers) -> None:
    channel = await servers.start()
    heard = (await bare(channel, "test/heard", {"a": 1}))["result"]["heard"][-1]["params"]
    assert heard["a"] == 1
    assert heard["_meta"][META + "clientCapabilities"] == {}
    assert heard["_meta"][META + "clientInfo"]["name"] == "fluidmcp"
    assert META + "logLevel" not in heard["_meta"]


async def test_answers_without_a_session_are_those_of_the_handshake_era(servers: Servers) -> None:
    channel = await servers.start()
    assert await bare(channel, "ping") == {"result": {}}
    result = (await bare(channel, "tools/call", {"name": "any"}))["result"]
    assert result == {"_meta": {"own": 1}, "content": [{"type": "text", "text": "done"}]}
    assert (await bare(channel, "test/error", {"code": -32021}))["error"]["code"] == -32602


@pytest.mark.parametrize("name", ["endless", "broken", "later"])
async def test_a_server_that_needs_input_cannot_serve_a_request_without_a_session(servers: Servers, name: str) -> None:
    answer = await bare(await servers.start(), "tools/call", {"name": name, "arguments": {"times": 1}})
    assert answer["error"]["code"] == -32603
