"""A PostgreSQL on loopback that lets everybody in, writes down with what, and answers every question with a name.

As much of the protocol (version 3.0) as a client needs that asks simple questions: a password in clear text, one row.
"""

import asyncio
import contextlib
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from tests.known_servers.stub import ApiStub

SSL_REQUEST: Final = 80877103
ASK_PASSWORD: Final = b"R" + struct.pack("!II", 8, 3)
WELCOME: Final = b"R" + struct.pack("!II", 8, 0)
READY: Final = b"Z" + struct.pack("!I", 5) + b"I"
TEXT: Final = 25
"""The type of the column."""


@asynccontextmanager
async def open_database(stub: ApiStub) -> AsyncGenerator[str]:
    """HOST:PORT of a database that tells `stub` whose password came."""
    connections: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(_Connection(stub, reader, writer).serve())
        connections.add(task)
        task.add_done_callback(connections.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


@dataclass(slots=True)
class _Connection:
    stub: ApiStub
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def serve(self) -> None:
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._serve()
        finally:
            self.writer.close()

    async def _serve(self) -> None:
        parameters = await self._read_start()
        names = parameters.rstrip(b"\0").decode().split("\0")
        about = dict(zip(names[::2], names[1::2], strict=True))
        self.writer.write(ASK_PASSWORD)
        _, password = await self._read()
        parts = [("user", about["user"]), ("password", password.rstrip(b"\0").decode())]
        # `note` looks at what is sent, and waits for the other person.
        person = await self.stub.note(f"CONNECT DATABASE/{quote(about['database'])}", parts)
        self.writer.write(WELCOME + READY)
        while True:
            kind, question = await self._read()
            if kind != b"Q":
                return
            is_select = question.lstrip().upper().startswith(b"SELECT")
            self.writer.write((_row(person or "nobody") if is_select else b"") + _message(b"C", b"DONE\0") + READY)

    async def _read_start(self) -> bytes:
        while True:
            (length,) = struct.unpack("!I", await self.reader.readexactly(4))
            body = await self.reader.readexactly(length - 4)
            (version,) = struct.unpack("!I", body[:4])
            if version != SSL_REQUEST:
                return body[4:]
            self.writer.write(b"N")

    async def _read(self) -> tuple[bytes, bytes]:
        kind = await self.reader.readexactly(1)
        (length,) = struct.unpack("!I", await self.reader.readexactly(4))
        return kind, await self.reader.readexactly(length - 4)


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


def _row(name: str) -> bytes:
    """One row with one column."""
    column = b"name\0" + struct.pack("!IHIhih", 0, 0, TEXT, -1, -1, 0)
    value = name.encode()
    return _message(b"T", struct.pack("!H", 1) + column) + _message(b"D", struct.pack("!HI", 1, len(value)) + value)
