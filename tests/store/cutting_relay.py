"""A relay before Redis that loses answers: the command is done, and its connection ends."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator


class CuttingRelay:
    """`cuts` answers to scripts are lost from now on; everything else passes."""

    def __init__(self, to_port: int) -> None:
        self.cuts = 0
        self.port = 0
        self._to_port = to_port
        self._open: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = {}

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open[asyncio.current_task()] = writer
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._to_port)
        asked: list[bytes] = []
        answering = asyncio.create_task(self._answer(inner_reader, asked, writer))
        with contextlib.suppress(OSError):
            while read := await reader.read(65536):
                asked.append(read)
                inner_writer.write(read)
        inner_writer.close()
        await answering
        del self._open[asyncio.current_task()]

    async def _answer(self, reader: asyncio.StreamReader, asked: list[bytes], writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while read := await reader.read(65536):
                if self.cuts and b"EVAL" in asked[-1]:
                    self.cuts -= 1
                    break
                writer.write(read)
        writer.close()

    async def aclose(self) -> None:
        for writer in self._open.values():
            writer.close()
        await asyncio.gather(*(task for task in self._open if task is not None))


@contextlib.asynccontextmanager
async def cutting_relay(to_port: int) -> AsyncGenerator[CuttingRelay]:
    relay = CuttingRelay(to_port)
    async with await asyncio.start_server(relay.relay, "127.0.0.1", 0) as server:
        relay.port = server.sockets[0].getsockname()[1]
        try:
            yield relay
        finally:
            await relay.aclose()
