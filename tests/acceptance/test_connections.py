"""The settings of HTTP connections, through the real executable."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from tests.acceptance.harness import RunningGateway, start_fluidmcp
from tests.gateway.running import STDLIB_SERVER

LIMIT_SECONDS = 20.0
HEAD = b"POST /echo/mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


class Client:
    """One raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def rest(self) -> bytes:
        """All that comes until the gateway closes the connection."""
        async with asyncio.timeout(LIMIT_SECONDS):
            text = await self.reader.read()
        self.writer.close()
        return text

    async def ping(self) -> bytes:
        body = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
        self.writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        async with asyncio.timeout(LIMIT_SECONDS):
            return await self.reader.readuntil(b"}}")


async def connect(gateway: RunningGateway, source: str = "127.0.0.1") -> Client:
    async with asyncio.timeout(LIMIT_SECONDS):
        return Client(*await asyncio.open_connection("127.0.0.1", gateway.port, local_addr=(source, 0)))


@pytest.fixture
def config(tmp_path: Path) -> str:
    server = {"command": sys.executable, "args": ["-I", str(STDLIB_SERVER)]}
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"mcpServers": {"echo": server}}))
    return str(path)


@pytest.mark.threat("E15")
async def test_e15_the_settings_bound_how_long_a_connection_may_wait(config: str) -> None:
    env = {"FMCP_HEADER_SECONDS": "1", "FMCP_KEEP_ALIVE_SECONDS": "1", "FMCP_MIN_BODY_RATE": "1000000"}
    async with start_fluidmcp("run", config, "--start-server", env=env) as gateway:
        idle = await connect(gateway)
        pinged = await idle.ping()
        silent, begun, slow = [await connect(gateway) for _ in range(3)]
        begun.writer.write(HEAD)
        slow.writer.write(HEAD + b"Content-Length: 100\r\n\r\nx")
        assert pinged.startswith(b"HTTP/1.1 200 ")
        assert await silent.rest() == b""
        assert (await begun.rest()).startswith(b"HTTP/1.1 408 ")
        assert await idle.rest() == b""
        assert (await slow.rest()).startswith(b"HTTP/1.1 408 ")


@pytest.mark.threat("E15")
@pytest.mark.parametrize("name", ["FMCP_MAX_CONNECTIONS", "FMCP_MAX_CONNECTIONS_PER_ADDRESS"])
async def test_e15_the_settings_bound_how_many_connections_wait(config: str, name: str) -> None:
    async with start_fluidmcp("run", config, "--start-server", env={name: "3"}) as gateway:
        clients = [await connect(gateway) for _ in range(3)]
        if name == "FMCP_MAX_CONNECTIONS_PER_ADDRESS":
            elsewhere = await connect(gateway, "127.0.0.2")
            assert (await elsewhere.ping()).startswith(b"HTTP/1.1 200 ")
            assert not clients[0].reader.at_eof()
            elsewhere.writer.close()
        last = await connect(gateway)
        assert (await last.ping()).startswith(b"HTTP/1.1 200 ")
        assert await clients[0].rest() == b""
        for client in (*clients[1:], last):
            assert not client.reader.at_eof()
            client.writer.close()
