"""HTTP requests and replies as plain values, so that another HTTP front can call the same core.

`RequestBody` and `OpenStreams` carry bodies and event streams from and to ASGI.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

import msgspec

from fluidmcp.authentication.principal import Principal
from fluidmcp.errors import RequestError, WouldWaitError
from fluidmcp.gateway.calls.observer import Call
from fluidmcp.protocol.sse import COMMENT
from fluidmcp.undo import undo_on_failure

Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

Headers: TypeAlias = tuple[tuple[bytes, bytes], ...]

JSON_TYPE: Final = (b"content-type", b"application/json")
NO_STORE: Final = (b"cache-control", b"no-store")
COMMON_HEADERS: Final[Headers] = (JSON_TYPE, NO_STORE)
EMPTY_HEADERS: Final[Headers] = (NO_STORE,)
"""Of a reply without a body."""
STREAM_HEADERS: Final[Headers] = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    # Without it nginx collects events until its buffer is full.
    (b"x-accel-buffering", b"no"),
)

WATCH_AFTER_SECONDS: Final = 0.1
"""Requests that are answered sooner are not watched: most are, and a watch costs a task."""

KEEP_ALIVE_SECONDS: Final = 15.0
"""A stream that was silent for so long gets a comment: proxies close connections on which nothing moves."""

STREAM_END_SECONDS: Final = 1.0
"""How long streams may take to end by themselves when the gateway closes."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class HttpRequest:
    """One request. Header names are lower case; headers that decide something occur once, or the guard refuses."""

    method: str
    path: str
    query: str
    """What follows the question mark, as it was sent: still percent-encoded, empty where there is none."""
    headers: Mapping[str, str]
    read_body: Callable[[], Awaitable[bytes]]
    """Reads the body when it is wanted, so that nobody unknown can make the gateway read one. RequestError 413."""
    watch_disconnect: Callable[[Callable[[], None]], Callable[[], None]]
    """Calls the function once, in the event loop, when the client goes away before the reply begins; it must not raise.

    Returns a function that ends the watch, which may be called at any time and more than once. The watch looks only
    WATCH_AFTER_SECONDS later and only when the body has been read, and ends by itself when the reply begins.
    """
    can_wait: bool = True
    """Whether somebody awaits the reply. Where nobody does, whatever would have to wait raises WouldWaitError."""

    early_headers: Headers = ()
    """What belongs to the head of the reply even where that has to be sent before the rest is known."""

    call: Call | None = None
    """What is noted of it, where somebody looks on."""

    def require_wait(self) -> None:
        """Raises WouldWaitError where nobody awaits the reply."""
        if not self.can_wait:
            raise WouldWaitError


@dataclass(slots=True)
class HttpReply:
    status: int
    body: bytes = b""
    headers: Headers = COMMON_HEADERS


@dataclass(slots=True)
class HttpStream:
    """A reply of server-sent events. Whoever sends it iterates `chunks` in one task, and closes it in the same one."""

    chunks: AsyncGenerator[bytes, None]
    status: int = 200
    headers: Headers = STREAM_HEADERS
    principal: Principal | None = None
    """Whose it is, where that is known."""
    package: str = ""
    """That of the MCP endpoint."""
    is_standing: bool = False
    """Whether it waits for whatever may come, and is not the answer to a call: nobody waits for its end."""
    on_disconnect: Callable[[], None] | None = None
    """Called at most once: when the client goes away while the stream is sent, or when the gateway closes.

    It must not raise, and should let `chunks` come to its end. Never called before `chunks` has begun, unless the head
    of the reply cannot be sent: then `chunks` does not begin, and nothing of it runs. When the gateway closes, what
    `chunks` still yields reaches the client; when the client is gone, the next chunk ends the iteration, with None too.
    """


def json_reply(status: int, body: Mapping[str, object], headers: Headers = ()) -> HttpReply:
    return HttpReply(status, msgspec.json.encode(body), (JSON_TYPE, NO_STORE, *headers))


def too_large(max_bytes: int) -> RequestError:
    return RequestError(413, "The request body is too large.", why=f"The limit is {max_bytes} bytes.")


class RequestBody:
    """A request body that is read once, and never beyond the limit; and afterwards the news that the client is gone."""

    def __init__(self, receive: Receive, max_bytes: int) -> None:
        self._receive = receive
        self._max_bytes = max_bytes
        self._size = 0
        self._watches: list[_Watch] = []
        self.is_complete = False
        """Whether all of it has been read: what comes from the client then is that it goes away."""

    async def receive(self) -> MutableMapping[str, Any]:
        """The ASGI message, its body counted; for frameworks that read by themselves."""
        message = await self._receive()
        self._size += len(cast(bytes, message.get("body", b"")))
        if self._size > self._max_bytes:
            raise too_large(self._max_bytes)
        return message

    async def read(self) -> bytes:
        """The whole body. RequestError: 413 beyond the limit, 400 when the client went away in the middle."""
        chunks: list[bytes] = []
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise RequestError(400, "The request ended before its body did.")
            chunks.append(cast(bytes, message.get("body", b"")))
            if not message.get("more_body", False):
                self.is_complete = True
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def watch_disconnect(self, callback: Callable[[], None]) -> Callable[[], None]:
        """See `HttpRequest.watch_disconnect`."""
        watch = _Watch(self, callback)
        self._watches.append(watch)
        return watch.end

    def end_watches(self) -> None:
        """End what `watch_disconnect` began: from here on a disconnect may only mean that the reply was sent."""
        for watch in self._watches:
            watch.end()

    async def wait_disconnect(self) -> None:
        """Return when the client is gone, or the reply is complete. A body that nobody read is passed over.

        May be cancelled and called again, and called by two tasks at a time.
        """
        while (await self._receive())["type"] != "http.disconnect":
            pass


class _Watch:
    """A timer, and only for requests that outlive it a task."""

    __slots__ = ("_body", "_callback", "_task", "_timer")

    def __init__(self, body: RequestBody, callback: Callable[[], None]) -> None:
        self._body = body
        self._callback = callback
        self._task: asyncio.Task[None] | None = None
        self._timer = self._arm()

    def end(self) -> None:
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _arm(self) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(WATCH_AFTER_SECONDS, self._look)

    def _look(self) -> None:
        if not self._body.is_complete:
            self._timer = self._arm()
            return
        self._task = asyncio.create_task(self._wait())
        self._task.add_done_callback(_log_failure)

    async def _wait(self) -> None:
        await self._body.wait_disconnect()
        self._callback()


class OpenStreams:
    """Sends event streams, and can end all of them."""

    def __init__(self, *, keep_alive_seconds: float = KEEP_ALIVE_SECONDS) -> None:
        self._keep_alive_seconds = keep_alive_seconds
        self._open: set[_Sending] = set()
        self._is_empty = asyncio.Event()
        self._is_empty.set()
        self._is_leaving = False
        self._is_ending = False

    def __len__(self) -> int:
        return len(self._open)

    @property
    def standing_count(self) -> int:
        return sum(1 for sending in self._open if sending.is_standing)

    async def send(self, stream: HttpStream, body: RequestBody, send: Send) -> None:
        """Send all of a stream, with comments where it is silent. `body` is the body of its request, already read."""
        sending = _Sending(stream, body, send, self._keep_alive_seconds)
        self._open.add(sending)
        self._is_empty.clear()
        limit: asyncio.TimerHandle | None = None
        if self._is_leaving:
            sending.leave()
        if self._is_ending:
            limit = asyncio.get_running_loop().call_later(STREAM_END_SECONDS, sending.interrupt)
        try:
            await sending.run()
        finally:
            if limit is not None:
                limit.cancel()
            self._open.discard(sending)
            if not self._open:
                self._is_empty.set()

    def leave(self) -> None:
        """Call every stream's `on_disconnect`, and that of each one still to come. Clients get what is yielded then."""
        self._is_leaving = True
        for sending in list(self._open):
            sending.leave()

    def end_those(self, is_meant: Callable[[str, Principal], bool]) -> None:
        """End the streams of whoever is meant, by package and person, where they wait."""
        for sending in list(self._open):
            stream = sending.stream
            if stream.principal is not None and is_meant(stream.package, stream.principal):
                sending.leave()
                sending.interrupt()

    async def end(self, seconds: float = STREAM_END_SECONDS) -> None:
        """Wait until all streams have ended; those that take longer than `seconds` are interrupted where they wait.

        Returns after twice that time also where a client that does not read keeps a stream from ending.
        """
        is_empty = await self._wait_empty(seconds)
        self._is_ending = True
        if is_empty:
            return
        for sending in list(self._open):
            sending.interrupt()
        await self._wait_empty(seconds)

    async def _wait_empty(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._is_empty.wait()
        except TimeoutError:
            return False
        return True


class _Sending:
    """One stream on its way. The task that calls `run` iterates and closes the chunks; a second one watches the client.

    The watching task ends just before the last piece is sent: after that, "disconnected" says no more than that the
    reply is complete, and a comment would be an error.
    """

    def __init__(self, stream: HttpStream, body: RequestBody, send: Send, keep_alive_seconds: float) -> None:
        self.stream = stream
        self._body = body
        self._send = send
        self._keep_alive_seconds = keep_alive_seconds
        self._on_disconnect = stream.on_disconnect
        self._loop = asyncio.get_running_loop()
        self._sent_at = self._loop.time()
        self._writing = asyncio.Lock()
        self._limit: asyncio.Timeout | None = None
        self._has_begun = False
        self._is_gone = False
        self._is_left = False
        self._is_interrupted = False

    @property
    def is_standing(self) -> bool:
        return self.stream.is_standing

    async def run(self) -> None:
        try:
            await self._send_head()
            watching = asyncio.create_task(self._watch())
            watching.add_done_callback(_log_failure)
            try:
                await self._send_chunks()
            finally:
                watching.cancel()
                await asyncio.wait((watching,))
            await self._send({"type": "http.response.body", "body": b""})
        finally:
            self._on_disconnect = None
            await self.stream.chunks.aclose()

    def leave(self) -> None:
        """Call `on_disconnect`, once; not before the chunks have begun, as what has not begun cannot be told to end."""
        self._is_left = True
        if self._has_begun:
            self._call_on_disconnect()

    def interrupt(self) -> None:
        """Cancel the wait for the next chunk; the reply ends there."""
        if not self._is_interrupted:
            self._is_interrupted = True
            if self._limit is not None:
                self._limit.reschedule(self._loop.time())

    async def _send_head(self) -> None:
        head = {"type": "http.response.start", "status": self.stream.status, "headers": self.stream.headers}
        # Closing a generator that never began runs nothing of it: this call is all that its owner hears.
        with undo_on_failure(self._call_on_disconnect):
            await self._send(head)

    async def _send_chunks(self) -> None:
        self._loop.call_soon(self._begin)
        limit = asyncio.timeout_at(self._loop.time() if self._is_interrupted else None)
        try:
            async with limit:
                self._limit = limit
                async for chunk in self.stream.chunks:
                    if self._is_gone:
                        return
                    async with self._writing:
                        await self._write(chunk)
        except TimeoutError:
            if not limit.expired():
                raise
        finally:
            self._limit = None

    def _begin(self) -> None:
        """Runs when the chunks wait for something for the first time, or have ended."""
        self._has_begun = True
        if self._is_left:
            self._call_on_disconnect()

    async def _write(self, chunk: bytes) -> None:
        await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
        self._sent_at = self._loop.time()

    async def _watch(self) -> None:
        while True:
            silence = asyncio.timeout_at(self._sent_at + self._keep_alive_seconds)
            try:
                async with silence:
                    await self._body.wait_disconnect()
            except TimeoutError:
                if not silence.expired():
                    raise
                await self._break_silence()
            else:
                self._is_gone = True
                self._call_on_disconnect()
                return

    async def _break_silence(self) -> None:
        async with self._writing:  # a client that reads slowly has perhaps not even got the last chunk
            if self._loop.time() >= self._sent_at + self._keep_alive_seconds:
                await self._write(COMMENT)

    def _call_on_disconnect(self) -> None:
        on_disconnect, self._on_disconnect = self._on_disconnect, None
        if on_disconnect is not None:
            on_disconnect()


def _log_failure(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and task.exception() is not None:
        logger.error("watching a client failed", exc_info=task.exception())


async def send_reply(reply: HttpReply, send: Send, more: Headers = ()) -> None:
    """`more` are further header fields."""
    headers = (*reply.headers, *more, (b"content-length", b"%d" % len(reply.body)))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


async def send_answer(
    answer: HttpReply | HttpStream, streams: OpenStreams, body: RequestBody, send: Send, call: Call | None = None
) -> None:
    """Send a reply to its end, or that of its stream, which is that of the call."""
    try:
        more = () if call is None else call.headers
        if isinstance(answer, HttpReply):
            await send_reply(answer, send, more)
        else:
            answer.headers = (*answer.headers, *more)
            await streams.send(answer, body, send)
    finally:
        if call is not None:
            call.end(answer.status)
