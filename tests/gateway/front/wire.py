"""A raw HTTP client on one connection to a gateway in the same event loop, and the gateway's end of it.

Both ends are in one process, so a test can wait until everything that it sent has been read and nothing is being
answered any more, instead of for a while.
"""

import asyncio
import fcntl
import re
import socket
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

from fluidmcp.gateway.app import GatewayApp, Scope
from fluidmcp.gateway.front.connection import LimitedProtocol
from fluidmcp.gateway.http import Receive, Send
from tests.gateway.running import RunningGateway

LIMIT_SECONDS = 20.0
SIOCINQ = 0x541B
BYTES_RECEIVED, BYTES_UNSENT, BYTES_SENT, BYTES_SENT_AGAIN = 128, 144, 200, 208
"""Where these are in `struct tcp_info` (linux/tcp.h)."""
TURNS = 30
"""Of the event loop, in which what can be answered at once is answered."""
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n")


class CountingApp(GatewayApp):
    """Remembers which requests came to it: those that did not take the front."""

    calls: list[str]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.calls.append(f"{scope['method']} {scope['path']}")
        await super().__call__(scope, receive, send)


def count_calls(running: RunningGateway) -> list[str]:
    """The requests that reach the ASGI application from here on."""
    app = running.gateway.app
    app.__class__ = CountingApp
    counting = cast(CountingApp, app)
    counting.calls = []
    return counting.calls


class Wire(asyncio.Protocol):
    """The client's end; `gateway_end` is the other one."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.is_closed = False
        self._changed = asyncio.Event()
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.gateway_end: LimitedProtocol = cast(LimitedProtocol, None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.received += data
        self._changed.set()

    def eof_received(self) -> None:
        self.is_closed = True
        self._changed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closed = True
        self._changed.set()

    def send(self, data: bytes) -> None:
        self.transport.write(data)

    async def wait_closed(self) -> bytes:
        """All that came, once the gateway has closed the connection."""
        async with asyncio.timeout(LIMIT_SECONDS):
            while not self.is_closed:
                await self._change()
        return bytes(self.received)

    async def reply(self) -> bytes:
        """The next reply, which must tell its length; it is taken out of `received`."""
        async with asyncio.timeout(LIMIT_SECONDS):
            while (length := _find_reply(self.received)) is None:
                assert not self.is_closed, f"closed before a whole reply: {bytes(self.received)!r}"
                await self._change()
        taken = bytes(self.received[:length])
        del self.received[:length]
        return taken

    async def until(self, text: bytes) -> bytes:
        """Everything up to and with `text`; it is taken out of `received`."""
        async with asyncio.timeout(LIMIT_SECONDS):
            while text not in self.received:
                assert not self.is_closed, f"closed before {text!r}: {bytes(self.received)!r}"
                await self._change()
        length = self.received.index(text) + len(text)
        taken = bytes(self.received[:length])
        del self.received[:length]
        return taken

    async def delivered(self) -> None:
        """Until the gateway has read what was sent (or does not read any more), or has closed the connection."""
        async with asyncio.timeout(LIMIT_SECONDS):
            await asyncio.sleep(0)
            while not self.is_closed and not self._is_delivered():
                await asyncio.sleep(0)

    async def quiet(self) -> None:
        """Until the gateway has read what was sent and answered what it will answer, or closed the connection."""
        turns = 0
        async with asyncio.timeout(LIMIT_SECONDS):
            while not self.is_closed and turns < TURNS:
                await asyncio.sleep(0)
                turns = turns + 1 if self._is_delivered() and self._is_answered() else 0

    def _is_delivered(self) -> bool:
        if self.transport.get_write_buffer_size() or not _has_arrived(self.transport, wire_of(self.gateway_end)):
            return False
        end = self.gateway_end
        return end.transport.is_closing() or end.flow.read_paused or not _unread(wire_of(end))

    def _is_answered(self) -> bool:
        """Whether nothing is being answered; a request whose end has not come is refused in a few turns, or not yet."""
        end = self.gateway_end
        if end.transport.is_closing() or (end.is_answering and not _waits_for_body(end)):
            return False
        wire = wire_of(end)
        is_written = not wire.get_write_buffer_size() and _has_arrived(wire, self.transport)
        return is_written and not _unread(self.transport)

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()


def _socket_of(transport: asyncio.Transport) -> socket.socket | None:
    sock: Any = transport.get_extra_info("socket")
    return None if transport.is_closing() or sock is None or sock.fileno() < 0 else sock


def _unread(transport: asyncio.Transport) -> int:
    """How many bytes have arrived and were not read."""
    sock = _socket_of(transport)
    return 0 if sock is None else struct.unpack("i", fcntl.ioctl(sock.fileno(), SIOCINQ, bytes(4)))[0]


def _has_arrived(sender: asyncio.Transport, receiver: asyncio.Transport) -> bool:
    """Whether the receiver's system has all that the sender's took."""
    out, into = _socket_of(sender), _socket_of(receiver)
    if out is None or into is None:
        return True
    told, heard = (sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256) for sock in (out, into))
    sent, again = (struct.unpack_from("Q", told, at)[0] for at in (BYTES_SENT, BYTES_SENT_AGAIN))
    unsent: int = struct.unpack_from("I", told, BYTES_UNSENT)[0]
    return not unsent and sent - again <= struct.unpack_from("Q", heard, BYTES_RECEIVED)[0]


def _find_reply(data: bytes | bytearray) -> int | None:
    """How long the first reply is; None: it is not complete."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    length = _LENGTH.search(data, 0, end + 2)
    assert length is not None, f"a reply that does not tell its length: {bytes(data)!r}"
    whole = end + 4 + int(length[1])
    return whole if len(data) >= whole else None


@asynccontextmanager
async def connected(running: RunningGateway, *, source: str = "127.0.0.1") -> AsyncGenerator[Wire]:
    wire = await connect(running, source=source)
    try:
        yield wire
    finally:
        wire.transport.abort()


async def connect(running: RunningGateway, *, source: str = "127.0.0.1") -> Wire:
    loop = asyncio.get_running_loop()
    host, _, port = running.url.removeprefix("http://").partition(":")
    async with asyncio.timeout(LIMIT_SECONDS):
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind((source, 0))
        await loop.sock_connect(sock, (host, int(port)))
        _, wire = await loop.create_connection(Wire, sock=sock)
        address = sock.getsockname()
        while (end := find_end(running, address)) is None and not wire.is_closed:
            await asyncio.sleep(0)
        if end is not None:
            wire.gateway_end = end
    return wire


def find_end(running: RunningGateway, address: tuple[str, int]) -> LimitedProtocol | None:
    for connection in running.server.server_state.connections:
        if isinstance(connection, LimitedProtocol) and connection.client == address:
            return connection
    return None


def _waits_for_body(end: LimitedProtocol) -> bool:
    """Whether the only request that is not answered is one whose body has not come."""
    has_cycle = end._has_cycle  # pyright: ignore[reportPrivateUsage]
    return has_cycle and not end.is_between and not end.pipeline


def wire_of(end: LimitedProtocol) -> asyncio.Transport:
    """The transport itself: `transport` closes gently."""
    return end._wire  # pyright: ignore[reportPrivateUsage]
