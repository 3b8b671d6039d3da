"""A gateway on a real socket in the test's own event loop."""

import asyncio
import os
import select
import socket
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx2
import uvicorn

from fluidmcp.config.entries import AuthBlock, EnvVariable, ServerEntry
from fluidmcp.config.isolation import IsolationLevel
from fluidmcp.config.settings import GatewaySettings, IsolationSettings, ProcessLimits
from fluidmcp.gateway.composition import GatewayOptions
from fluidmcp.gateway.lifecycle import Gateway
from fluidmcp.guards.gateway_auth import GatewayGuard
from fluidmcp.guards.gateway_login import ForeignIssuer, GatewayProvider
from fluidmcp.oauth_client.fetch import Fetcher
from fluidmcp.processes.starter_child import landlock
from fluidmcp.store.memory import MemoryStore, Store
from tests.front import HAS_FRONT
from tests.providers.serving import PromptServer

LIMIT_SECONDS = 60.0
VISIBLE: IsolationLevel = "landlock" if sys.platform == "linux" and landlock.abi() else "none"
"""Tests tell processes apart by their numbers, and end them by these: in a PID namespace all have the same one."""
STDLIB_SERVER = Path(__file__).parent.parent / "servers" / "stdlib_server.py"


class AnnouncingServer(PromptServer):
    """uvicorn tells nobody when it has started; this one sets an event."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.has_started = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.has_started.set()


def announcing_server(gateway: Gateway) -> AnnouncingServer:
    return AnnouncingServer(
        uvicorn.Config(
            gateway.app,
            http=cast(Any, gateway.choose_protocol()),
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            ws="none",
        )
    )


@dataclass
class RunningGateway:
    gateway: Gateway
    url: str
    client: httpx2.AsyncClient
    server: AnnouncingServer

    @property
    def pending_logins(self) -> int:
        """Logins that wait for their callback."""
        store = self.gateway.parts.logins.services.pending_auth_states
        assert isinstance(store, MemoryStore)
        return len(store)

    async def rpc(self, package: str, method: str, params: Any = None, **headers: str) -> httpx2.Response:
        """One bare JSON-RPC request."""
        message: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": method}
        if params is not None:
            message["params"] = params
        return await self.client.post(f"/{package}/mcp", json=message, headers=headers)

    async def call(self, package: str, tool: str, arguments: Any = None, **headers: str) -> str:
        """The text that a tool answers."""
        response = await self.rpc(package, "tools/call", {"name": tool, "arguments": arguments or {}}, **headers)
        assert response.status_code == 200, response.text
        return str(response.json()["result"]["content"][0]["text"])

    async def wait_hanging(self, package: str, **headers: str) -> None:
        """Until a call of the tool `hang` has come to the server process that these headers lead to."""
        async with asyncio.timeout(LIMIT_SECONDS):
            while await self.call(package, "waiting", **headers) == "0":
                pass


async def wait_ended(pid: int) -> None:
    """Until the process has ended. It is not reaped by this: its exit code is for the gateway."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        ended, _, _ = await asyncio.to_thread(select.select, [descriptor], [], [], LIMIT_SECONDS)
    finally:
        os.close(descriptor)
    assert ended, f"process {pid} still runs"


def stdlib_entry(name: str = "echo", *args: str, auth: AuthBlock | None = None, **env: str) -> ServerEntry:
    return ServerEntry(
        name=name,
        command=sys.executable,
        args=("-I", str(STDLIB_SERVER), *args),
        env=tuple((key, EnvVariable(value=value)) for key, value in env.items()),
        auth=auth,
        directory=STDLIB_SERVER.parent,
        source="a test",
    )


@asynccontextmanager
async def running_gateway(
    entries: Sequence[ServerEntry],
    environ: Mapping[str, str] | None = None,
    *,
    limits: ProcessLimits | None = None,
    guard: GatewayGuard | None = None,
    background: Callable[[], Coroutine[Any, Any, None]] | None = None,
    keep_alive_seconds: float = 15.0,
    gateway_provider: GatewayProvider | None = None,
    foreign_issuer: ForeignIssuer | None = None,
    client_fetcher: Fetcher | None = None,
    grants: Store | None = None,
    port: int = 0,
    base_path: str = "",
    **settings: Any,
) -> AsyncGenerator[RunningGateway]:
    # Told that it is TCP, or the event loop leaves Nagle's algorithm on, and small replies wait for acknowledgements.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        port = listener.getsockname()[1]
        settings.setdefault("isolation", IsolationSettings(level=VISIBLE))
        settings.setdefault("has_front", HAS_FRONT)
        settings.setdefault("public_url", f"http://127.0.0.1:{port}{base_path}")
        gateway = Gateway(
            GatewaySettings(port=port, limits=limits or ProcessLimits(), **settings),
            entries,
            {"PATH": "/usr/bin:/bin", **(environ or {})},
            GatewayOptions(
                guard=guard,
                keep_alive_seconds=keep_alive_seconds,
                gateway_provider=gateway_provider,
                foreign_issuer=foreign_issuer,
                client_fetcher=client_fetcher,
                grants=grants,
            ),
            background=background,
        )
        await gateway.start()
        server = announcing_server(gateway)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            async with asyncio.timeout(30):
                await server.has_started.wait()
            url = f"http://127.0.0.1:{port}{base_path}"
            async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=60) as client:
                yield RunningGateway(gateway, url, client, server)
        finally:
            await gateway.close()
            server.should_exit = True
            await serving
