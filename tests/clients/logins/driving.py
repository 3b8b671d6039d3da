"""A driver program with its client: what it says, what it is told, and the browser that it opens."""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests import parts
from tests.acceptance.harness import environment, free_port
from tests.clients.logins.browser import Trip, walk

PROGRAMS: Final = Path(__file__).with_name("programs")
ANSWER_LIMIT_SECONDS: Final = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A client that logs in by itself. `runs_in` is "node", an environment of .parts, or "" for that of the tests."""

    id: str
    driver: str
    mode: str = ""
    runs_in: str = ""
    npm: str = ""

    @property
    def interpreter(self) -> Path:
        if self.runs_in == "node":
            return parts.node_path() or Path("node")
        return parts.ROOT / ".parts" / self.runs_in / "bin" / "python" if self.runs_in else Path(sys.executable)

    def find_missing(self) -> str | None:
        """None when the client can run; otherwise what is missing."""
        needed = [self.interpreter, *([parts.NODE_MODULES / self.npm] if self.npm else [])]
        if self.npm and parts.node_path() is None:
            return parts.missing_part("node")
        missing = [path for path in needed if not path.exists()]
        return f"{self.id} is missing: run scripts/install-parts" if missing else None


CLIENTS: Final = (
    Client(id="python-sdk-1", driver="python_sdk_1.py", runs_in="mcp1"),
    Client(id="python-sdk-2-legacy", driver="python_sdk_2.py", mode="legacy"),
    Client(id="python-sdk-2-auto", driver="python_sdk_2.py", mode="auto"),
    Client(id="typescript-sdk-1", driver="typescript_sdk_1.mjs", runs_in="node", npm="@modelcontextprotocol/sdk"),
    Client(
        id="typescript-sdk-2-legacy",
        driver="typescript_sdk_2.mjs",
        mode="legacy",
        runs_in="node",
        npm="@modelcontextprotocol/client",
    ),
    Client(
        id="typescript-sdk-2-auto",
        driver="typescript_sdk_2.mjs",
        mode="auto",
        runs_in="node",
        npm="@modelcontextprotocol/client",
    ),
    Client(id="fastmcp", driver="fastmcp_client.py", mode="auto", runs_in="clients_mcp2"),
    Client(id="mcp-remote", driver="mcp_remote.py", mode="auto", npm="mcp-remote"),
    Client(id="inspector-cli", driver="inspector_cli.py", mode="auto", npm="@modelcontextprotocol/inspector"),
)


@dataclass
class DrivenClient:
    """A running driver. `trips` are the browsers that it opened."""

    process: asyncio.subprocess.Process
    gateway_url: str
    person: str
    keys: Mapping[str, str] = field(default_factory=dict[str, str])
    """What the person types on our page of keys."""
    authority: Path | None = None
    """The certificate that its browser trusts."""
    trips: list[Trip] = field(default_factory=list[Trip])
    stderr: list[str] = field(default_factory=list[str])

    async def wait_called(self) -> str:
        """What the tool answered; the browser is played where the client opens one."""
        async with asyncio.timeout(ANSWER_LIMIT_SECONDS):
            while True:
                event = await self._read_event()
                match event["event"]:
                    case "open":
                        trip = await walk(
                            event["url"],
                            person=self.person,
                            gateway_url=self.gateway_url,
                            keys=self.keys,
                            authority=self.authority,
                        )
                        self.trips.append(trip)
                    case "called":
                        return str(event["text"])
                    case _:
                        raise AssertionError(f"{event}\n{self.report()}")

    async def call(self) -> str:
        """Another call in the same session, where there still is one."""
        await self._order("call")
        return await self.wait_called()

    async def stop(self) -> None:
        await self._order("stop")
        async with asyncio.timeout(ANSWER_LIMIT_SECONDS):
            await self.process.wait()

    def report(self) -> str:
        """The end of what it wrote to stderr."""
        return "\n".join(self.stderr[-60:])

    async def _order(self, what: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": what}).encode() + b"\n")
        await self.process.stdin.drain()

    async def _read_event(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        assert line, f"the driver ended: {self.report()}"
        return json.loads(line)


@asynccontextmanager
async def driven(
    client: Client,
    url: str,
    home: Path,
    *,
    gateway_url: str,
    person: str = "alice",
    keys: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
    authority: Path | None = None,
    **more: str,
) -> AsyncGenerator[DrivenClient]:
    """The client with a home directory, ended with the block; it and its browser trust `authority`."""
    trusting = {} if authority is None else dict.fromkeys(("SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"), str(authority))
    argument = {
        "url": url,
        "mode": client.mode,
        "node": str(parts.node_path()),
        "package": str(parts.NODE_MODULES / client.npm),
        "home": str(home),
        "port": free_port(),
        **more,
    }
    process = await asyncio.create_subprocess_exec(
        str(client.interpreter),
        str(PROGRAMS / client.driver),
        json.dumps(argument),
        env=environment({"HOME": str(home), **trusting, **(env or {})}),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=1 << 20,
    )
    running = DrivenClient(process, gateway_url, person, keys or {}, authority)
    reading = asyncio.create_task(_collect(process, running.stderr))
    try:
        yield running
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await reading


async def _collect(process: asyncio.subprocess.Process, lines: list[str]) -> None:
    assert process.stderr is not None
    while line := await process.stderr.readline():
        lines.append(line.decode(errors="replace").rstrip())
