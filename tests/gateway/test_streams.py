"""Event streams and disconnects, on real sockets: clients that go away at every moment, and a gateway that closes."""

import asyncio
import itertools
import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, MutableMapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
import uvicorn

from fluidmcp.config.settings import GatewaySettings
from fluidmcp.errors import RequestError
from fluidmcp.gateway.composition import GatewayOptions
from fluidmcp.gateway.core import Core
from fluidmcp.gateway.http import (
    STREAM_HEADERS,
    WATCH_AFTER_SECONDS,
    HttpReply,
    HttpRequest,
    HttpStream,
    OpenStreams,
    RequestBody,
)
from fluidmcp.gateway.lifecycle import Gateway
from fluidmcp.protocol.sse import COMMENT
from tests.gateway.running import announcing_server

EVENT = b'data: {"n": 1}\n\n'
LAST_WORDS = b'data: "the end"\n\n'
LARGE_EVENT = b"data: " + b"x" * 1_000_000 + b"\n\n"
REQUEST = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n\r\n{}"
Answer = Callable[[HttpRequest], Awaitable[HttpReply | HttpStream]]


class AnsweringCore(Core):
    def __init__(self, make_reply: Answer) -> None:
        self._make_reply = make_reply

    def is_mcp_path(self, path: str) -> bool:
        return True

    async def handle(self, request: HttpRequest) -> HttpReply | HttpStream:
        return await self._make_reply(request)


class AnsweringGateway(Gateway):
    def __init__(self, make_reply: Answer, keep_alive_seconds: float) -> None:
        super().__init__(GatewaySettings(), (), {}, GatewayOptions(keep_alive_seconds=keep_alive_seconds))
        self.app._core = AnsweringCore(make_reply)  # pyright: ignore[reportPrivateUsage]


@dataclass
class Peer:
    """A raw HTTP client on one connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def post(self, body: bytes = b"{}", *, target: str = "/x/mcp", length: int | None = None) -> None:
        head = f"POST {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {length or len(body)}\r\n\r\n"
        self.writer.write(head.encode() + body)

    async def read_head(self) -> bytes:
        return await self.reader.readuntil(b"\r\n\r\n")

    async def read_piece(self) -> bytes:
        """One chunk of a chunked body; empty: its end."""
        size = int((await self.reader.readuntil(b"\r\n")).strip(), 16)
        return (await self.reader.readexactly(size + 2))[:-2]

    async def read_pieces(self, *, pause: float = 0) -> list[bytes]:
        pieces: list[bytes] = []
        while piece := await self.read_piece():
            pieces.append(piece)
            await pass_time(pause)
        return pieces

    async def read_reply(self) -> bytes:
        head = (await self.read_head()).lower()
        return await self.reader.readexactly(int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]))

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """Go away with a RST and without a FIN, as a process does that is killed with unread data."""
        end = cast(socket.socket, self.writer.get_extra_info("socket"))
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@dataclass
class Stage:
    gateway: Gateway
    server: uvicorn.Server
    port: int
    peers: list[Peer] = field(default_factory=list[Peer])

    async def connect(self) -> Peer:
        peer = Peer(*await asyncio.open_connection("127.0.0.1", self.port))
        self.peers.append(peer)
        return peer

    async def post(self) -> Peer:
        peer = await self.connect()
        peer.post()
        return peer

    def is_idle(self) -> bool:
        return not len(self.gateway.parts.calls.streams) and not watching_tasks()

    async def wait_empty(self) -> None:
        """Until all requests have ended, of clients that have gone. Connections are accepted in their order."""
        last = await self.post()
        await last.read_head()
        last.close()
        await wait_until(lambda: not self.server.server_state.connections and not self.server.server_state.tasks)


@asynccontextmanager
async def stage(make_reply: Answer, *, keep_alive_seconds: float = 600) -> AsyncGenerator[Stage]:
    """A gateway that answers as told, and that has to end without anything left."""
    # asyncio turns Nagle's algorithm off only where the protocol is named.
    with socket.socket(proto=socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        gateway = AnsweringGateway(make_reply, keep_alive_seconds)
        await gateway.start()
        server = announcing_server(gateway)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        running = Stage(gateway, server, listener.getsockname()[1])
        try:
            async with asyncio.timeout(60):
                await server.has_started.wait()
                yield running
        finally:
            await gateway.close()
            for peer in running.peers:
                peer.close()
            server.should_exit = True
            await asyncio.wait_for(serving, 30)
        await wait_until(running.is_idle)


def watching_tasks() -> list["asyncio.Task[Any]"]:
    names = ("_Sending._watch", "_Watch._wait")
    coroutines = ((task, cast("Coroutine[Any, Any, Any]", task.get_coro())) for task in asyncio.all_tasks())
    return [task for task, coroutine in coroutines if coroutine.__qualname__ in names]


async def wait_until(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not is_true():
            await asyncio.sleep(0.01)


async def pass_time(seconds: float) -> None:
    """Wait for a timer of the event loop: timers that were due before it have run by then."""
    is_due = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, is_due.set)
    await is_due.wait()


class Source:
    """A stream whose chunks a test gives out one by one, and what happened to its generator."""

    def __init__(self, *chunks: bytes | RuntimeError, is_told: bool = True) -> None:
        self.waiting: asyncio.Queue[bytes | RuntimeError | None] = asyncio.Queue()
        for chunk in chunks:
            self.waiting.put_nowait(chunk)
        self.headers = STREAM_HEADERS
        self.disconnects = 0
        self.was_asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.has_begun = asyncio.Event()
        self.has_ended = asyncio.Event()
        self.tasks: list[asyncio.Task[Any] | None] = []
        self._is_told = is_told

    async def answer(self, request: HttpRequest) -> HttpStream:
        await request.read_body()
        self.was_asked.set()
        await self.may_answer.wait()
        return HttpStream(self._chunks(), headers=self.headers, on_disconnect=self._leave if self._is_told else None)

    def end(self) -> None:
        self.waiting.put_nowait(None)

    def _leave(self) -> None:
        self.disconnects += 1
        self.waiting.put_nowait(LAST_WORDS)
        self.end()

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        self.tasks.append(asyncio.current_task())
        self.has_begun.set()
        try:
            while (chunk := await self.waiting.get()) is not None:
                if isinstance(chunk, RuntimeError):
                    raise chunk
                yield chunk
        finally:
            self.tasks.append(asyncio.current_task())
            self.has_ended.set()

    @property
    def was_closed_by_its_reader(self) -> bool:
        return len(self.tasks) == 2 and self.tasks[0] is self.tasks[1]


@asynccontextmanager
async def streaming(source: Source, *, keep_alive_seconds: float = 600) -> AsyncGenerator[tuple[Stage, Peer]]:
    """A stage with one client that has got the head of its stream."""
    async with stage(source.answer, keep_alive_seconds=keep_alive_seconds) as running:
        peer = await running.post()
        assert b"content-type: text/event-stream" in await peer.read_head()
        yield running, peer


@pytest.mark.parametrize(("target", "query"), [("/x/mcp?a=%20b&c=%C3%A9", "a=%20b&c=%C3%A9"), ("/x/mcp", "")])
async def test_a_request_has_its_query_as_it_was_sent(target: str, query: str):
    async def answer(request: HttpRequest) -> HttpReply:
        return HttpReply(200, request.query.encode())

    async with stage(answer) as running:
        peer = await running.connect()
        peer.post(target=target)
        assert await peer.read_reply() == query.encode()


@pytest.mark.parametrize("is_early", [True, False], ids=["before the watch begins", "while it watches"])
async def test_a_client_that_goes_away_before_the_reply_is_noticed_once_by_every_watch_that_was_not_ended(
    is_early: bool,
):
    calls: list[str] = []
    may_leave, has_left, has_replied = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def answer(request: HttpRequest) -> HttpReply:
        await request.read_body()
        if is_early:
            may_leave.set()
            await has_left.wait()
        request.watch_disconnect(lambda: calls.append("gone"))
        request.watch_disconnect(lambda: calls.append("ended at once"))()
        end_watching = request.watch_disconnect(lambda: calls.append("ended while it watches"))
        if not is_early:
            await pass_time(2 * WATCH_AFTER_SECONDS)
        end_watching()
        may_leave.set()
        await wait_until(lambda: bool(calls))
        await pass_time(2 * WATCH_AFTER_SECONDS)
        has_replied.set()
        return HttpReply(200)

    async with stage(answer) as running:
        peer = await running.post()
        await may_leave.wait()
        peer.reset()
        await wait_until(lambda: not running.server.server_state.connections)
        has_left.set()
        await has_replied.wait()
    assert calls == ["gone"]


@pytest.mark.parametrize("seconds", [0, 2 * WATCH_AFTER_SECONDS])
async def test_the_end_of_a_reply_is_no_disconnect_and_a_quick_one_costs_no_task(seconds: float):
    """To ASGI the end is one: after the reply, receive() says so, even if the client is still there."""
    calls: list[str] = []
    tasks: list[int] = []

    async def answer(request: HttpRequest) -> HttpReply:
        await request.read_body()
        request.watch_disconnect(lambda: calls.append("gone"))
        await pass_time(seconds)
        tasks.append(len(watching_tasks()))
        return HttpReply(200, b"done")

    async with stage(answer) as running:
        peer = await running.connect()
        for _ in range(2):
            peer.post()
            assert await peer.read_reply() == b"done"
        await pass_time(2 * WATCH_AFTER_SECONDS)
        assert watching_tasks() == []
    assert (tasks, calls) == ([seconds > 0] * 2, [])


@pytest.mark.parametrize("is_cut_off", [True, False])
async def test_a_watch_leaves_the_body_to_its_reader(is_cut_off: bool):
    calls: list[str] = []
    is_watching, has_read = asyncio.Event(), asyncio.Event()

    async def answer(request: HttpRequest) -> HttpReply:
        request.watch_disconnect(lambda: calls.append("gone"))
        is_watching.set()
        with pytest.raises(RequestError) if is_cut_off else nullcontext():
            assert await request.read_body() == b"first,second"
        await pass_time(2 * WATCH_AFTER_SECONDS)
        has_read.set()
        return HttpReply(200, b"done")

    async with stage(answer) as running:
        peer = await running.connect()
        peer.post(b"first,", length=12)
        await is_watching.wait()
        await pass_time(3 * WATCH_AFTER_SECONDS)
        if is_cut_off:
            peer.close()
            await has_read.wait()
        else:
            peer.writer.write(b"second")
            assert await peer.read_reply() == b"done"
    assert calls == []


async def test_a_stream_arrives_as_it_was_yielded_with_comments_where_it_is_silent():
    source = Source()
    async with streaming(source, keep_alive_seconds=0.02) as (_, peer):
        for _ in range(3):
            assert await peer.read_piece() == COMMENT
        for chunk in (EVENT, EVENT * 2):
            source.waiting.put_nowait(chunk)
        source.end()
        assert [piece for piece in await peer.read_pieces() if piece != COMMENT] == [EVENT, EVENT * 2]
    assert source.was_closed_by_its_reader
    assert source.disconnects == 0


@pytest.mark.parametrize("go_away", [Peer.close, Peer.reset])
@pytest.mark.parametrize("is_early", [True, False], ids=["before it begins", "while it waits"])
async def test_a_client_that_leaves_a_stream_is_noticed(go_away: Callable[[Peer], None], is_early: bool):
    source = Source(EVENT)
    if is_early:
        source.may_answer.clear()
    async with stage(source.answer) as running:
        peer = await running.post()
        await (source.was_asked if is_early else source.has_begun).wait()
        go_away(peer)
        await wait_until(lambda: not running.server.server_state.connections)
        source.may_answer.set()
        await source.has_ended.wait()
    assert source.disconnects == 1  # closing the gateway does not call it again
    assert source.was_closed_by_its_reader


@pytest.mark.parametrize("is_closing", [True, False])
async def test_a_client_that_stops_reading_holds_up_nothing_and_is_noticed_when_it_leaves(is_closing: bool):
    """The stream is in the middle of sending then, as the connection takes no more."""
    source = Source(*[LARGE_EVENT] * 64)
    async with streaming(source, keep_alive_seconds=0.02) as (running, peer):
        await pass_time(0.2)
        assert not source.waiting.empty()
        if is_closing:
            running.gateway.parts.calls.streams.leave()
            await running.gateway.close()
        peer.reset()
        await source.has_ended.wait()
    assert source.disconnects == 1
    assert source.was_closed_by_its_reader


async def test_without_a_callback_a_disconnect_ends_the_stream_at_its_next_chunk():
    source = Source(is_told=False)
    async with streaming(source) as (_, peer):
        await source.has_begun.wait()
        peer.close()
        await asyncio.wait(watching_tasks())
        assert not source.has_ended.is_set()
        source.waiting.put_nowait(EVENT)
        source.waiting.put_nowait(EVENT)
        await source.has_ended.wait()
    assert source.waiting.qsize() == 1
    assert source.was_closed_by_its_reader


async def test_a_stream_that_fails_is_closed_and_watched_no_longer():
    source = Source(EVENT, RuntimeError("of the test"))
    async with streaming(source) as (_, peer):
        assert await peer.read_piece() == EVENT
        assert await peer.reader.read() == b""  # without the end of a chunked body: the reply is broken
    assert source.disconnects == 0
    assert source.was_closed_by_its_reader


async def test_the_owner_of_a_stream_whose_head_cannot_be_sent_is_told():
    source = Source()
    source.headers = ((b"x-broken", b"a\r\nb"),)
    async with stage(source.answer) as running:
        peer = await running.post()
        assert await peer.reader.read() == b""
    assert source.disconnects == 1
    assert not source.has_begun.is_set()


async def test_whenever_clients_leave_every_stream_ends_and_is_closed():
    sources: list[Source] = []

    async def answer(request: HttpRequest) -> HttpStream:
        await pass_time(0.01)
        sources.append(Source(EVENT, EVENT, EVENT))
        return await sources[-1].answer(request)

    async def come_and_go(running: Stage, number: int) -> None:
        peer = await running.connect()
        peer.writer.write(REQUEST[: 20 + number])
        await pass_time(number / 4000)
        (peer.reset if number % 2 else peer.close)()

    async with stage(answer, keep_alive_seconds=0.002) as running:
        async with asyncio.TaskGroup() as group:
            for number in range(120):
                group.create_task(come_and_go(running, number))
        await running.wait_empty()
        begun = [source for source in sources if source.has_begun.is_set()]
        assert begun and all(source.was_closed_by_its_reader and source.disconnects <= 1 for source in begun)
        await wait_until(running.is_idle)


async def test_a_comment_is_sent_only_after_silence():
    sent: list[tuple[float, object]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append((asyncio.get_running_loop().time(), message.get("body")))

    async def chunks() -> AsyncGenerator[bytes, None]:
        for _ in range(60):
            yield EVENT
            await pass_time(0.005)

    body = RequestBody(asyncio.get_running_loop().create_future, 0)  # from which nothing ever comes
    await OpenStreams(keep_alive_seconds=0.05).send(HttpStream(chunks()), body, send)
    gaps = [later - earlier for (earlier, _), (later, body) in itertools.pairwise(sent) if body == COMMENT]
    assert all(gap >= 0.05 for gap in gaps)


async def test_comments_come_between_chunks_also_for_a_slow_reader():
    chunks = [b"data: " + b"%d" % number * 300_000 + b"\n\n" for number in range(10)]
    source = Source(*chunks)
    source.end()
    async with streaming(source, keep_alive_seconds=0.001) as (_, peer):
        pieces = await peer.read_pieces(pause=0.01)
        assert [piece for piece in pieces if piece != COMMENT] == chunks


async def test_nothing_follows_the_end_of_a_stream(caplog: pytest.LogCaptureFixture):
    """A comment after the last piece would break the next reply on the connection, and be an error of ASGI."""

    async def answer(request: HttpRequest) -> HttpStream:
        pause = int(await request.read_body()) / 10_000

        async def chunks() -> AsyncGenerator[bytes, None]:
            yield EVENT
            await pass_time(pause)
            yield EVENT
            await pass_time(pause)

        return HttpStream(chunks())

    async with stage(answer, keep_alive_seconds=0.001) as running:
        peer = await running.connect()
        for pause in range(40):
            peer.post(b"%d" % pause)
            await peer.read_head()
            assert [piece for piece in await peer.read_pieces() if piece != COMMENT] == [EVENT, EVENT]
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize("is_told", [True, False])
@pytest.mark.parametrize("is_late", [True, False], ids=["begins when the gateway has closed", "waits"])
async def test_a_closing_gateway_ends_a_stream_and_lets_it_say_its_last_words(is_told: bool, is_late: bool):
    """The stage's server waits without limit for replies that are not complete."""
    source = Source(is_told=is_told)
    if is_late:
        source.may_answer.clear()
    async with stage(source.answer) as running:
        peer = await running.post()
        await (source.was_asked if is_late else source.has_begun).wait()
        await running.gateway.close()
        source.may_answer.set()
        await peer.read_head()
        assert await peer.read_pieces() == ([LAST_WORDS] if is_told else [])
    assert source.disconnects == is_told
    assert source.was_closed_by_its_reader


async def test_a_stream_that_its_server_cancels_is_closed_and_watched_no_longer():
    source = Source()
    async with streaming(source) as (running, _):
        await source.has_begun.wait()
        sending = cast("asyncio.Task[None]", source.tasks[0])
        sending.cancel()
        await asyncio.wait((sending,))
        assert source.was_closed_by_its_reader
        assert running.is_idle()
