"""Requests whose server process takes long to start: their clients get an event stream instead of silence.

A first start may download for minutes, and clients and proxies give up on a connection on which nothing moves. So the
stream begins after a while, says in a comment what goes on, and stays open with comments; what comes of the request is
its last event, a failure too. Its status and headers cannot be told any more then, but for those known before.

Only a start is waited for in this way: whoever waits for room or for a lane is answered with a status.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import aclosing
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from fluidmcp.gateway.http import STREAM_HEADERS, HttpReply, HttpRequest, HttpStream
from fluidmcp.gateway.mcp.pending import Answer, Outcome, PendingReply
from fluidmcp.processes.pool.starts import StartProgress, StartState
from fluidmcp.protocol.sse import encode_comment, encode_event

Handle: TypeAlias = Callable[[HttpRequest], Coroutine[Any, Any, Outcome]]
"""Answers a request; its failures are replies."""
Describe: TypeAlias = Callable[[], StartProgress | None]
"""How far the start is that the request may be waiting for; None where nothing starts."""

_WORDS: Final[Mapping[StartState, str]] = MappingProxyType(
    {"waiting": "waits for its turn to start", "starting": "is starting", "installing": "is installing"}
)


async def answer_or_stream(
    request: HttpRequest, handle: Handle, *, package: str, patience_seconds: float, describe: Describe
) -> Answer:
    """The reply to a request whose client takes an event stream: what `handle` gives, or a stream that ends with it."""
    waiting = _SlowStart(request, handle)
    try:
        while not await waiting.is_done_within(patience_seconds):
            progress = describe()
            if progress is not None:
                return waiting.open_stream(f"{package} {_WORDS[progress.state]}")
        outcome = waiting.outcome
    except BaseException:
        await waiting.give_up()
        raise
    return await outcome.wait(request) if isinstance(outcome, PendingReply) else outcome


class _SlowStart:
    """One request that is being handled, in a task of its own, which goes on when the reply has begun."""

    def __init__(self, request: HttpRequest, handle: Handle) -> None:
        self._request = replace(request, watch_disconnect=self._watch)
        self._watch_before_head = request.watch_disconnect
        self._task = asyncio.create_task(handle(self._request))
        self._watchers: dict[_Watcher, None] = {}
        self._has_begun = False
        """Whether the reply is a stream by now."""
        self._is_read = False
        """Whether somebody reads that."""
        self._is_gone = False
        self._opened: HttpStream | None = None

    @property
    def outcome(self) -> Outcome:
        return self._task.result()

    async def is_done_within(self, seconds: float) -> bool:
        done, _ = await asyncio.wait({self._task}, timeout=seconds)
        return bool(done)

    async def give_up(self) -> None:
        """Nobody waits for it any more."""
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task})
        self._drop()

    def open_stream(self, comment: str) -> HttpStream:
        self._has_begun = True
        headers = (*STREAM_HEADERS, *self._request.early_headers)
        self._opened = HttpStream(self._stream(comment), headers=headers, on_disconnect=self._lose_client)
        return self._opened

    async def _stream(self, comment: str) -> AsyncGenerator[bytes, None]:
        is_taken, self._is_read = False, True
        try:
            yield encode_comment(comment)
            await asyncio.wait({self._task})
            outcome = self.outcome
            is_taken = True
            if isinstance(outcome, HttpReply):
                yield encode_event(outcome.body)
                return
            stream = outcome.open_stream(None) if isinstance(outcome, PendingReply) else outcome
            if self._opened is not None:
                self._opened.is_standing = stream.is_standing
            if stream.on_disconnect is not None:
                self._watch(stream.on_disconnect)
            async with aclosing(stream.chunks) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            if not is_taken:
                await self.give_up()

    def _drop(self) -> None:
        """End what the handling has begun, where nobody takes it."""
        if self._task.cancelled() or self._task.exception() is not None:
            return
        outcome = self._task.result()
        if isinstance(outcome, PendingReply):
            outcome.cancel()
            outcome.deliver(_take_nothing)
            outcome.abandon()
        elif isinstance(outcome, HttpStream) and outcome.on_disconnect is not None:
            outcome.on_disconnect()

    # -- the client goes away ----------------------------------------------------------------------------------------

    def _watch(self, callback: Callable[[], None]) -> Callable[[], None]:
        """As `HttpRequest.watch_disconnect`, also after the reply has begun."""
        watcher = _Watcher(callback)
        self._watchers[watcher] = None
        if self._is_gone:
            asyncio.get_running_loop().call_soon(watcher.tell)
        elif not self._has_begun:
            watcher.end_before_head = self._watch_before_head(watcher.tell)
        return watcher.end

    def _lose_client(self) -> None:
        self._is_gone = True
        for watcher in list(self._watchers):
            watcher.tell()
        if not self._is_read:
            # The head could not be sent, and nobody takes what comes of the request.
            self._task.cancel()
            self._task.add_done_callback(lambda _: self._drop())


class _Watcher:
    """Told once, or not at all after its end."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback: Callable[[], None] | None = callback
        self.end_before_head: Callable[[], None] | None = None

    def tell(self) -> None:
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()

    def end(self) -> None:
        self._callback = None
        if self.end_before_head is not None:
            self.end_before_head()


def _take_nothing(_: Answer) -> None:
    """Nobody is there to be answered."""
