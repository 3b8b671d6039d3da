"""Requests that were sent at the last moment before a gateway stops listening are answered."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncGenerator
from functools import partial
from typing import Any

from fluidmcp.cli.serving.serve import Patience, Stop, serve
from fluidmcp.config.settings import ConnectionSettings
from fluidmcp.gateway.front.connection import LimitedProtocol
from fluidmcp.gateway.front.limits import ConnectionLimits
from fluidmcp.gateway.health import ServiceState
from tests.cli.test_serve import answer

LIMIT_SECONDS = 30.0
LONG_SECONDS = 3600.0
REQUEST = b"POST /x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n"


class Service:
    """As the gateway's: it counts what has no reply."""

    def __init__(self, state: ServiceState) -> None:
        self._state = state

    def leave(self) -> None:
        self._state.leave()

    def count_calls(self, open_requests: int) -> int:
        return open_requests


class LastMoment(socket.socket):
    """A listening socket that a client reaches just before it is closed: when the gateway takes what waits there."""

    last: "LastMoment | None" = None
    """The one that the gateway closes last."""
    client: socket.socket | None = None
    """Whoever came to this one at the last moment."""

    def dup(self) -> "LastMoment":
        self.last = super().dup()
        self.last.last = self.last
        return self.last

    def accept(self) -> tuple[socket.socket, Any]:
        if self.last is self and self.client is None:
            self.client = socket.create_connection(self.getsockname())
            self.client.sendall(REQUEST)
        return super().accept()


class Stage:
    """A server that is told to stop."""

    def __init__(self, listening: LastMoment, limits: ConnectionLimits, stop: Stop) -> None:
        self.listening = listening
        self.limits = limits
        self.stop = stop

    @property
    def late(self) -> socket.socket | None:
        """Whoever came at the last moment."""
        return None if self.listening.last is None else self.listening.last.client

    async def connect(self) -> socket.socket:
        """A connection that the gateway knows of."""
        client = socket.create_connection(self.listening.getsockname())
        async with asyncio.timeout(LIMIT_SECONDS):
            while not len(self.limits):
                await asyncio.sleep(0)
        return client


@contextlib.asynccontextmanager
async def serving(protocol: type[LimitedProtocol] = LimitedProtocol, **settings: float) -> AsyncGenerator[Stage]:
    state, stop = ServiceState(), Stop()
    limits = ConnectionLimits(ConnectionSettings(**settings), state)  # type: ignore[arg-type]
    listening = LastMoment(fileno=socket.create_server(("127.0.0.1", 0)).detach())
    with contextlib.closing(listening):
        end = serve(
            answer("well"),
            [listening],
            stop=stop,
            protocol=partial(protocol, limits=limits),
            service=Service(state),
            patience=Patience(drain=LONG_SECONDS),
        )
        task = asyncio.create_task(end)
        stage = Stage(listening, limits, stop)
        yield stage
        async with asyncio.timeout(LIMIT_SECONDS):
            await task
        if stage.late is not None:
            stage.late.close()


async def read_all(client: socket.socket) -> bytes:
    """What comes until the gateway closes the connection."""
    reader, writer = await asyncio.open_connection(sock=client)
    async with asyncio.timeout(LIMIT_SECONDS):
        answered = await reader.read()
    writer.close()
    return answered


def is_answered(text: bytes) -> bool:
    return text.startswith(b"HTTP/1.1 200 ") and text.endswith(b"well\r\n0\r\n\r\n")


async def test_a_connection_that_the_system_took_before_the_end_is_served() -> None:
    async with serving() as stage:
        stage.stop.request(signal.SIGTERM)
        async with asyncio.timeout(LIMIT_SECONDS):
            while stage.late is None:
                await asyncio.sleep(0)
        assert is_answered(await read_all(stage.late))


async def test_a_new_connection_may_send_its_request_after_the_end_of_listening() -> None:
    async with serving(expected_seconds=LONG_SECONDS) as stage:
        client = await stage.connect()
        stage.stop.request(signal.SIGTERM)
        async with asyncio.timeout(LIMIT_SECONDS):
            while stage.listening.fileno() >= 0:
                await asyncio.sleep(0)
        client.sendall(REQUEST)
        assert is_answered(await read_all(client))
        # That of the last moment is served too, and nobody waits for anybody else.
        assert stage.late is not None
        assert is_answered(await read_all(stage.late))


async def test_a_new_connection_that_sends_nothing_does_not_keep_the_gateway() -> None:
    async with serving(expected_seconds=0.01) as stage:
        client = await stage.connect()
        stage.stop.request(signal.SIGTERM)
        assert await read_all(client) == b""


async def test_a_request_that_was_not_read_yet_is_answered_on_a_connection_that_was_kept() -> None:
    client = socket.socket()

    class Late(LimitedProtocol):
        def shutdown(self) -> None:
            if self.client == client.getsockname():
                client.sendall(REQUEST)
            super().shutdown()

    async with serving(Late, expected_seconds=LONG_SECONDS) as stage:
        client.connect(stage.listening.getsockname())
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(client, REQUEST)
        async with asyncio.timeout(LIMIT_SECONDS):
            first = b""
            while not first.endswith(b"0\r\n\r\n"):
                first += await loop.sock_recv(client, 1000)
        stage.stop.request(signal.SIGTERM)
        assert is_answered(await read_all(client))
