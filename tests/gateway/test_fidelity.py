"""What passes through the gateway as the bytes that it is: odd JSON through every pair of eras, in both directions.

Where client and server are of the same era, params, results, errors and notifications are compared byte by byte; where
they are not, so is every member that no translation names, and the order of the members.
"""

import asyncio
import json
import re
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluidmcp.config.entries import ServerEntry
from tests.gateway.running import RunningGateway, running_gateway
from tests.protocol.odd_json import VALUES
from tests.servers.mirror_server import split_members

SERVER = Path(__file__).parents[1] / "servers" / "mirror_server.py"
OPTIONS = {"handshake": ("--handshake",), "stateless": ("--stateless",), "dual": ()}
LIMIT_SECONDS = 60.0

PREFIX = "io.modelcontextprotocol/"
CLIENT_META = (
    b'"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":%b,'
    b'"io.modelcontextprotocol/clientInfo":{"name":"t","version":"1","odd":[1.10]}'
)
REQUEST_META = {f"{PREFIX}{name}" for name in ("protocolVersion", "clientCapabilities", "clientInfo", "logLevel")}
TRACE_META = (
    b'"traceparent" : "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" ,"tracestate":"k=v",'
    b'"baggage":"a=%C3%A9","x.example/\\u00fc":{"n":1.10,"n":12345678901234567890123}'
)
FORM = b'{"type":"object","properties":{"a":{"type":"string","maxLength":12345678901234567890123}}}'

CORPUS = {
    "numbers": b"[1e400,-1E-400,-0.0,-0,1.10,1E+2,12345678901234567890123,0.1000000000000000055511151231257827021181]",
    "digits": b"9" * 5000,
    "arrays in arrays": b"[" * 500 + b"]" * 500,
    "objects in objects": b'{"a":' * 250 + b"null" + b"}" * 250,
    "repeated keys": b'{"a":1,"a":2,"\\u0061":3,"a":{"b":1,"b":1}}',
    "unicode": "[\"é\\u00e9\\u00E9 \u2028\u2029\x7f\ufeff\ufffe\", \"😀\\ud83d\\ude00\\uD83D\\uDE00\"]".encode(),
    "lone surrogates": rb'{"cut":"\ud83d","n":[1.10,1e400],"\uDC00":{"\ud800":1},"u":"\u00e9\\ud83d\/","a":1,"a":2}',
    "escapes": rb'["\/","\u0041","\b\f\n\r\t\"\\","\u0000","\\u0000"]',
    "empty names": b'{"":{"":""}," ":[]}',
    "names of others": b'{"__proto__":{"x":1},"constructor":null,"toString":0,"$ref":"#","id":7,"jsonrpc":1}',
    "our names": b'{"_meta":{"progressToken":1},"progressToken":2,"requestId":3,"result":{},"error":null}',
    "nothing": b"[null,true,false,{},[],\"\",0]",
    "spaces": b'{ "a"\t:  [ 1 ,\t2 ] ,  "b" : { } , "c":[ ] }',
    "order": b'{"z":1,"a":2,"m":3,"10":4,"9":5}',
    "a huge string": b'"' + "é\\n😀x".encode() * 200_000 + b'"',
}  # fmt: skip
IDS = [
    *(b"1", b'"1"', b"1.0", b"1e3", b"-0", b"12345678901234567890123"),
    *(b'""', b'"\\u00e9"', b'"\xc3\xa9"', b'"\\ud83d"', b'"' + b"x" * 100_000 + b'"'),
]

SAME_ERA = pytest.mark.parametrize(
    ("client", "server"),
    [
        ("bare", "handshake"),
        ("bare", "dual"),
        ("session", "handshake"),
        ("session", "dual"),
        ("stateless", "stateless"),
        ("stateless", "dual"),
    ],
)
OTHER_ERA = pytest.mark.parametrize(
    ("client", "server"), [("stateless", "handshake"), ("session", "stateless"), ("bare", "stateless")]
)


@dataclass
class Client:
    """Sends texts and gives back texts. `kind` is bare, session or stateless."""

    http: httpx2.AsyncClient
    kind: str
    server: str
    headers: dict[str, str] = field(default_factory=dict[str, str])

    def params(self, members: bytes, meta: bytes = TRACE_META, capabilities: bytes = b"{}") -> bytes:
        """Params with these members, and a `_meta` as this kind of client has it, in its own spacing."""
        if self.kind == "stateless":
            meta = CLIENT_META % capabilities + (b" , " + meta if meta else b"")
        return b'{ "_meta" : { %b } , %b }' % (meta, members)

    async def post(
        self, method: str, params: bytes | None, request_id: bytes = b"1", name: str = ""
    ) -> httpx2.Response:
        tail = b"" if params is None else b',"params": %b ' % params
        headers = dict(self.headers)
        if self.kind == "stateless":
            headers |= {"mcp-protocol-version": "2026-07-28", "mcp-method": method} | (
                {"mcp-name": name} if name else {}
            )
        return await self.send(
            b'{"jsonrpc":"2.0","id":%b,"method":"%b"%b}' % (request_id, method.encode(), tail), headers
        )

    async def send(self, text: bytes, headers: dict[str, str] | None = None) -> httpx2.Response:
        fixed = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
        headers = {**fixed, **(self.headers if headers is None else headers)}
        return await self.http.post(f"/{self.server}/mcp", content=text, headers=headers)

    @asynccontextmanager
    async def stream(self, method: str, params: bytes) -> AsyncGenerator[AsyncIterator[bytes]]:
        """The messages of a request whose answer is an event stream, as they come."""
        text = b'{"jsonrpc":"2.0","id":1,"method":"%b","params":%b}' % (method.encode(), params)
        headers = {"content-type": "application/json", "accept": "text/event-stream", **self.headers}
        async with self.http.stream("POST", f"/{self.server}/mcp", content=text, headers=headers) as response:
            yield _read_messages(response)

    async def read_lines(self) -> list[bytes]:
        """What the server has read since it was asked last."""
        response = await self.post("mirror/lines", self.params(b'"a":1', b"") if self.kind == "stateless" else None)
        return [line.encode("latin-1") for line in response.json()["result"]["lines"]]


async def _read_messages(response: httpx2.Response) -> AsyncIterator[bytes]:
    waiting = b""
    async for chunk in response.aiter_bytes():
        *events, waiting = (waiting + chunk).split(b"\n\n")
        for message in list_messages(b"\n\n".join(events)):
            yield message


def list_messages(stream: bytes) -> list[bytes]:
    """The data of the events, without those that have none."""
    lines = [line[6:] for line in stream.split(b"\n") if line.startswith(b"data: ")]
    return [line for line in lines if line]


def result(text: bytes, request_id: bytes = b"1") -> bytes:
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (request_id, text)


def error(text: bytes, request_id: bytes = b"1") -> bytes:
    return b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (request_id, text)


def members_of(text: bytes) -> dict[str, str]:
    return split_members(text.decode())


async def connect(running: RunningGateway, kind: str, server: str) -> Client:
    client = Client(running.client, kind, server)
    if kind == "session":
        response = await client.post("initialize", INITIALIZE)
        assert response.status_code == 200, response.text
        client.headers = {"mcp-session-id": response.headers["mcp-session-id"]}
    return client


INITIALIZE = (
    b'{ "protocolVersion":"2025-11-25", "capabilities":{"elicitation":{},"x":{"n":1.10}} ,"clientInfo":{"name":"t",'
    b'"version":"1"}, "odd" : [1e400,{"a":1,"a":2},"\\ud83d \\u00e9"] }'
)


def list_entries() -> list[ServerEntry]:
    return [
        ServerEntry(
            name=name,
            command=sys.executable,
            args=("-I", str(SERVER), *options),
            env=(),
            auth=None,
            directory=SERVER.parent,
            source="a test",
        )
        for name, options in OPTIONS.items()
    ]


@pytest.fixture
async def running() -> AsyncIterator[RunningGateway]:
    async with running_gateway(list_entries()) as gateway, asyncio.timeout(LIMIT_SECONDS):
        yield gateway


# The same era on both sides: every byte.


@SAME_ERA
async def test_params_and_results_pass_byte_by_byte(running: RunningGateway, client: str, server: str) -> None:
    link = await connect(running, client, server)
    for name, value in CORPUS.items():
        params = link.params(b'"odd":%b, "resultType" : "x","ttlMs":-1,"cacheScope":[]' % value)
        response = await link.post("x.example/odd", params)
        assert response.content == result(params), name
        line = (await link.read_lines())[-1]
        assert members_of(line)["params"].encode() == params, name


@SAME_ERA
async def test_errors_pass_byte_by_byte(running: RunningGateway, client: str, server: str) -> None:
    link = await connect(running, client, server)
    for name, value in CORPUS.items():
        params = link.params(b'"odd":%b, "code" : -31999,"message":"\\u00e9","data":%b' % (value, value))
        assert (await link.post("mirror/error", params)).content == error(params), name


@pytest.mark.parametrize("client", ["bare", "session"])
async def test_params_need_not_be_an_object(running: RunningGateway, client: str) -> None:
    link = await connect(running, client, "handshake")
    for name, value in CORPUS.items():
        if name == "our names":
            continue  # params with a progress token; those have a test of their own
        params = b"[%b,1.10]" % value
        assert (await link.post("x/odd", params)).content == result(params), name
    assert (await link.post("x/odd", None)).content == result(b"null")


@SAME_ERA
async def test_a_generated_value_passes_byte_by_byte(running: RunningGateway, client: str, server: str) -> None:
    link = await connect(running, client, server)
    loop = asyncio.get_running_loop()

    @settings(max_examples=50, deadline=None)
    @given(st.one_of(VALUES, VALUES.map(lambda value: rb'["\udbff",%b]' % value)))
    def relay(value: bytes) -> None:
        params = link.params(b'"odd":%b,"more":{"odd":%b}' % (value, value))
        response = asyncio.run_coroutine_threadsafe(link.post("x/odd", params), loop).result(LIMIT_SECONDS)
        assert response.content == result(params)

    await asyncio.to_thread(relay)


@SAME_ERA
async def test_line_breaks_between_tokens_go_and_nothing_else(
    running: RunningGateway, client: str, server: str
) -> None:
    link = await connect(running, client, server)
    params = link.params(b'"a":\r\n  [1.10,\n\t"\\n \\ud83d" ]\n')
    assert (await link.post("x/odd", params)).content == result(params.translate(None, b"\r\n"))


@SAME_ERA
async def test_an_id_comes_back_as_it_was_written(running: RunningGateway, client: str, server: str) -> None:
    link = await connect(running, client, server)
    params, fault = link.params(b'"a":1'), link.params(b'"code":1,"message":""')
    for request_id in IDS:
        assert (await link.post("x/odd", params, request_id)).content == result(params, request_id)
        assert (await link.post("mirror/error", fault, request_id)).content == error(fault, request_id)
    for request_id in (b"null", b"true", b"{}", b"[]"):
        assert (await link.post("x/odd", params, request_id)).status_code == 400


@SAME_ERA
async def test_the_progress_token_is_all_that_changes(running: RunningGateway, client: str, server: str) -> None:
    """In the params the server gets another one, in its notification the client gets its own; no byte else."""
    link = await connect(running, client, server)
    link.headers["accept"] = "text/event-stream"
    meta = TRACE_META + b' , "progressToken" :\t"t\\u00f6k" , "y":{"progressToken":1}'
    for name, value in CORPUS.items():
        told = b'{ "odd":%b , "progressToken" : %b ,"progress":1.10, "_meta" : {"a":1,"a":2} }'
        sent = told % (value, b'"PROGRESS-TOKEN"')
        params = link.params(b'"method":"notifications/progress","params":%b,"odd":%b' % (sent, value), meta)
        notification, answer = list_messages((await link.post("mirror/tell", params)).content)
        expected = told % (value, b'"t\\u00f6k"')
        assert notification == b'{"jsonrpc":"2.0","method":"notifications/progress","params":%b}' % expected, name
        wire_token = re.search(rb'"progressToken" :\t([0-9]+) ', answer)
        assert wire_token is not None, name
        assert answer == result(params.replace(b':\t"t\\u00f6k"', b":\t" + wire_token[1])), name


@pytest.mark.parametrize(
    "meta",
    [
        b'"progressToken":"mine","progressToken":"mine too"',
        b'"progressToken":"mine"},"_meta":{"progressToken":"mine too"',
        b'"progressToken":"mine","progress\\u0054oken":"mine too"',
        b'"progressToken":"mine"},"\\u005fmeta":{"progressToken":"mine too"',
    ],
)
async def test_no_second_progress_token_reaches_a_server_that_others_use(running: RunningGateway, meta: bytes) -> None:
    """A server may read the first of two, and tell progress to whomever the number belongs to."""
    link = await connect(running, "bare", "handshake")
    response = await link.post("x/odd", b'{"_meta":{%b}}' % meta)
    assert b"mine" not in response.content
    assert isinstance(response.json()["result"]["_meta"]["progressToken"], int)


async def test_a_progress_token_in_another_spelling_is_replaced_too(running: RunningGateway) -> None:
    link = await connect(running, "bare", "handshake")
    response = await link.post("x/odd", rb'{"_meta":{"progress\u0054oken":"mine"}}')
    assert b"mine" not in response.content


# What a handshake-era client and server say to each other besides requests of the client.


@pytest.mark.parametrize("server", ["handshake", "dual"])
async def test_the_greeting_passes_byte_by_byte(running: RunningGateway, server: str) -> None:
    response = await Client(running.client, "session", server).post("initialize", INITIALIZE)
    assert response.content.endswith(b', "heard" : %b }}' % INITIALIZE)


async def test_notifications_pass_byte_by_byte_in_a_session(running: RunningGateway) -> None:
    link = await connect(running, "session", "handshake")
    for name, value in CORPUS.items():
        told = b'{ "odd":%b , "_meta" : {"progressToken":1} }' % value
        params = b'{"method":"notifications/x.odd","params":%b}' % told
        notification, answer = list_messages((await link.post("mirror/tell", params)).content)
        assert notification == b'{"jsonrpc":"2.0","method":"notifications/x.odd","params":%b}' % told, name
        assert answer == result(params), name
        accepted = await link.send(b'{"jsonrpc":"2.0","method":"notifications/x.odd","params":%b}' % told)
        assert (accepted.status_code, accepted.content) == (202, b"")
        lines = await link.read_lines()
        assert members_of(lines[-1])["params"].encode() == told, name


@pytest.mark.parametrize("member", ["result", "error"])
async def test_questions_and_their_answers_pass_byte_by_byte_in_a_session(running: RunningGateway, member: str) -> None:
    link = await connect(running, "session", "handshake")
    for name, value in CORPUS.items():
        asked = b'{ "odd":%b , "_meta" : {"progressToken":1} }' % value
        said = b'{ "odd":%b , "code" : 1.0 ,"message":"" }' % value
        async with link.stream("mirror/ask", b'{"method":"x/odd","params":%b}' % asked) as messages:
            question = members_of(await anext(messages))
            assert question["params"].encode() == asked, name
            tail = b'"%b":%b' % (member.encode(), said)
            await link.send(b'{"jsonrpc":"2.0","id":%b,%b}' % (question["id"].encode(), tail))
            assert await anext(messages) == result(b"{%b}" % tail), name


async def test_log_lines_pass_byte_by_byte_to_a_stateless_client(running: RunningGateway) -> None:
    for server in ("stateless", "dual"):
        link = await connect(running, "stateless", server)
        for name, value in CORPUS.items():
            told = b'{ "level" : "info" ,"data":%b, "odd" : 1.10 }' % value
            params = link.params(
                b'"method":"notifications/message","params":%b' % told, b'"io.modelcontextprotocol/logLevel":"debug"'
            )
            notification, answer = list_messages((await link.post("mirror/tell", params)).content)
            assert notification == b'{"jsonrpc":"2.0","method":"notifications/message","params":%b}' % told, name
            assert answer == result(params), name


# Two eras: only what a translation names.


@OTHER_ERA
async def test_only_named_members_change_between_the_eras(running: RunningGateway, client: str, server: str) -> None:
    link = await connect(running, client, server)
    await link.read_lines()
    for name, value in CORPUS.items():
        params = link.params(b'"odd":%b,"z":{"_meta":{ }},"a":[1.10 ]' % value)
        response = await link.post("x/odd", params)
        sent, heard = members_of(params), members_of(members_of((await link.read_lines())[-1])["params"].encode())
        answered = members_of(members_of(response.content)["result"].encode())
        check_members(sent, heard, described=server == "stateless", name=name)
        # The server's answer is what it heard: the result differs from that by the names of the stateless era alone.
        added = {"resultType"} if client == "stateless" else set[str]()
        check_same(heard, answered, {"_meta", *added}, name)
        assert set(answered) == set(heard) | added, name
        heard_meta, answered_meta = (split_members(each["_meta"]) for each in (heard, answered))
        check_same(heard_meta, answered_meta, {f"{PREFIX}serverInfo"}, name)


def check_members(sent: dict[str, str], heard: dict[str, str], *, described: bool, name: str) -> None:
    """The server heard what was sent, but for the keys that describe a client; `described`: it got them."""
    assert set(sent) == set(heard), name
    check_same(sent, heard, {"_meta"}, name)
    sent_meta, heard_meta = split_members(sent["_meta"]), split_members(heard["_meta"])
    check_same(sent_meta, heard_meta, REQUEST_META, name)
    assert (f"{PREFIX}protocolVersion" in heard_meta) == described, name


def check_same(one: dict[str, str], other: dict[str, str], but: set[str], name: str) -> None:
    """The same members in the same bytes and the same order."""
    left, right = ([(key, value) for key, value in each.items() if key not in but] for each in (one, other))
    assert left == right, name


@OTHER_ERA
async def test_errors_between_the_eras_keep_their_members(running: RunningGateway, client: str, server: str) -> None:
    link = await connect(running, client, server)
    for name, value in CORPUS.items():
        for code, known in ((-31999, -31999), (-32002 if client == "stateless" else -32021, -32602)):
            members = b'"odd":%b, "code" : %d ,"message":"\\u00e9","data":%b' % (value, code, value)
            got = members_of(
                members_of((await link.post("mirror/error", link.params(members))).content)["error"].encode()
            )
            assert got["code"] == str(known), name
            check_same(members_of(b"{%b}" % members), got, {"_meta", "code"}, name)


async def test_a_question_to_a_stateless_client_keeps_its_members(running: RunningGateway) -> None:
    """The handshake-era server's request, and the answer in the retry."""
    link = await connect(running, "stateless", "handshake")
    for name, value in CORPUS.items():
        asked = b'{"message":"m","odd":%b, "requestedSchema" : %b }' % (value, FORM)
        call = b'"name":"ask","arguments":{"params":%b}' % asked
        capabilities = b'{"elicitation":{}}'
        response = await link.post("tools/call", link.params(call, capabilities=capabilities), name="ask")
        assert response.status_code == 200, response.text
        needed = members_of(members_of(response.content)["result"].encode())
        ((key, request),) = split_members(needed["inputRequests"]).items()
        assert split_members(request)["params"].encode() == asked, name
        said = b'{ "action" : "accept","content":{"a":%b}, "odd":%b }' % (value, value)
        retry = b'%b,"inputResponses":{%b:%b},"requestState":%b' % (
            call,
            json.dumps(key).encode(),
            said,
            needed["requestState"].encode(),
        )
        response = await link.post("tools/call", link.params(retry, capabilities=capabilities), b"2", name="ask")
        answered = members_of(members_of(response.content)["result"].encode())["answered"]
        assert answered.encode() == said, name


async def test_a_question_of_a_stateless_server_keeps_its_members(running: RunningGateway) -> None:
    """What its answer asks for, and the answer of the session's client."""
    link = await connect(running, "session", "stateless")
    for name, value in CORPUS.items():
        asked = b'{"message":"m","odd":%b, "requestedSchema" : %b }' % (value, FORM)
        said = b'{ "action" : "accept","content":{"a":%b}, "odd":%b }' % (value, value)
        async with link.stream("tools/call", b'{"name":"ask","arguments":{"params":%b}}' % asked) as messages:
            question = members_of(await anext(messages))
            assert question["params"].encode() == asked, name
            await link.send(b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (question["id"].encode(), said))
            answered = members_of(members_of(await anext(messages))["result"].encode())["answered"]
        assert answered.encode() == said, name
