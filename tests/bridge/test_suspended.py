import asyncio
import json
from typing import Any

import pytest

from fluidmcp.authentication.principal import Principal
from fluidmcp.errors import CapacityError, ServerExitedError
from fluidmcp.protocol.stateless import StatelessError
from tests.bridge.stateless_calls import (
    EVERYTHING,
    LIMIT_SECONDS,
    Answer,
    RunningBridge,
    asking,
    person,
    question,
    read,
    running_bridge,
)

ACCEPTED = {"action": "accept", "content": {"name": "Ada"}}
DECLINED = {"action": "decline"}
ROOTS = {"roots": [{"uri": "file:///home"}]}
SAMPLE = {"role": "assistant", "content": {"type": "text", "text": "Paris"}, "model": "m"}


def retry(params: dict[str, Any], answer: Answer, responses: Any) -> dict[str, Any]:
    return {**params, "inputResponses": responses, "requestState": answer.state}


async def refused(bridge: RunningBridge, params: dict[str, Any], method: str = "tools/call", **options: Any) -> None:
    """The request must be answered with -32602 and 400."""
    with pytest.raises(StatelessError) as caught:
        await bridge.send(method, params, **options)
    assert (caught.value.rpc_code, caught.value.status) == (-32602, 400)


async def wait_for(bridge: RunningBridge, method: str, count: int = 1) -> None:
    await bridge.tell_server("wait", method=method, count=count)


async def test_questions_asked_together_come_in_one_round_and_the_retry_continues_the_same_call() -> None:
    params = asking(
        [question("who", message="?"), question("cap", "sampling/createMessage"), question(7, "roots/list")]
    )
    async with running_bridge() as bridge:
        first = await bridge.send("tools/call", params)
        assert first.result["resultType"] == "input_required"
        assert first.result["inputRequests"] == {
            "who": {"method": "elicitation/create", "params": {"message": "?"}},
            "cap": {"method": "sampling/createMessage", "params": {}},
            "7": {"method": "roots/list", "params": {}},
        }
        assert first.result["_meta"]["io.modelcontextprotocol/serverInfo"] == {"name": "asking", "version": "1"}
        second = await bridge.send("tools/call", retry(params, first, {"who": ACCEPTED, "cap": SAMPLE, "7": ROOTS}))
        assert second.text == {"who": ACCEPTED, "cap": SAMPLE, "7": ROOTS}
        assert second.result["resultType"] == "complete"
        assert len(await bridge.heard("tools/call")) == 1
        assert len(bridge.suspended) == 0


async def test_the_server_is_greeted_with_the_capabilities_of_the_client_and_no_others() -> None:
    async with running_bridge() as bridge:
        capabilities: dict[str, Any] = {
            "roots": {"listChanged": True},
            "sampling": {"tools": {}},
            "experimental": {"x": {}},
        }
        heard = await bridge.heard("initialize", capabilities=capabilities)
        assert heard[0]["params"]["capabilities"] == {"roots": {}, "sampling": {"tools": {}}}


async def test_a_server_may_ask_in_several_rounds_each_with_a_state_of_its_own() -> None:
    params = asking([question("a")], [question("b")], [question("c")])
    async with running_bridge() as bridge:
        answer = await bridge.send("tools/call", params)
        states: list[str] = []
        for key in ("a", "b", "c"):
            assert answer.keys == [key]
            states.append(answer.state)
            answer = await bridge.send("tools/call", retry(params, answer, {key: ACCEPTED}))
        assert answer.text == {"a": ACCEPTED, "b": ACCEPTED, "c": ACCEPTED}
        assert len(set(states)) == 3


@pytest.mark.parametrize("method", ["prompts/get", "resources/read"])
async def test_prompts_and_resources_may_ask_too(method: str) -> None:
    params = asking([question("a")], uri="ask")
    async with running_bridge() as bridge:
        first = await bridge.send(method, params)
        answer = await bridge.send(method, retry(params, first, {"a": DECLINED}))
        assert answer.text == {"a": DECLINED}


async def test_responses_of_unknown_keys_count_for_nothing_and_missing_ones_are_asked_for_again() -> None:
    params = asking([question("a"), question("b")])
    async with running_bridge() as bridge:
        first = await bridge.send("tools/call", params)
        second = await bridge.send("tools/call", retry(params, first, {"a": ACCEPTED, "z": {"no": "matter"}}))
        assert second.keys == ["b"]
        third = await bridge.send("tools/call", retry(params, second, {"y": ACCEPTED, "z": ACCEPTED}))
        assert third.keys == ["b"]
        fourth = await bridge.send("tools/call", {**params, "requestState": third.state})
        assert fourth.keys == ["b"]
        answer = await bridge.send("tools/call", retry(params, fourth, {"b": DECLINED}))
        assert answer.text == {"a": ACCEPTED, "b": DECLINED}
        assert len(await bridge.heard("answer")) == 2


async def test_a_lone_response_answers_a_lone_question_under_whatever_key_if_it_fits() -> None:
    params = asking([question(1)])
    async with running_bridge() as bridge:
        first = await bridge.send("tools/call", params)
        second = await bridge.send("tools/call", retry(params, first, {"user_name": SAMPLE}))
        assert second.keys == ["1"]
        answer = await bridge.send("tools/call", retry(params, second, {"user_name": ACCEPTED}))
        assert answer.text == {"1": ACCEPTED}


@pytest.mark.parametrize("responses", [{"a": SAMPLE}, {"a": 5}, "no", {"a": {"action": "perhaps"}}])
async def test_a_malformed_response_is_refused_and_the_call_goes_on_waiting(responses: Any) -> None:
    params = asking([question("a")])
    async with running_bridge() as bridge:
        first = await bridge.send("tools/call", params)
        await refused(bridge, retry(params, first, responses))
        assert len(bridge.suspended) == 1
        answer = await bridge.send("tools/call", retry(params, first, {"a": ACCEPTED}))
        assert answer.text == {"a": ACCEPTED}


async def test_a_question_that_the_client_cannot_be_asked_fails_its_request_with_the_capability_that_is_needed() -> (
    None
):
    only_forms: dict[str, Any] = {"elicitation": {}}
    needs: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("sampling/createMessage", {}, {"sampling": {}}),
        ("roots/list", {}, {"roots": {}}),
        ("elicitation/create", {"mode": "url", "url": "https://a.example"}, {"elicitation": {"url": {}}}),
    ]
    async with running_bridge() as bridge:
        for method, params, required in needs:
            asked = asking([question("a", method, **params)])
            answer = await bridge.send("tools/call", asked, capabilities=only_forms)
            assert answer.error["code"] == -32021
            assert answer.error["data"] == {"requiredCapabilities": required}
        await bridge.send("test/wait", {"method": "notifications/cancelled", "count": 3}, capabilities=only_forms)
        refusals = await bridge.heard("answer", capabilities=only_forms)
        assert [refusal["error"]["code"] for refusal in refusals] == [-32601] * 3
        assert len(bridge.suspended) == 0


async def test_what_no_client_is_ever_asked_is_refused_to_the_server_alone() -> None:
    async with running_bridge() as bridge:
        answer = await bridge.send("tools/call", asking([question("a", "secrets/list")]))
        assert answer.text["a"]["code"] == -32601


async def test_in_a_process_that_several_share_a_question_fails_a_request_only_if_it_is_certainly_its_own() -> None:
    async with running_bridge() as bridge:
        asked = asking([question("a")])
        alone = await bridge.send("tools/call", asked, capabilities={})
        assert alone.error["data"] == {"requiredCapabilities": {"elicitation": {"form": {}}}}
        other = await bridge.open("tools/call", {"name": "hang"}, capabilities={})
        answer = await bridge.send("tools/call", asked, capabilities={})
        assert answer.text["a"]["code"] == -32601
        assert not other.exchange.is_done
        other.cancel()


async def test_a_question_outside_of_calls_prompts_and_resources_is_refused_to_the_server_alone() -> None:
    async with running_bridge() as bridge:
        await bridge.tell_server("tell", message=question("a"))
        await wait_for(bridge, "answer")
        assert (await bridge.heard("answer"))[0]["error"]["code"] == -32601


STRANGERS: list[tuple[dict[str, Any], Principal | None]] = [
    ({}, None),
    ({}, person("grace", "read", "send")),
    ({}, person("ada", "read")),
    ({"other": 1}, person("ada", "read", "send")),
]


@pytest.mark.parametrize(("more", "stranger"), STRANGERS)
async def test_a_state_is_good_for_its_person_its_scopes_and_its_params_only(
    more: dict[str, Any], stranger: Principal | None
) -> None:
    params = asking([question("a")])
    owner = person("ada", "read", "send")
    async with running_bridge() as bridge:
        first = await bridge.send("tools/call", params, principal=owner)
        good = retry(params, first, {"a": ACCEPTED})
        await refused(bridge, {**good, **more}, principal=stranger)
        refreshed = person("ada", "read", "send", "all", digest="another token")
        answer = await bridge.send("tools/call", good, principal=refreshed)
        assert answer.text == {"a": ACCEPTED}


async def test_a_state_is_good_for_its_method_only_and_not_when_it_was_changed() -> None:
    params = asking([question("a")])
    async with running_bridge() as bridge:
        first = await bridge.send("tools/call", params)
        good = retry(params, first, {"a": ACCEPTED})
        await refused(bridge, good, "prompts/get")
        await refused(bridge, {**good, "requestState": first.state[:-8] + "AAAAAAAA"})
        await refused(bridge, {**good, "requestState": "made up"})
        await refused(bridge, {**good, "requestState": 5})
        assert (await bridge.send("tools/call", good)).text == {"a": ACCEPTED}


async def test_of_two_retries_with_one_state_one_wins() -> None:
    params = asking([question("a")])
    async with running_bridge() as bridge:
        first = await bridge.send("tools/call", params)
        good = retry(params, first, {"a": ACCEPTED})
        answers = await asyncio.gather(
            bridge.send("tools/call", good), bridge.send("tools/call", good), return_exceptions=True
        )
        won = [answer for answer in answers if isinstance(answer, Answer)]
        lost = [answer for answer in answers if isinstance(answer, StatelessError)]
        assert [answer.text for answer in won] == [{"a": ACCEPTED}]
        assert [error.rpc_code for error in lost] == [-32602]
        await refused(bridge, good)
        assert len(await bridge.heard("answer")) == 1


async def test_a_call_that_nobody_continues_is_cancelled_and_gives_its_process_back() -> None:
    params = asking([question("a")])
    async with running_bridge(lifetime_seconds=0.2) as bridge:
        first = await bridge.send("tools/call", params)
        await wait_for(bridge, "notifications/cancelled")
        assert [answer["error"]["code"] for answer in await bridge.heard("answer")] == [-32603]
        assert len(bridge.suspended) == 0
        await refused(bridge, retry(params, first, {"a": ACCEPTED}))
        await bridge.send("tools/call", {"name": "echo"})
        assert len(await bridge.heard("tools/call")) == 2, "the process was free again"


async def test_a_state_is_too_old_by_the_wall_clock_too() -> None:
    class Clock:
        now = 1000.0

        def __call__(self) -> float:
            return self.now

    clock, params = Clock(), asking([question("a")])
    async with running_bridge(lifetime_seconds=600.0, now=clock) as bridge:
        first = await bridge.send("tools/call", params)
        clock.now += 600.0
        await refused(bridge, retry(params, first, {"a": ACCEPTED}))


async def test_one_person_has_only_so_many_calls_waiting_and_others_have_theirs() -> None:
    params = asking([question("a")])
    async with running_bridge(max_calls_per_owner=1, max_calls=2) as bridge:
        first = await bridge.send("tools/call", params, principal=person("ada", digest="1"))
        with pytest.raises(CapacityError):
            await bridge.send("tools/call", params, principal=person("ada", digest="2"))
        ada = person("ada", digest="2")
        await bridge.send("test/wait", {"method": "notifications/cancelled"}, principal=ada)
        refusal, *_ = await bridge.heard("answer", principal=ada)
        assert refusal["error"]["code"] == -32603
        await bridge.send("tools/call", params, principal=person("grace", digest="3"))
        with pytest.raises(CapacityError):
            await bridge.send("tools/call", params, principal=person("alan", digest="4"))
        await bridge.send("tools/call", retry(params, first, {"a": ACCEPTED}), principal=person("ada", digest="1"))
        assert (await bridge.send("tools/call", params, principal=ada)).keys == ["a"]


async def test_two_calls_that_may_be_asked_something_use_two_processes() -> None:
    async with running_bridge() as bridge:
        one, two = asking([question("a", message="1")]), asking([question("a", message="2")])
        first, second = await bridge.send("tools/call", one), await bridge.send("tools/call", two)
        answers = await asyncio.gather(
            bridge.send("tools/call", retry(one, first, {"a": ACCEPTED})),
            bridge.send("tools/call", retry(two, second, {"a": DECLINED})),
        )
        assert [answer.text for answer in answers] == [{"a": ACCEPTED}, {"a": DECLINED}]
        assert len(await bridge.heard("tools/call")) == 1


async def test_when_the_process_dies_the_retry_gets_to_know() -> None:
    params = asking([question("a")])
    async with running_bridge() as bridge:
        first = await bridge.send("tools/call", params)
        with pytest.raises(ServerExitedError):
            await bridge.tell_server("die")
        await bridge.send("tools/call", {"name": "echo"})
        assert len(await bridge.heard("tools/call")) == 1, "no place is kept for the process that is gone"
        with pytest.raises(ServerExitedError):
            await bridge.send("tools/call", retry(params, first, {"a": ACCEPTED}))
        assert (await bridge.send("tools/call", params)).keys == ["a"]


async def test_a_server_that_answers_without_waiting_frees_its_process_and_the_retry_gets_the_answer() -> None:
    params = asking([question("a")])
    async with running_bridge() as bridge:
        first = await bridge.send("tools/call", params)
        await bridge.tell_server("answer", text='"too late"')
        await bridge.send("tools/call", {"name": "echo"})
        assert len(await bridge.heard("tools/call")) == 2, "the process was free again"
        answer = await bridge.send("tools/call", retry(params, first, {"a": ACCEPTED}))
        assert answer.text == "too late"
        assert [refusal["error"]["code"] for refusal in await bridge.heard("answer")] == [-32603]


async def test_an_answer_right_after_the_question_is_the_answer() -> None:
    async with running_bridge() as bridge:
        params = {"name": "asks_and_ends", "arguments": {"question": question("a")}}
        answer = await bridge.send("tools/call", params)
        assert answer.result["content"][0]["text"] == "done"
        await wait_for(bridge, "answer")
        assert len(bridge.suspended) == 0


async def test_a_question_that_the_server_takes_back_needs_no_answer() -> None:
    params = asking([question("a"), question("b")])
    withdrawal = {"method": "notifications/cancelled", "params": {"requestId": "a"}}
    async with running_bridge() as bridge:
        first = await bridge.send("tools/call", params)
        await bridge.tell_server("tell", message=withdrawal)
        second = await bridge.send("tools/call", {**params, "requestState": first.state})
        assert second.keys == ["b"]
        call = await bridge.open("tools/call", retry(params, second, {"b": ACCEPTED}))
        await wait_for(bridge, "answer")
        await bridge.tell_server("answer", text='"enough"')
        assert (await read(call)).text == "enough"
        assert [answer["id"] for answer in await bridge.heard("answer")] == ["b"]


async def test_a_question_that_comes_while_the_call_waits_is_asked_in_the_next_round() -> None:
    params = asking([question("a")], [question("b")])
    async with running_bridge() as bridge:
        first = await bridge.send("tools/call", params)
        await bridge.tell_server("tell", message=question("late"))
        second = await bridge.send("tools/call", retry(params, first, {"a": ACCEPTED, "late": DECLINED}))
        assert second.keys == ["late", "b"]
        assert [answer["id"] for answer in await bridge.heard("answer")] == ["a"]


async def test_a_retry_gets_progress_under_its_own_token_and_nothing_of_what_came_before_it() -> None:
    params = asking([question("a"), question("b")])
    async with running_bridge() as bridge:
        first = await bridge.send("tools/call", params, progressToken="first")
        wire_token = (await bridge.heard("tools/call"))[0]["params"]["_meta"]["progressToken"]

        async def make_progress(progress: int) -> None:
            message_params = {"progressToken": wire_token, "progress": progress}
            await bridge.tell_server("tell", message={"method": "notifications/progress", "params": message_params})

        await make_progress(1)
        # The tool goes on to wait for this answer, so that the retry stays open.
        await bridge.tell_server("tell", message={"method": "notifications/cancelled", "params": {"requestId": "b"}})
        call = await bridge.open("tools/call", retry(params, first, {"a": ACCEPTED}), progressToken="second")
        await make_progress(2)
        await bridge.tell_server("answer", text="0")
        answer = await read(call)
        assert [item["params"] for item in answer.notifications] == [{"progressToken": "second", "progress": 2}]
        assert answer.text == 0


async def test_the_request_timeout_counts_again_when_nobody_is_asked_anything_any_more() -> None:
    params = asking([question("a"), question("b")])
    async with running_bridge() as bridge:
        first = await bridge.send("tools/call", params)
        call = await bridge.open("tools/call", retry(params, first, {"a": ACCEPTED}))
        assert call.exchange.clock is None
        second = await read(call)
        await bridge.tell_server("tell", message={"method": "notifications/cancelled", "params": {"requestId": "b"}})
        call = await bridge.open("tools/call", {**params, "requestState": second.state})
        assert call.exchange.clock is not None
        call.cancel()


URL_REQUIRED = {
    "code": -32042,
    "message": "log in",
    "data": {"elicitations": [{"mode": "url", "elicitationId": "e1", "url": "https://a.example", "message": "m"}]},
}


async def test_an_error_that_wants_an_address_visited_becomes_a_question_and_its_retry_a_new_call() -> None:
    params = {"name": "fail", "arguments": {"error": URL_REQUIRED}}
    async with running_bridge() as bridge:
        answer = await bridge.send("tools/call", params)
        assert answer.result["resultType"] == "input_required"
        assert "requestState" not in answer.result
        asked = {"mode": "url", "url": "https://a.example", "message": "m"}
        assert list(answer.result["inputRequests"].values()) == [{"method": "elicitation/create", "params": asked}]
        await bridge.send("tools/call", {**params, "inputResponses": {answer.keys[0]: {"action": "accept"}}})
        calls = await bridge.heard("tools/call")
        assert [call["params"] for call in calls] == [params, params]
        refusal = await bridge.send("tools/call", params, capabilities={"elicitation": {}})
        assert refusal.error["data"] == {"requiredCapabilities": {"elicitation": {"url": {}}}}


async def test_responses_without_a_state_begin_a_new_call_and_answer_what_they_name() -> None:
    params = asking([question("name"), question(3), question("kind", "sampling/createMessage")])
    early = {"name": ACCEPTED, "3": ACCEPTED, "kind": ACCEPTED}
    async with running_bridge() as bridge:
        first = await bridge.send("tools/call", {**params, "inputResponses": early})
        assert first.keys == ["3", "kind"], "a number names nothing, and the other response does not fit"
        answer = await bridge.send("tools/call", retry(params, first, {"3": DECLINED, "kind": SAMPLE}))
        assert answer.text == {"name": ACCEPTED, "3": DECLINED, "kind": SAMPLE}
        assert (await bridge.heard("tools/call"))[0]["params"] == params
        await refused(bridge, {**params, "inputResponses": {"name": 12345}})


async def test_a_client_that_goes_away_cancels_its_call_and_one_that_got_its_questions_does_not() -> None:
    params = asking([question("a")])
    async with running_bridge() as bridge:
        call = await bridge.open("tools/call", params)
        async with asyncio.timeout(LIMIT_SECONDS):
            answer = await call.exchange.next_event()
        call.cancel()
        call.finish()
        assert await bridge.heard("answer") == []
        state = json.loads(bytes(answer.result))["requestState"]  # type: ignore[arg-type]
        again = await bridge.open("tools/call", {**params, "requestState": state})
        again.cancel()
        again.cancel()
        again.finish()
        await wait_for(bridge, "notifications/cancelled")
        assert len(bridge.suspended) == 0
        assert [refusal["error"]["code"] for refusal in await bridge.heard("answer")] == [-32603]
        cancelled = (await bridge.heard("notifications/cancelled"))[0]["params"]["requestId"]
        assert cancelled == (await bridge.heard("tools/call"))[0]["id"]


async def test_when_the_gateway_closes_no_call_waits_any_more() -> None:
    async with running_bridge() as bridge:
        await bridge.send("tools/call", asking([question("a")]), capabilities=EVERYTHING)
        bridge.suspended.close()
        assert len(bridge.suspended) == 0
        await wait_for(bridge, "notifications/cancelled")
