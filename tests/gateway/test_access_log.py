"""One line for each call, with and without the front: what it says, what it never says, and that it is one line."""

import hashlib
import hmac
from collections.abc import Iterator

import pytest

from fluidmcp.config.secret import Secret
from fluidmcp.gateway.calls.observer import Call, EndedCall
from tests.gateway.call_lines import Lines, running_mirror, written_lines
from tests.gateway.front.messages import BOTH, PING, open_gate, open_session, post, stateless, talk
from tests.gateway.front.wire import connected
from tests.gateway.guards import KnownTokens, gate_token
from tests.gateway.running import running_gateway, stdlib_entry

WAYS = pytest.mark.parametrize("has_front", [True, False])
KEY = "a2V5" * 10 + "a2U="
ANSWER = {"jsonrpc": "2.0", "id": 1, "result": 1}
HOSTILE = "ada\n2026-01-01 00:00:00,000 INFO    fluidmcp.access: package=forged\x1b[2J\u2028" + "x" * 1_000_000


@pytest.fixture
def lines() -> Iterator[Lines]:
    with written_lines() as handler:
        yield handler


@WAYS
async def test_a_call_is_one_line_with_what_the_operator_asked_for(has_front: bool, lines: Lines) -> None:
    async with running_mirror(lines, has_front=has_front) as running:
        for number in range(3):
            reply = await running.rpc("mirror", "mirror/echo", {"secret": f"canary-{number}"})
            told = await lines.next()
            assert told.pop("milliseconds") > 0
            assert told == {
                "package": "mirror",
                "method": "mirror/echo",
                "status": 200,
                "request_id": reply.headers["x-request-id"],
                "person": None,
            }
        assert lines.is_empty()


@WAYS
async def test_the_id_of_a_request_is_taken_over_where_it_is_one(has_front: bool, lines: Lines) -> None:
    async with running_mirror(lines, has_front=has_front) as running:
        for told in ("7f3c-1a.b_c:d=", "x" * 64):
            reply = await running.rpc("mirror", "mirror/echo", **{"x-request-id": told})
            assert reply.headers["x-request-id"] == told == (await lines.next())["request_id"]
        seen: set[str] = set()
        for told in ("", "x" * 65, "a b", 'a"b', "a, b", "<a>", "ü"):
            reply = await running.client.post("/mirror/mcp", json=PING, headers={b"x-request-id": told.encode()})
            own = reply.headers["x-request-id"]
            assert len(own) == 16
            assert int(own, 16) >= 0
            assert own == (await lines.next())["request_id"]
            seen.add(own)
        assert len(seen) == 7


@WAYS
@pytest.mark.threat("E18")
async def test_refused_calls_are_lines_too_and_no_name_ends_its_line(has_front: bool, lines: Lines) -> None:
    async with running_mirror(lines, has_front=has_front) as running:
        hostile = "ada%0a2026-01-01%1b%5b2J%E2%80%A8" + "x" * 20_000
        assert (await running.client.post(f"/{hostile}/mcp", json=PING)).status_code == 404
        package, method, status = await lines.seen()
        assert (package[:4], len(package) < 200, method, status) == ("ada\n", True, None, 404)
        head = {"origin": "https://evil.example", "x-request-id": "mine"}
        foreign = await running.client.post("/mirror/mcp", json=PING, headers=head)
        assert (foreign.status_code, foreign.headers["x-request-id"]) == (403, "mine")
        assert await lines.seen("package", "method", "status", "request_id") == ("mirror", None, 403, "mine")
        twice = [*head.items(), ("x-request-id", "other")]
        assert (await running.client.post("/mirror/mcp", json=PING, headers=twice)).status_code == 403
        assert await lines.seen("status", "request_id") not in ((403, "mine"), (403, "other"))
        assert (await running.rpc("mirror", "ping", **{"mcp-session-id": "unknown"})).status_code == 404
        assert await lines.seen() == ("mirror", "ping", 404)
        assert (await running.client.post("/mirror/mcp", content=b"x")).status_code == 400
        assert await lines.seen() == ("mirror", None, 400)
        text = await running.client.post("/mirror/mcp", content=b"x", headers={"content-type": "text/plain"})
        assert text.status_code == 415
        assert await lines.seen() == ("mirror", None, 415)
        assert (await running.client.get("/mirror/mcp")).status_code == 405
        assert await lines.seen() == ("mirror", "GET", 405)
        assert (await running.rpc("mirror", HOSTILE)).status_code == 200
        package, method, status = await lines.seen()
        assert (method.startswith("ada\n2026"), len(method) < 200, status) == (True, True, 200)
        assert lines.is_empty()


@WAYS
async def test_a_session_too_many_is_a_line_with_429(has_front: bool, lines: Lines) -> None:
    async with running_mirror(lines, has_front=has_front, max_sessions=1) as running:
        session = await open_session(running)
        assert await lines.seen() == ("mirror", "initialize", 200)
        params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        assert (await running.rpc("mirror", "initialize", params)).status_code == 429
        assert await lines.seen() == ("mirror", "initialize", 429)
        await running.client.delete("/mirror/mcp", headers={"mcp-session-id": session})
        assert await lines.seen() == ("mirror", "DELETE", 204)


@WAYS
async def test_a_person_is_told_by_a_digest_that_needs_the_key(has_front: bool, lines: Lines) -> None:
    people: list[list[str]] = []
    for key in (KEY, KEY, "c29t" * 10 + "c29="):
        guard = KnownTokens()
        async with running_mirror(lines, has_front=has_front, guard=guard, seal_keys=(Secret(key),)) as running:
            for token in ("", "stranger", "wrong"):
                headers = {"authorization": f"Bearer {token}"} if token else {}
                status = 403 if token == "stranger" else 401
                assert (await running.rpc("mirror", "mirror/echo", **headers)).status_code == status
                assert await lines.seen("package", "method", "status", "person") == ("mirror", None, status, None)
            found: list[str] = []
            for name, number in (("ada", 1), ("ada", 2), ("bob", 1), ("ada", 1)):
                token = gate_token(name, number)
                reply = await running.rpc("mirror", "mirror/echo", authorization=f"Bearer {token}")
                assert reply.status_code == 200
                told = await lines.next()
                assert token not in str(told)
                assert "ada" not in str(told)
                found.append(told["person"])
            people.append(found)
    first, again, other = people
    assert first == again
    assert first[0] == first[1] == first[3] != first[2]
    assert not set(first) & set(other)
    # Whoever reads the log cannot try names: none of the plain digests is it.
    guesses = [b"ada", b"https://id.example|ada", b"https://id.example\0ada"]
    plain = {hashlib.sha256(guess).hexdigest()[:16] for guess in guesses}
    plain |= {hmac.digest(b"", guess, "sha256").hex()[:16] for guess in guesses}
    assert first[0] not in plain
    assert len(first[0]) == 16


@WAYS
async def test_a_batch_is_one_line_with_its_methods_and_their_number(has_front: bool, lines: Lines) -> None:
    async with running_mirror(lines, has_front=has_front) as running:
        session = await open_session(running, "2025-03-26")
        await lines.next()
        told = {"jsonrpc": "2.0", "method": "notifications/told"}
        many = [{**PING, "id": number, "method": f"mirror/{number}"} for number in range(100)]
        for batch, methods in (
            ([PING, {**PING, "id": 2}, told], "mirror/echo, notifications/told"),
            (
                [{"no": "message"}, {**PING, "method": "initialize"}, {"jsonrpc": "2.0", "id": 1, "result": 1}],
                "initialize",
            ),
            ([{"no": "message"}], None),
            (many, ", ".join(f"mirror/{number}" for number in range(8))),
        ):
            for headers in ({}, {"mcp-session-id": session}):
                reply = await running.client.post("/mirror/mcp", json=batch, headers=headers)
                line = await lines.next()
                assert (line["package"], line["method"], line["status"]) == ("mirror", "batch", reply.status_code)
                assert (line["messages"], line["methods"]) == (len(batch), methods)
                assert line["milliseconds"] > 0
        hostile = [{**PING, "method": f"{number}{HOSTILE}"} for number in range(8)]
        await running.client.post("/mirror/mcp", json=hostile)
        line = await lines.next()
        assert line["methods"].startswith("0ada\n2026")
        assert len(line["methods"]) < 200
        # One that is refused as a whole is a batch as well; what is no array of messages is nothing.
        reply = await running.client.post("/mirror/mcp", json=[PING], headers={"mcp-protocol-version": "2025-11-25"})
        line = await lines.next()
        assert (line["method"], line["status"], line["messages"], line["methods"]) == ("batch", 400, 1, None)
        assert (await running.client.post("/mirror/mcp", json=[])).status_code == 400
        line = await lines.next()
        assert (line["method"], line["status"], "messages" in line) == (None, 400, False)
        assert lines.is_empty()


@WAYS
async def test_a_stream_is_a_line_when_it_has_ended(has_front: bool, lines: Lines) -> None:
    async with running_mirror(lines, has_front=has_front) as running, open_gate() as gate:
        message, head = stateless("tools/call", **talk(gate)["params"])
        async with connected(running) as wire:
            wire.send(post(message, *head, "Accept: text/event-stream", "X-Request-Id: mine"))
            assert await gate.arrived() == "a"
            assert lines.is_empty()
            gate.let_go()
            told = await lines.next()
        assert (told["method"], told["status"], told["request_id"]) == ("tools/call", 200, "mine")
        session = await open_session(running)
        assert await lines.seen() == ("mirror", "initialize", 200)
        headers = {"mcp-session-id": session, "accept": "text/event-stream"}
        async with running.client.stream("GET", "/mirror/mcp", headers=headers) as stream:
            assert stream.headers["x-request-id"]
            assert lines.is_empty()
        assert await lines.seen() == ("mirror", "GET", 200)


@pytest.mark.parametrize("is_stateless", [False, True])
@WAYS
async def test_a_client_that_goes_away_leaves_a_line(has_front: bool, is_stateless: bool, lines: Lines) -> None:
    async with running_mirror(lines, has_front=has_front) as running, open_gate() as gate:
        message, head = stateless("tools/call", **talk(gate)["params"]) if is_stateless else (talk(gate), ())
        async with connected(running) as wire:
            wire.send(post(message, *head, f"Accept: {BOTH}"))
            assert await gate.arrived() == "a"
        gate.let_go()
        assert await lines.seen("package", "method") == ("mirror", "tools/call")
        await running.rpc("mirror", "mirror/echo")
        assert await lines.seen() == ("mirror", "mirror/echo", 200)
        assert lines.is_empty()


@WAYS
async def test_requests_that_are_no_calls_are_no_lines(has_front: bool, lines: Lines) -> None:
    async with running_mirror(lines, has_front=has_front) as running:
        for path in ("/health", "/ready", "/mirror/me", "/nothing", "/"):
            reply = await running.client.get(path)
            assert "x-request-id" not in reply.headers
        assert lines.is_empty()


@WAYS
async def test_without_the_setting_nothing_is_noted(has_front: bool, lines: Lines) -> None:
    async with running_gateway([stdlib_entry()], has_front=has_front) as running:
        assert running.gateway.parts.calls.observer is None
        for _ in range(2):
            reply = await running.rpc("echo", "ping", **{"x-request-id": "mine"})
            assert "x-request-id" not in reply.headers
    assert lines.is_empty()


async def test_whoever_observes_is_told_once_with_what_is_known() -> None:
    told: list[EndedCall] = []

    class Observer:
        def note_end(self, call: EndedCall) -> None:
            told.append(call)

        def close(self) -> None:
            pass

    call = Call(Observer(), "echo", "GET", {"x-request-id": "mine"})
    call.end(200)
    (ended,) = told
    assert (ended.package, ended.method, ended.status, ended.principal) == ("echo", "GET", 200, None)
    assert call.headers == ((b"x-request-id", b"mine"),)
    assert ended.seconds is not None
    assert ended.seconds >= 0
