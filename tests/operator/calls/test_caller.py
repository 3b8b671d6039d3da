"""Requests to a package, against a server that answers in ways that real ones do, or should not."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final

import pytest

from fluidmcp.errors import FluidMCPError, GatewayAnswerError, GatewayUnreachableError, NotLoggedInError
from fluidmcp.observability.printable import CUT
from fluidmcp.operator.calls.caller import MAX_WORDS, PackageCaller, Person, TokenSource, encode_header_value
from fluidmcp.operator.calls.gateway import Gateway, reach
from fluidmcp.protocol.stateless import decode_header_value

RESULT: Final = {"content": [{"type": "text", "text": "a\u2028b\u0085c"}]}


def write_reply(body: bytes, *, status: str = "200 OK", kind: str = "application/json", more: str = "") -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n{more}\r\n"
    )
    return head.encode() + body


def write_answer(**message: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, **message}, ensure_ascii=False).encode()


@asynccontextmanager
async def answering(reply: Callable[[bytes], bytes]) -> AsyncGenerator[Gateway]:
    """A server that answers each request, given its head."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        # Byte by byte: what is cut anywhere must come together again.
        for byte in reply(head):
            writer.write(bytes([byte]))
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    async with server, reach(f"http://127.0.0.1:{port}") as gateway:
        yield gateway


async def call(gateway: Gateway, tokens: TokenSource | None = None, person: Person | None = None) -> object:
    caller = PackageCaller(gateway, "p", tokens=tokens or TokenSource(), person=person or Person(), limit_seconds=20.0)
    return await caller.request("tools/list", {})


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
async def test_an_answer_in_a_stream_comes_whole_with_what_was_said_before(end: bytes):
    progress = {"progressToken": 1, "progress": 1, "total": 2.5, "message": "half"}
    events = [
        b": p is installing",
        b"",
        b"id: 1-0",
        b"data: ",
        b"",
        b"data: " + json.dumps({"jsonrpc": "2.0", "method": "notifications/progress", "params": progress}).encode(),
        b"",
        b"data: " + write_answer(result=RESULT),
        b"",
        b"",
    ]
    noted: list[str] = []
    async with answering(lambda _: write_reply(end.join(events), kind="text/event-stream")) as gateway:
        result = await call(gateway, person=Person(note_progress=noted.append))

    assert result == RESULT
    assert noted == ["1 of 2.5 half"]


@pytest.mark.parametrize(
    ("reply", "kind", "what"),
    [
        (write_reply(b"<html>", kind="text/html"), GatewayAnswerError, "no JSON object"),
        (write_reply(b"[]"), GatewayAnswerError, "no JSON object"),
        (write_reply(b"{}", status="502 Bad Gateway"), GatewayAnswerError, "is none .HTTP 502"),
        (write_reply(write_answer(error={"code": -32602, "message": "No."})), GatewayAnswerError, "No."),
        (write_reply(write_answer(error={"code": -32021, "message": "No."})), GatewayAnswerError, "wants to ask you"),
        (write_reply(b'{"error": "x", "message": "Too much."}', status="429 No"), GatewayAnswerError, "Too much."),
        (write_reply(b"data: {}\n\n", kind="text/event-stream"), GatewayAnswerError, "ended the answer"),
        (write_reply(b"", status="401 No"), NotLoggedInError, "needs a login"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", GatewayUnreachableError, "cannot be reached"),
        (b"nonsense\r\n\r\n", GatewayUnreachableError, "cannot be reached"),
    ],
)
async def test_what_is_no_answer_is_an_error_in_our_words(reply: bytes, kind: type[FluidMCPError], what: str):
    async with answering(lambda _: reply) as gateway:
        with pytest.raises(kind, match=what):
            await call(gateway)


async def test_a_refused_token_is_replaced_and_not_for_ever():
    class Tokens(TokenSource):
        def __init__(self) -> None:
            self.given: list[str | None] = []

        async def find(self) -> str | None:
            return "first"

        async def replace(self, refused: str | None, challenge: str) -> str:
            self.given.append(refused)
            return f"{refused}+"

    def accept_second(head: bytes) -> bytes:
        is_good = b"authorization: bearer first+\r\n" in head.lower()
        return write_reply(write_answer(result={})) if is_good else write_reply(b"", status="401 No")

    tokens, refused = Tokens(), Tokens()
    # The number of the request is another one in the second attempt.
    async with answering(lambda head: accept_second(head).replace(b'"id": 1', b'"id": 2')) as gateway:
        assert await call(gateway, tokens) == {}
    async with answering(lambda _: write_reply(b"", status="401 No")) as gateway:
        with pytest.raises(NotLoggedInError, match="does not accept the login"):
            await call(gateway, refused)

    assert tokens.given == ["first"]
    assert refused.given == ["first", "first+"]


@pytest.mark.parametrize(
    ("status", "challenge", "seen"),
    [
        ("405 No", "", "open"),
        ("401 No", 'www-authenticate: Bearer resource_metadata="https://gw.example/x"\r\n', "login"),
        ("401 No", 'www-authenticate: Bearer realm="fluidmcp"\r\n', "token"),
        ("404 No", "", "missing"),
    ],
)
async def test_a_package_is_looked_at_without_starting_it(status: str, challenge: str, seen: str):
    heads: list[bytes] = []

    def reply(head: bytes) -> bytes:
        heads.append(head)
        return write_reply(b"{}", status=status, more=challenge)

    async with answering(reply) as gateway:
        assert await gateway.look("a b") == seen

    assert heads[0].startswith(b"GET /a%20b/mcp ")


async def test_what_is_no_gateway_is_told():
    async with answering(lambda _: write_reply(b"hello")) as gateway:
        with pytest.raises(GatewayAnswerError, match="is not a FluidMCP gateway"):
            await gateway.look("p")
        with pytest.raises(GatewayAnswerError, match="is not a FluidMCP gateway"):
            await gateway.list_packages()


@pytest.mark.threat("E18")
@pytest.mark.parametrize("name", ["x; touch y", "--help", "../../etc", "\x1b[2J", "a" * 65, "\u043c", ""])
async def test_e18_a_name_that_no_gateway_serves_goes_nowhere(name: str):
    body = json.dumps({"status": "ok", "packages": {"mail": {}, name: {}}}).encode()
    async with answering(lambda _: write_reply(body)) as gateway:
        with pytest.raises(GatewayAnswerError, match="is not a FluidMCP gateway"):
            await gateway.list_packages()


async def test_pages_of_tools_that_go_round_in_circles_end():
    asked: list[bytes] = []

    def reply(head: bytes) -> bytes:
        asked.append(head)
        return write_reply(write_answer(id=len(asked), result={"tools": [{"name": "t"}], "nextCursor": "again"}))

    async with answering(reply) as gateway:
        caller = PackageCaller(gateway, "p", tokens=TokenSource(), person=Person(), limit_seconds=20.0)
        with pytest.raises(GatewayAnswerError, match="does not say which tools"):
            await caller.list_tools()

    assert len(asked) == 2


async def test_a_long_error_is_cut():
    error = {"code": -32000, "message": "m" * 10_000}
    async with answering(lambda _: write_reply(write_answer(error=error))) as gateway:
        with pytest.raises(GatewayAnswerError) as caught:
            await call(gateway)

    assert caught.value.what == "m" * MAX_WORDS + CUT


@pytest.mark.parametrize("text", ["plain", "Süd", " padded ", "=?base64?eA==?=", "", "a\nb"])
def test_a_value_survives_its_header(text: str):
    assert decode_header_value(encode_header_value(text), "Mcp-Name") == text
