"""Several real servers on loopback: a primary with its replica and a Sentinel that watches them, or a cluster."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Final, cast

from redis.asyncio import Redis

from fluidmcp.config.secret import Secret
from tests.acceptance.harness import free_port
from tests.store.running_redis import LIMIT_SECONDS, RunningRedis, end_server, running_redis, start_server

PRIMARY: Final = "mymaster"
SLOTS: Final = 16384


class WatchedRedis:
    """A primary and its replica, as a Sentinel with a password of its own watches them."""

    def __init__(self, primary: RunningRedis, replica: RunningRedis, *, port: int, password: str) -> None:
        self.primary = primary
        self.replica = replica
        self._port = port
        self._password = password

    def url(self, *, name: str = PRIMARY, password: str = "") -> Secret:
        """The first of the two Sentinels that it names is not there."""
        hosts = f"127.0.0.1:{free_port()},127.0.0.1:{self._port}"
        own = f":{self.primary.password}@" if self.primary.password else ""
        return Secret(f"redis+sentinel://{own}{hosts}/{name}/0?sentinel_password={password or self._password}")

    async def fail_over(self) -> None:
        """Kill the primary, and return when the Sentinel has put the replica in its place."""
        async with self._sentinel() as sentinel, sentinel.pubsub() as events:
            await events.subscribe("+switch-master")
            async with self.primary.client() as primary:
                assert await primary.wait(1, round(LIMIT_SECONDS * 1000)) == 1, "the replica has all there is"
            self.primary.kill()
            async with asyncio.timeout(LIMIT_SECONDS):
                async for event in events.listen():
                    if event["type"] == "message":
                        return

    def _sentinel(self) -> Any:
        return cast(Any, Redis)(port=self._port, password=self._password)


@contextlib.asynccontextmanager
async def watched_redis(folder: Path, *, password: str, sentinel_password: str) -> AsyncGenerator[WatchedRedis]:
    both = {"requirepass": password, "primaryauth": password, "repl_diskless_sync_delay": "0"}
    with running_redis(folder, **both) as primary, running_redis(folder, **both) as replica:
        async with replica.client() as operator:
            await operator.execute_command("REPLICAOF", "127.0.0.1", primary.port)
        async with primary.client() as writer:
            await writer.set("in both", "")
            assert await writer.wait(1, round(LIMIT_SECONDS * 1000)) == 1
            # The Sentinel finds the replica in what the primary says of itself.
            assert (await writer.info("replication"))["slave0"]["port"] == replica.port
        port = free_port()
        file = folder / "sentinel.conf"
        file.write_text(
            f"port {port}\nbind 127.0.0.1\nrequirepass {sentinel_password}\n"
            f"sentinel monitor {PRIMARY} 127.0.0.1 {primary.port} 1\n"
            f"sentinel auth-pass {PRIMARY} {password}\n"
            f"sentinel down-after-milliseconds {PRIMARY} 300\nsentinel failover-timeout {PRIMARY} 3000\n"
        )
        process = start_server([str(file), "--sentinel"], until=b"+slave")
        try:
            yield WatchedRedis(primary, replica, port=port, password=sentinel_password)
        finally:
            end_server(process)


@contextlib.asynccontextmanager
async def running_cluster(folder: Path, size: int = 3) -> AsyncGenerator[list[RunningRedis]]:
    """Primaries only, which have the slots between them."""
    with contextlib.ExitStack() as stack:
        nodes: list[RunningRedis] = []
        for number in range(size):
            own = folder / str(number)
            own.mkdir()
            options = {"cluster_enabled": "yes", "cluster_port": str(free_port()), "cluster_node_timeout": "1000"}
            nodes.append(stack.enter_context(running_redis(own, **options)))
        for number, node in enumerate(nodes):
            async with node.client() as operator:
                last = SLOTS * (number + 1) // size - 1
                await operator.execute_command("CLUSTER", "ADDSLOTSRANGE", SLOTS * number // size, last)
                if number:
                    bus = await first_bus_port(nodes[0])
                    await operator.execute_command("CLUSTER", "MEET", "127.0.0.1", nodes[0].port, bus)
        for node in nodes:
            await until_whole(node)
        yield nodes


async def first_bus_port(node: RunningRedis) -> int:
    async with node.client() as client:
        return int((await client.config_get("cluster-port"))["cluster-port"])


async def until_whole(node: RunningRedis) -> None:
    """Ask until this node knows who serves every slot."""
    async with asyncio.timeout(LIMIT_SECONDS), node.client() as client:
        while b"cluster_state:ok" not in await client.execute_command("CLUSTER", "INFO"):
            pass
