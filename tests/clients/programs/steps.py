"""What the driver programs in Python share: the steps of a conversation, and the one JSON object that is printed.

A program gets one argument, `{"urls": {"dual": "http://…"}, "mode": "legacy"}` with further keys where it needs them,
talks to all servers at once, and prints `{"dual": {"protocol": …, "tools": …, …}}`. A step that fails is the text of
its failure; a feature that the client has no way to ask for is UNSUPPORTED. The programs run in the environments of
their clients, so that this module needs nothing but Python.
"""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Final, TypeVar, cast

UNSUPPORTED: Final = "unsupported"

# Tools that each server has.
ECHO: Final = "echo"
REPORT_PROGRESS: Final = "test_tool_with_progress"
ASK: Final = "test_input_required_result_elicitation"
WAIT: Final = "wait_for_cancel"

TEXT: Final = "Grüße, 世界"
NAME: Final = "Ada"
"""What the person answers to the question of the tool ASK."""

STEP_LIMIT_SECONDS: Final = 45.0

CLOSED: Final = ("ClosedResourceError", "BrokenResourceError")
"""What a stream of the Python SDKs raises where its own end is closed, and where the other one is."""

T = TypeVar("T")
Json = dict[str, Any]
Talk = Callable[[str, Json], Coroutine[Any, Any, Json]]
"""A conversation with the server at a URL, given the argument of the program."""


class Waiting:
    """The other end of the tool WAIT: it connects when it starts, and writes how it ended.

    `outcome` is `cancelled`, or that the server went away without a word.
    """

    def __init__(self) -> None:
        self.port = 0
        self.outcome = ""
        self.has_started = asyncio.Event()
        self.has_ended = asyncio.Event()

    async def read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            if await reader.readline() == b"started\n":
                self.has_started.set()
            self.outcome = (await reader.readline()).decode().strip()
        self.outcome = self.outcome or "connection closed"
        self.has_ended.set()
        writer.close()


@asynccontextmanager
async def open_waiting() -> AsyncGenerator[Waiting]:
    waiting = Waiting()
    server = await asyncio.start_server(waiting.read, "127.0.0.1", 0)
    waiting.port = server.sockets[0].getsockname()[1]
    try:
        yield waiting
    finally:
        server.close()


async def cancel_while_running(
    call: Callable[[Json], Coroutine[Any, Any, Any]], cancel: Callable[[], Awaitable[None]] | None = None
) -> str:
    """Call WAIT, and once the server is in it, cancel: by `cancel`, or as a task is cancelled. What the server saw."""
    async with open_waiting() as waiting:
        task = asyncio.create_task(call({"port": waiting.port}))
        started = asyncio.create_task(waiting.has_started.wait())
        try:
            await asyncio.wait({task, started}, return_when=asyncio.FIRST_COMPLETED)
            if not waiting.has_started.is_set():
                return f"answered before it was cancelled: {await task}"
            if cancel is not None:
                await cancel()
            else:
                task.cancel()
            await waiting.has_ended.wait()
            return waiting.outcome
        finally:
            started.cancel()
            task.cancel()
            await asyncio.wait({task, started})


async def take(step: Coroutine[Any, Any, T]) -> T | str:
    """What the step gives, or the text of its failure: one that fails must not hide the others."""
    (taken,) = await asyncio.gather(asyncio.wait_for(step, STEP_LIMIT_SECONDS), return_exceptions=True)
    return f"failed: {_describe(taken)}" if isinstance(taken, BaseException) else taken


@contextmanager
def forgive_close(seen: Json) -> Generator[None]:
    """Around a client of the Python SDKs, which fail where they are closed while the answer to a cancelled call comes
    in: to which end of the stream that happens first is a matter of luck. What was seen until then, if it is all,
    counts.
    """
    try:
        yield
    except (Exception, BaseExceptionGroup) as error:
        if not seen or not _describe(error).startswith(CLOSED):
            raise


def run(talk: Talk) -> None:
    """Talk to each of the URLs at once, print the conversations."""
    given = json.loads(sys.argv[1])
    json.dump(asyncio.run(_talk_to_all(talk, given)), sys.stdout)


async def _talk_to_all(talk: Talk, given: Json) -> Json:
    urls: dict[str, str] = given["urls"]
    talks = await asyncio.gather(*(talk(url, given) for url in urls.values()), return_exceptions=True)
    return {
        name: {"failed": _describe(seen)} if isinstance(seen, BaseException) else seen
        for name, seen in zip(urls, talks, strict=True)
    }


def _describe(error: BaseException) -> str:
    """The exceptions of a group are what went wrong, not the group."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return "; ".join(_describe(part) for part in group.exceptions)
    return f"{type(error).__name__}: {error}"
