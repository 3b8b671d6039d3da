"""What the drivers of clients that log in share: events on stdout, orders on stdin, and a listener for the code.

A driver gets one argument, `{"url": "http://…/mcp"}` with further keys where it needs them. It connects, calls the tool
`whoami`, and prints `{"event": "called", "text": …}`; each line `{"do": "call"}` on stdin makes it call again in the
same session. Where the session is gone it connects once more, with what it knows of the login. `{"event": "open"}` is
what would open a browser. The drivers run in the environments of their clients, so that this needs nothing but Python.
"""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, cast
from urllib.parse import parse_qsl, urlsplit

Json = dict[str, Any]
Call = Callable[[], Awaitable[str]]

TOOL: Final = "whoami"
CALL_LIMIT_SECONDS: Final = 60.0
CALLBACK_PATH: Final = "/callback"


def say(event: str, **values: object) -> None:
    print(json.dumps({"event": event, **values}), flush=True)  # noqa: T201


class Callback:
    """The redirect URI of a program on this machine."""

    def __init__(self, port: int, answered: "asyncio.Queue[dict[str, str]]") -> None:
        self.url = f"http://localhost:{port}{CALLBACK_PATH}"
        self._answered = answered

    async def wait(self) -> dict[str, str]:
        """The parameters that the browser brings."""
        return await self._answered.get()


@asynccontextmanager
async def open_callback() -> AsyncGenerator[Callback]:
    answered: asyncio.Queue[dict[str, str]] = asyncio.Queue()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = (await reader.readline()).decode().split(" ")[1]
        while (await reader.readline()).strip():
            pass
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()
        if urlsplit(target).path == CALLBACK_PATH:
            answered.put_nowait(dict(parse_qsl(urlsplit(target).query)))

    # Not "localhost", which is two addresses on most machines, and each would get a port of its own.
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield Callback(port, answered)
    finally:
        server.close()


async def converse(connect: Callable[[], AbstractAsyncContextManager[Call]]) -> None:
    """Call the tool once, and again at each order, until told to stop or the orders end."""
    orders = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    failures: list[str] = []
    is_asked = True
    while len(failures) < 2:
        try:
            async with connect() as call:
                while True:
                    if not is_asked and not await _is_next_call(orders):
                        return
                    is_asked = True
                    async with asyncio.timeout(CALL_LIMIT_SECONDS):
                        text = await call()
                    is_asked = False
                    failures.clear()
                    say("called", text=text)
        except (Exception, BaseExceptionGroup) as error:
            if not is_asked:
                # It ended while nobody asked it anything: the next call connects again.
                if not await _is_next_call(orders):
                    return
                is_asked = True
            failures.append(describe(error))
    say("failed", text=" / ".join(failures))


async def _is_next_call(orders: asyncio.StreamReader) -> bool:
    line = await orders.readline()
    return bool(line) and json.loads(line)["do"] == "call"


def describe(error: BaseException) -> str:
    """The exceptions of a group are what went wrong, not the group."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return "; ".join(describe(part) for part in group.exceptions)
    return f"{type(error).__name__}: {error}"


def run(talk: Callable[[Json], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(talk(json.loads(sys.argv[1])))
