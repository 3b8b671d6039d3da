"""Requests as bytes, and a server whose calls end when a test says so."""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fluidmcp.config.entries import ServerEntry
from tests.gateway.front.wire import LIMIT_SECONDS
from tests.gateway.running import RunningGateway

MIRROR = Path(__file__).parents[2] / "servers" / "mirror_server.py"
STATELESS = "io.modelcontextprotocol/"
VERSION = "2026-07-28"
BOTH = "application/json, text/event-stream"
PING = {"jsonrpc": "2.0", "id": 1, "method": "mirror/echo", "params": {"n": 1}}


def mirror_entry(*options: str) -> ServerEntry:
    return ServerEntry(
        name="mirror",
        command=sys.executable,
        args=("-I", str(MIRROR), *options),
        env=(),
        auth=None,
        directory=MIRROR.parent,
        source="a test",
    )


def post(message: Any, *lines: str, path: str = "/mirror/mcp", version: str = "1.1") -> bytes:
    """A POST; `message` is sent as JSON unless it is bytes, `lines` are further header lines."""
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    return post_head(len(body), *lines, path=path, version=version) + body


def post_head(length: int | str, *lines: str, path: str = "/mirror/mcp", version: str = "1.1") -> bytes:
    more = "".join(f"{line}\r\n" for line in lines)
    head = f"POST {path} HTTP/{version}\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n{more}"
    return f"{head}Content-Length: {length}\r\n\r\n".encode()


def stateless(method: str, request_id: int | None = 1, **params: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A message of revision 2026-07-28 and its header lines."""
    meta: dict[str, Any] = {f"{STATELESS}protocolVersion": VERSION, f"{STATELESS}clientCapabilities": {}}
    message: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": {**params, "_meta": meta}}
    if request_id is not None:
        message["id"] = request_id
    lines = [f"MCP-Protocol-Version: {VERSION}", f"Mcp-Method: {method}", f"Accept: {BOTH}"]
    if "name" in params:
        lines.append(f"Mcp-Name: {params['name']}")
    return message, tuple(lines)


def talk(gate: "Gate", name: str = "a", request_id: int = 1, **arguments: Any) -> dict[str, Any]:
    """A call that is answered when the gate lets it go."""
    params = {"name": "talk", "arguments": {"name": name, "port": gate.port, **arguments}}
    return {"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": params}


class Gate:
    """Where calls of the tool `talk` wait."""

    def __init__(self) -> None:
        self.port = 0
        self._arrived: asyncio.Queue[str] = asyncio.Queue()
        self._waiting: list[tuple[str, asyncio.StreamWriter]] = []

    async def arrived(self) -> str:
        """The name of the next call that has come here."""
        async with asyncio.timeout(LIMIT_SECONDS):
            return await self._arrived.get()

    def let_go(self, name: str = "a") -> None:
        for waiting, writer in self._waiting:
            if waiting == name:
                writer.close()

    async def admit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name = (await reader.readline()).decode().split(" ")[0]
        self._waiting.append((name, writer))
        self._arrived.put_nowait(name)

    def close(self) -> None:
        for _, writer in self._waiting:
            writer.close()


@asynccontextmanager
async def open_gate() -> AsyncGenerator[Gate]:
    gate = Gate()
    server = await asyncio.start_server(gate.admit, "127.0.0.1", 0)
    gate.port = server.sockets[0].getsockname()[1]
    try:
        yield gate
    finally:
        gate.close()
        server.close()


async def open_session(running: RunningGateway, version: str = "2025-11-25") -> str:
    """The id of a new session with the server `mirror`."""
    params = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    response = await running.rpc("mirror", "initialize", params, accept=BOTH)
    assert response.status_code == 200, response.text
    return str(response.headers["mcp-session-id"])
