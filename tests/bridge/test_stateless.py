import asyncio
import json
from typing import Any

import pytest
from msgspec import Raw

from fluidmcp.bridge.session import CancelledByClientError
from fluidmcp.protocol.jsonrpc import Envelope
from fluidmcp.protocol.stateless import read_stateless_request
from tests.bridge.stateless_calls import asking, person, question, read, running_bridge

LOG_LEVEL = "io.modelcontextprotocol__logLevel"
CLIENT_INFO = "io.modelcontextprotocol__clientInfo"
SERVER_INFO = {"io.modelcontextprotocol/serverInfo": {"name": "asking", "version": "1"}}


def levels(notifications: list[dict[str, Any]]) -> list[str]:
    return [item["params"]["level"] for item in notifications if item["method"] == "notifications/message"]


async def test_a_stateless_server_gets_the_params_byte_for_byte_and_its_answer_passes_unchanged() -> None:
    meta = (
        '"io.modelcontextprotocol/clientCapabilities" :{"x":{}}, "io.modelcontextprotocol/protocolVersion":"2026-07-28"'
    )
    text = f'{{"name":"echo",  "arguments":{{"n":123456789012345678901234567890.5e-3}},"_meta":{{{meta}}}, "z":1}}'
    headers = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "echo"}
    envelope = Envelope(id=Raw(b'"i"'), method="tools/call", params=Raw(text.encode()))
    async with running_bridge("stateless") as bridge:
        request = read_stateless_request(envelope, headers)
        call = await bridge.bridge.open_call(request, None, (), wants_notifications=True)
        answer = await read(call)
        assert answer.result == json.loads(text), "no resultType, no _meta: nothing is added"
        lines = (await bridge.send("test/heard", {})).result["lines"]
        assert f'"params":{text}}}' in next(line for line in lines if "tools/call" in line)


async def test_questions_and_state_of_a_stateless_server_pass_in_both_directions() -> None:
    params = asking([question("a"), question("b", "roots/list")])
    async with running_bridge("stateless") as bridge:
        first = await bridge.send("tools/call", params)
        assert (first.keys, first.state) == (["a", "b"], "s")
        answer = await bridge.send("tools/call", {**params, "inputResponses": {"a": 1}, "requestState": "s"})
        assert answer.text == {"answers": {"a": 1}, "state": "s"}


async def test_a_handshake_server_does_not_see_what_describes_a_client() -> None:
    described = {CLIENT_INFO: {"name": "c", "version": "1"}, LOG_LEVEL: "error", "traceparent": "00-1"}
    async with running_bridge() as bridge:
        answer = await bridge.send("tools/call", {"name": "echo", "x": 1}, **described)
        assert answer.result == {
            "name": "echo",
            "x": 1,
            "_meta": {"traceparent": "00-1", **SERVER_INFO},
            "resultType": "complete",
        }


async def test_results_of_a_handshake_server_say_what_the_stateless_era_wants_to_know() -> None:
    async with running_bridge() as bridge:
        answer = await bridge.send("tools/list", {})
        assert [tool["name"] for tool in answer.result.pop("tools")] == ["located"]
        added = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private", "_meta": SERVER_INFO}
        assert answer.result == added


@pytest.mark.parametrize("has_logs", [True, False])
async def test_discovery_is_answered_from_the_greeting_of_a_handshake_server(has_logs: bool) -> None:
    async with running_bridge() as bridge:
        answer = await bridge.send("server/discover", {}, **({LOG_LEVEL: "info"} if has_logs else {}))
        heard = answer.result.pop("heard")
        assert heard["clientInfo"]["name"] == "fluidmcp"
        assert answer.result == {
            "resultType": "complete",
            "supportedVersions": ["2026-07-28"],
            "capabilities": {"tools": {"listChanged": True}, "logging": {}},
            "instructions": "ask",
            "ttlMs": 0,
            "cacheScope": "private",
            "_meta": SERVER_INFO,
        }
        await bridge.send("tools/call", {"name": "echo"})
        assert await bridge.heard("server/discover") == []


async def test_discovery_of_a_stateless_server_is_its_own() -> None:
    async with running_bridge("stateless") as bridge:
        answer = await bridge.send("server/discover", {})
        assert answer.result["ttlMs"] == 5
        assert len(await bridge.heard("server/discover")) == 2, "the gateway's question, and the client's"


async def test_errors_that_the_stateless_era_does_not_know_get_another_code() -> None:
    async with running_bridge() as bridge:
        answer = await bridge.send("resources/read", {"uri": "file:///none"})
        assert answer.error == {"code": -32602, "message": "there is no such thing"}
        error = {"code": -32050, "message": "m", "data": {"x": 1}}
        answer = await bridge.send("tools/call", {"name": "fail", "arguments": {"error": error}})
        assert answer.error == {**error, "code": -32603}


async def test_a_method_that_the_python_sdk_does_not_know_is_an_unknown_method() -> None:
    async with running_bridge() as bridge:
        codes = [
            (await bridge.send(method, {})).error["code"] for method in ("python/unknown", "own/method", "no/such")
        ]
        assert codes == [-32601, -32602, -32601]


@pytest.mark.parametrize("era", ["handshake", "stateless"])
async def test_progress_comes_under_the_clients_own_token(era: str) -> None:
    params = {"name": "progress", "arguments": {"steps": 3}}
    async with running_bridge(era) as bridge:
        first, second = await asyncio.gather(
            bridge.send("tools/call", params, progressToken="one"),
            bridge.send("tools/call", params, progressToken=2),
        )
        for answer, token in ((first, "one"), (second, 2)):
            heard = [{"progressToken": token, "progress": step} for step in (1, 2, 3)]
            assert [item["params"] for item in answer.notifications] == heard


@pytest.mark.parametrize("era", ["handshake", "stateless"])
async def test_log_lines_reach_the_request_that_asked_for_them_and_from_its_level_on(era: str) -> None:
    sent = ["debug", "warning", "info", "error"]
    params = {"name": "log", "arguments": {"levels": sent if era == "handshake" else [*sent, "loud"]}}
    async with running_bridge(era) as bridge:
        silent, info, error = await asyncio.gather(
            bridge.send("tools/call", params),
            bridge.send("tools/call", params, **{LOG_LEVEL: "info"}),
            bridge.send("tools/call", params, **{LOG_LEVEL: "error"}),
        )
        assert levels(silent.notifications) == []
        assert levels(info.notifications) == ["warning", "info", "error"]
        assert levels(error.notifications) == ["error"]


async def test_the_level_of_a_handshake_server_is_set_when_it_changes_and_lower_lines_stay_away() -> None:
    params = {"name": "log", "arguments": {"levels": ["debug", "error"]}}
    async with running_bridge() as bridge:
        heard: list[list[str]] = []
        for level in ("debug", "debug", "error", "debug"):
            answer = await bridge.send("tools/call", params, **{LOG_LEVEL: level})
            heard.append(levels(answer.notifications))
        assert heard == [["debug", "error"], ["debug", "error"], ["error"], ["debug", "error"]]
        silent = await bridge.send("tools/call", params)
        assert levels(silent.notifications) == []
        sent = [message["params"]["level"] for message in await bridge.heard("logging/setLevel")]
        assert sent == ["debug", "error", "debug"]


async def test_a_client_that_takes_no_events_gets_the_answer_alone() -> None:
    params = {"name": "log", "arguments": {"levels": ["error"]}}
    async with running_bridge() as bridge:
        answer = await bridge.send("tools/call", params, wants_notifications=False, **{LOG_LEVEL: "debug"})
        assert (answer.notifications, answer.result["resultType"]) == ([], "complete")


@pytest.mark.parametrize("era", ["handshake", "stateless"])
@pytest.mark.parametrize("way", ["cancel", "finish"])
async def test_the_server_hears_that_a_client_went_away_and_its_process_is_free_again(era: str, way: str) -> None:
    async with running_bridge(era) as bridge:
        call = await bridge.open("tools/call", {"name": "hang"})
        if way == "cancel":
            call.cancel()
            with pytest.raises(CancelledByClientError):
                await call.exchange.next_event()
        call.finish()
        call.finish()
        await bridge.tell_server("wait", method="notifications/cancelled")
        cancelled = await bridge.heard("notifications/cancelled")
        assert [message["params"]["requestId"] for message in cancelled] == [
            message["id"] for message in await bridge.heard("tools/call")
        ]
        await bridge.send("tools/call", {"name": "echo"})
        assert len(await bridge.heard("tools/call")) == 2


async def test_a_call_that_was_answered_is_not_cancelled() -> None:
    async with running_bridge() as bridge:
        call = await bridge.open("tools/call", {"name": "echo"})
        answer = await read(call)
        call.cancel()
        assert answer.result["resultType"] == "complete"
        assert await bridge.heard("notifications/cancelled") == []


async def test_what_a_handshake_server_says_has_changed_is_published_to_its_group() -> None:
    def change(name: str) -> dict[str, Any]:
        return {"method": f"notifications/{name}", "params": {}}

    async with running_bridge() as bridge:
        ada = person("ada", digest="ada's")
        for name in ("tools/list_changed", "resources/updated", "message", "elicitation/complete", "whatever"):
            await bridge.send("test/tell", {"message": change(name)}, principal=ada)
        await bridge.tell_server("tell", message=change("prompts/list_changed"))
        assert [(group, notification.method) for group, notification in bridge.published] == [
            (("asking", "ada's"), "notifications/tools/list_changed"),
            (("asking", "ada's"), "notifications/resources/updated"),
            (("asking", None), "notifications/prompts/list_changed"),
        ]


async def test_requests_that_can_be_asked_nothing_share_one_process() -> None:
    async with running_bridge() as bridge:
        calls = [await bridge.open("tools/call", {"name": "hang"}, capabilities={}) for _ in range(5)]
        await bridge.send("test/wait", {"method": "tools/call", "count": 5}, capabilities={})
        for call in calls:
            call.cancel()
            call.finish()


async def test_a_call_that_its_client_leaves_gives_its_process_back_at_once() -> None:
    async with running_bridge() as bridge:
        call = await bridge.open("tools/call", {"name": "hang"}, capabilities={})
        assert bridge.pool.busy_count == 1
        call.finish()
        assert bridge.pool.busy_count == 0
