"""Three gateways and a Valkey behind a real nginx, set up as docs/scaling.md shows it; each goes and comes back."""

import asyncio
import base64
import hashlib
import json
import secrets
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from tests import parts
from tests.acceptance.harness import RunningGateway, free_port, start_fluidmcp
from tests.acceptance.keys import block, running_key_api
from tests.acceptance.nginx import serving_as_shown
from tests.clients.logins.browser import OUR_CONSENT, OUR_KEYS
from tests.clients.logins.driving import CLIENTS, DrivenClient, driven
from tests.store.running_redis import RunningRedis, running_redis

PAGE: Final = parts.ROOT / "docs" / "scaling.md"
SERVER: Final = Path(__file__).parents[1] / "servers" / "stdlib_server.py"
SHOWN_PORTS: Final = (8101, 8102, 8103)
# Their drivers take an authority of our own.
IDS: Final = ("python-sdk-1", "python-sdk-2-auto", "typescript-sdk-1", "typescript-sdk-2-auto")
KEYS: Final = {name: secrets.token_hex(16) for name in IDS}
LIMIT_SECONDS: Final = 120.0

pytestmark = [pytest.mark.needs("nginx", "node", "redis-server")]


@dataclass
class Replicas:
    """The three gateways, which a test starts and ends by their number."""

    command: list[str]
    env: Mapping[str, str]
    ports: list[int]
    running: dict[int, RunningGateway] = field(default_factory=dict[int, RunningGateway])
    _stacks: dict[int, AsyncExitStack] = field(default_factory=dict[int, AsyncExitStack])

    async def start(self, number: int) -> None:
        stack = self._stacks[number] = AsyncExitStack()
        env = {**self.env, "FMCP_REPLICA": f"gateway-{number + 1}"}
        port = self.ports[number]
        command = [*self.command, "--port", str(port)]
        self.running[number] = await stack.enter_async_context(start_fluidmcp(*command, env=env, port=port))

    async def stop(self, number: int, *, with_signal: signal.Signals) -> None:
        await self.running.pop(number).stop(with_signal=with_signal)
        await self._stacks.pop(number).aclose()

    async def close(self) -> None:
        for stack in self._stacks.values():
            await stack.aclose()


@asynccontextmanager
async def balanced(folder: Path, redis: RunningRedis, api: str) -> AsyncGenerator[tuple[Replicas, str, Path]]:
    """The gateways behind nginx, their public address, and what clients have to trust."""
    auth: dict[str, Any] = block(api)
    env = {"GMAIL_ACCESS_TOKEN": "${keys.api_key}", "OTHER": "${keys.app_key}"}
    entry = {
        "command": sys.executable,
        "args": ["-I", str(SERVER)],
        "env": env,
        "auth": {**auth, "allow_any_user": True},
    }
    config = folder / "servers.json"
    config.write_text(json.dumps({"mcpServers": {"dog": entry}}), encoding="utf-8")
    port, ports = free_port(), [free_port() for _ in SHOWN_PORTS]
    url = f"https://localhost:{port}"
    command = ["run", str(config), "--start-server", "--public-url", url, "--trusted-proxies", "127.0.0.1"]
    shared = {
        "HOME": str(folder),
        "FMCP_REDIS_URL": redis.url.reveal(),
        "FMCP_SEAL_KEYS": base64.b64encode(secrets.token_bytes(32)).decode(),
    }
    replicas = Replicas(command, shared, ports)
    changes = {f"127.0.0.1:{shown}": f"127.0.0.1:{ours}" for shown, ours in zip(SHOWN_PORTS, ports, strict=True)}
    try:
        async with serving_as_shown(folder, PAGE, changes, port=port) as authority:
            await asyncio.gather(*(replicas.start(number) for number in range(len(ports))))
            yield replicas, url, authority
    finally:
        await replicas.close()


async def all_call(clients: Mapping[str, DrivenClient], call: Callable[[DrivenClient], Awaitable[str]]) -> None:
    """Each gets the answer of its own process, and nobody else's."""
    async with asyncio.timeout(LIMIT_SECONDS):
        answers = await asyncio.gather(*(call(client) for client in clients.values()))
    expected = [hashlib.sha256(KEYS[name].encode()).hexdigest() for name in clients]
    assert answers == expected


async def test_clients_go_on_while_gateways_and_redis_come_and_go(tmp_path: Path) -> None:
    present = [client for client in CLIENTS if client.id in IDS]
    if missing := [why for client in present if (why := client.find_missing())]:
        pytest.skip("; ".join(missing))
    async with AsyncExitStack() as running, running_key_api() as (api, api_address):
        api.good.update(KEYS.values())
        (tmp_path / "redis").mkdir()
        redis = running.enter_context(running_redis(tmp_path / "redis"))
        replicas, url, authority = await running.enter_async_context(balanced(tmp_path, redis, api_address))
        clients: dict[str, DrivenClient] = {}
        for client in present:
            (tmp_path / client.id).mkdir()
            keys = {"api_key": KEYS[client.id], "app_key": f"of {client.id}"}
            clients[client.id] = await running.enter_async_context(
                driven(client, f"{url}/dog/mcp", tmp_path / client.id, gateway_url=url, keys=keys, authority=authority)
            )
        await all_call(clients, lambda client: client.wait_called())
        await all_call(clients, lambda client: client.call())
        # One is killed, and another takes its place; one finishes its work; Redis loses what it had.
        for number in range(3):
            await replicas.stop(number, with_signal=signal.SIGKILL)
            await all_call(clients, lambda client: client.call())
            await replicas.start(number)
            await all_call(clients, lambda client: client.call())
        await replicas.stop(0, with_signal=signal.SIGTERM)
        await all_call(clients, lambda client: client.call())
        await replicas.start(0)
        redis.kill()
        redis.start()
        await all_call(clients, lambda client: client.call())
        for client in clients.values():
            assert [trip.pages for trip in client.trips] == [[OUR_CONSENT, OUR_KEYS]], "nobody logged in again"
