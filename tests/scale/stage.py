"""Three gateways and a Valkey behind nginx, as docs/scaling.md shows them, and a package whose processes keep count."""

import asyncio
import base64
import json
import secrets
import signal
import ssl
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

from tests.acceptance.harness import free_port, kill_left
from tests.acceptance.nginx import serving_as_shown
from tests.acceptance.test_balanced import PAGE, SHOWN_PORTS, Replicas
from tests.providers.serving import serve
from tests.scale.people import PACKAGE, Client, World
from tests.scale.provider import ENVIRONMENT, PersonsProvider
from tests.scale.wire import Wire
from tests.store.running_redis import RunningRedis, running_redis

SERVER: Final = Path(__file__).parents[1] / "servers" / "tallying_server.py"
LONG: Final = "3600"
"""Seconds in which nothing ends."""
MEGABYTE: Final = 1024 * 1024
END_LIMIT_SECONDS: Final = 120.0


@dataclass
class Held:
    """Calls of `wait` that have come to their servers, until `release`; those that come later are not held."""

    port: int = 0
    arrived: int = 0
    is_released: bool = False
    _calls: list[asyncio.StreamWriter] = field(default_factory=list[asyncio.StreamWriter])
    _came: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def until_arrived(self, number: int) -> None:
        async with self._came:
            await self._came.wait_for(lambda: self.arrived >= number)

    def release(self) -> None:
        self.is_released = True
        for writer in self._calls:
            writer.close()

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        self._calls.append(writer)
        async with self._came:
            self.arrived += 1
            self._came.notify_all()
        if self.is_released:
            writer.close()


@asynccontextmanager
async def holding() -> AsyncGenerator[Held]:
    held = Held()
    server = await asyncio.start_server(held.take, "127.0.0.1", 0)
    held.port = server.sockets[0].getsockname()[1]
    try:
        yield held
    finally:
        held.release()
        server.close()


@dataclass
class Stage:
    """`authority` is what the clients trust, `port` that of nginx."""

    world: World
    gateways: Replicas
    redis: RunningRedis
    authority: Path
    port: int
    _wires: list[Wire] = field(default_factory=list[Wire])

    def person(self, number: int, clients: int) -> list[Client]:
        """Clients of one person, who has an address of their own."""
        host = self.world.url.removeprefix("https://")
        trusting = ssl.create_default_context(cafile=self.authority)
        wire = Wire(self.port, host, source=f"127.0.1.{number}", authority=trusting)
        self._wires.append(wire)
        return [Client(self.world, f"person{number}.{each}", wire) for each in range(1, clients + 1)]

    async def kill(self, number: int) -> None:
        """With nothing left of its processes."""
        gateway = self.gateways.running[number]
        family = gateway.descendants()
        self.world.killed = f"gateway-{number + 1}"
        self.world.gone.add(self.world.killed)
        self.world.is_killing = True
        gateway.process.kill()
        await gateway.process.wait()
        # Whoever comes from now on finds nobody there, and is sent to another one.
        self.world.kills += 1
        self.world.is_killing = False
        left = await asyncio.to_thread(kill_left, family, limit_seconds=END_LIMIT_SECONDS)
        assert not left, left
        await self.gateways.stop(number, with_signal=signal.SIGKILL)

    async def tell_to_stop(self, number: int) -> None:
        """Until it says that it finishes its calls."""
        self.world.gone.add(f"gateway-{number + 1}")
        gateway = self.gateways.running[number]
        gateway.process.send_signal(signal.SIGTERM)
        await gateway.stderr.wait_for("stopping:", limit_seconds=END_LIMIT_SECONDS)

    async def wait_stopped(self, number: int) -> None:
        """By itself, with nothing left of its processes."""
        gateway = self.gateways.running[number]
        family = gateway.descendants()
        async with asyncio.timeout(END_LIMIT_SECONDS):
            code = await gateway.process.wait()
        assert code == 0, gateway.report()
        left = await asyncio.to_thread(kill_left, family, limit_seconds=END_LIMIT_SECONDS)
        assert not left, left
        await self.gateways.stop(number, with_signal=signal.SIGTERM)

    async def stop_redis(self) -> None:
        self.world.has_redis.clear()
        self.world.absences += 1
        await asyncio.to_thread(self.redis.stop)

    async def start_redis(self) -> None:
        """Until all gateways have seen it: for a second they do not ask again what did not answer."""
        await asyncio.to_thread(self.redis.start, **KEEPING)
        async with asyncio.timeout(END_LIMIT_SECONDS):
            for gateway in self.gateways.running.values():
                wire = Wire(gateway.port, self.world.url.removeprefix("https://"), authority=None)
                while (await wire.send("POST", f"/{PACKAGE}/revoke", form={"token": "none"})).status == 503:
                    pass
                wire.close()
        self.world.has_redis.set()

    def memory(self) -> list[int]:
        """Of each gateway's own process, in MB."""
        running = self.gateways.running.values()
        return [psutil.Process(gateway.pid).memory_info().rss // MEGABYTE for gateway in running]

    def close(self) -> None:
        for wire in self._wires:
            wire.close()


KEEPING: Final = {"appendonly": "yes"}


@asynccontextmanager
async def running_stage(folder: Path) -> AsyncGenerator[Stage]:
    provider = PersonsProvider()
    port, ports = free_port(), [free_port() for _ in SHOWN_PORTS]
    url = f"https://localhost:{port}"
    (folder / "redis").mkdir()
    async with AsyncExitStack() as running:
        address = await running.enter_async_context(serve(provider.app))
        redis = running.enter_context(running_redis(folder / "redis", **KEEPING))
        config = folder / "servers.json"
        config.write_text(json.dumps({"mcpServers": {PACKAGE: entry_of(address)}}), encoding="utf-8")
        shared = {
            **ENVIRONMENT,
            "HOME": str(folder),
            "FMCP_REDIS_URL": redis.url.reveal(),
            "FMCP_SEAL_KEYS": base64.b64encode(secrets.token_bytes(32)).decode(),
            "FMCP_MAX_PROCESSES": "3000",
            "FMCP_MAX_PROCESSES_PER_PACKAGE": "3000",
            "FMCP_IDLE_TIMEOUT_SECONDS": LONG,
            "FMCP_DRAIN_SECONDS": LONG,
            "FMCP_START_TIMEOUT_SECONDS": "300",
        }
        command = ["run", str(config), "--start-server", "--public-url", url, "--trusted-proxies", "127.0.0.1"]
        gateways = Replicas(command, shared, ports)
        running.push_async_callback(gateways.close)
        changes = {f"127.0.0.1:{shown}": f"127.0.0.1:{ours}" for shown, ours in zip(SHOWN_PORTS, ports, strict=True)}
        serving = serving_as_shown(folder, PAGE, changes, port=port, worker_connections=4096)
        authority = await running.enter_async_context(serving)
        await asyncio.gather(*(gateways.start(number) for number in range(len(ports))))
        stage = Stage(World(url, provider), gateways, redis, authority, port)
        running.callback(stage.close)
        stage.world.has_redis.set()
        yield stage


def entry_of(provider: str) -> dict[str, object]:
    """The package whose persons log in at the provider."""
    auth = {
        "type": "oauth2",
        "flow": "pkce",
        "authorization_url": f"{provider}/authorize",
        "token_url": f"{provider}/token",
        "env_var_name": "TALLY_TOKEN",
        "scopes": ["tally"],
        "client_id_env": "TALLY_CLIENT_ID",
        "client_secret_env": "TALLY_CLIENT_SECRET",
        "allow_any_user": True,
    }
    return {"command": sys.executable, "args": ["-I", "-S", str(SERVER)], "auth": auth}
