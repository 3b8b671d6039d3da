"""What people cost, as tables: `scripts/measure-scale`. docs/scaling.md calculates with these figures.

Not part of the tests. One gateway, one Valkey; let the machine do nothing else.
"""

import argparse
import asyncio
import base64
import json
import secrets
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx2
import psutil

from tests import parts
from tests.acceptance import persons
from tests.acceptance.harness import RunningGateway, free_port, start_fluidmcp
from tests.acceptance.persons import running_persons
from tests.providers.serving import serve
from tests.scale.people import PACKAGE, Client, World
from tests.scale.provider import ENVIRONMENT, PersonsProvider
from tests.scale.stage import entry_of
from tests.scale.wire import Wire
from tests.store.running_redis import RunningRedis, running_redis

LIMIT_SECONDS: Final = 300.0
ADDRESSES: Final = 200
MANY: Final = "100000"
ROOM: Final = {"FMCP_MAX_PROCESSES": MANY, "FMCP_MAX_PROCESSES_PER_PACKAGE": MANY, "FMCP_IDLE_TIMEOUT_SECONDS": "3600"}
HELLO: Final = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "measure", "version": "1"}}


def report(line: str = "") -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def processor_seconds(gateway: RunningGateway) -> float:
    times = psutil.Process(gateway.pid).cpu_times()
    return times.user + times.system


def memory_kb(pid: int) -> int:
    """Proportional set size: what several processes share is counted once in all of them together."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def descriptors(gateway: RunningGateway) -> int:
    return len(list(Path(f"/proc/{gateway.pid}/fd").iterdir()))


# -- logins, and what Redis holds of them --------------------------------------------------------------------------


async def measure_logins(folder: Path, number: int) -> None:
    async with AsyncExitStack() as running:
        provider = PersonsProvider()
        address = await running.enter_async_context(serve(provider.app))
        redis = running.enter_context(running_redis(folder))
        config = folder / "logins.json"
        config.write_text(json.dumps({"mcpServers": {PACKAGE: entry_of(address)}}), encoding="utf-8")
        port = free_port()
        url = f"http://localhost:{port}"
        env = {
            **ENVIRONMENT,
            **ROOM,
            "HOME": str(folder),
            "FMCP_REDIS_URL": redis.url.reveal(),
            "FMCP_SEAL_KEYS": base64.b64encode(secrets.token_bytes(32)).decode(),
        }
        command = ("run", str(config), "--start-server", "--public-url", url)
        gateway = await running.enter_async_context(start_fluidmcp(*command, env=env, port=port))
        world = World(url, provider)
        world.has_redis.set()
        wires = [
            Wire(port, f"localhost:{port}", source=f"127.0.1.{1 + each % 200}", authority=None) for each in range(200)
        ]
        clients = [Client(world, f"person{each}.1", wires[each % len(wires)]) for each in range(number + 1)]
        # The first request that needs a page loads FastAPI, which is not what a login costs.
        await clients.pop().log_in()
        report("| | processor time of the gateway, ms each |\n| --- | --- |")
        for title, doing in (("a login of an MCP client", Client.log_in), ("a renewal", Client.renew)):
            began_at = processor_seconds(gateway)
            await asyncio.gather(*(doing(client) for client in clients))
            report(f"| {title} | {1000 * (processor_seconds(gateway) - began_at) / number:.1f} |")
        await asyncio.gather(*(client.log_in(is_left=True) for client in clients[: number // 2]))
        await asyncio.gather(*(client.give_up() for client in clients[: number // 4]))
        await report_entries(redis)
        for wire in wires:
            wire.close()


async def report_entries(redis: RunningRedis) -> None:
    """By store and length of life: what they are called says no more."""
    sizes: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    async with redis.client() as client:
        for name in await client.keys("*"):
            store, size = name.split(b":")[1].decode(), await client.memory_usage(name, samples=0)
            if await client.type(name) == b"zset":
                members = await client.zcard(name)
                sizes[store, "its place in the index of what there is"] += [size / members] * members
            else:
                is_count = (await client.get(name)).isdigit()
                what = (
                    "requests of one address, counted" if is_count else f"lives {describe_life(await client.ttl(name))}"
                )
                sizes[store, what].append(size)
    report("\n| store | entry in Redis | how many there were | bytes each |\n| --- | --- | --- | --- |")
    for (store, what), found in sorted(sizes.items()):
        report(f"| {store} | {what} | {len(found)} | {statistics.mean(found):.0f} |")


def describe_life(seconds: int) -> str:
    for limit, words in ((11, "10 seconds"), (61, "a minute"), (601, "10 minutes"), (3601, "an hour")):
        if seconds < limit:
            return words
    return "30 days"


# -- processes -----------------------------------------------------------------------------------------------------


def default_servers() -> dict[str, dict[str, Any]]:
    """A few servers that people use, as far as they are there."""
    small = Path(__file__).parents[1] / "servers" / "tallying_server.py"
    servers: dict[str, dict[str, Any]] = {"smallest": {"command": sys.executable, "args": ["-I", "-S", str(small)]}}
    node, python = parts.find("node"), parts.find("python-servers")
    programs: tuple[tuple[str, parts.Part], ...] = (
        ("server-everything", "server-everything"),
        ("server-filesystem", "server-filesystem"),
        ("server-memory", "server-memory"),
    )
    for name, part in programs:
        found = parts.find(part)
        if node is not None and found is not None:
            args = [str(found / "dist" / "index.js"), *(["/tmp"] if name == "server-filesystem" else [])]
            servers[name] = {"command": str(node), "args": args}
    if python is not None:
        for name in ("time", "fetch"):
            servers[f"mcp-server-{name}"] = {"command": str(python / f"mcp-server-{name}"), "args": []}
    return servers


async def measure_processes(folder: Path, servers: dict[str, dict[str, Any]], number: int) -> None:
    report(f"\n{number} persons at once, with one session each; the figures are those of one of them, but the sixth.\n")
    titles = ("server", "processes", "their memory, MB", "processor time to start, s", "first answer alone, s")
    titles += ("until all have one, s", "open files of the gateway")
    report(f"| {' | '.join(titles)} |\n|{' --- |' * len(titles)}")
    async with running_persons() as auth:
        for name, entry in servers.items():
            config = folder / "servers.json"
            with_login = {**entry, "auth": auth}
            await asyncio.to_thread(config.write_text, json.dumps({"mcpServers": {name: with_login}}), encoding="utf-8")
            await _measure_server(config, name, number)


async def _measure_server(config: Path, name: str, number: int) -> None:
    async with started(config) as (gateway, client):
        await begin_session(client, gateway, name, "alone", 0)
        began_at = time.monotonic()
        await begin_session(client, gateway, name, "first", 1)
        alone_seconds = time.monotonic() - began_at
        family, files = set(gateway.descendants()), descriptors(gateway)
        began_at = time.monotonic()
        await asyncio.gather(*(begin_session(client, gateway, name, f"p{each}", 2 + each) for each in range(number)))
        all_seconds = time.monotonic() - began_at
        new = [process for process in gateway.descendants() if process not in family]
        seconds = sum(sum(process.cpu_times()[:2]) for process in new) / number
        kilobytes = sum(memory_kb(process.pid) for process in new) / number
        columns = (
            f"{len(new) / number:g} | {kilobytes / 1024:.1f} | {seconds:.2f} | {alone_seconds:.2f} | {all_seconds:.2f}"
        )
        files = (descriptors(gateway) - files) / number
        report(f"| {name} | {columns} | {files:.1f} |")


@asynccontextmanager
async def started(config: Path) -> AsyncGenerator[tuple[RunningGateway, httpx2.AsyncClient]]:
    env = {**persons.ENVIRONMENT, **ROOM, "HOME": str(config.parent)}
    async with (
        start_fluidmcp("run", str(config), "--start-server", env=env) as gateway,
        httpx2.AsyncClient(trust_env=False, timeout=LIMIT_SECONDS) as client,
    ):
        yield gateway, client


async def begin_session(
    client: httpx2.AsyncClient, gateway: RunningGateway, package: str, person: str, number: int
) -> None:
    """Until its first answer."""
    headers = {
        "authorization": f"Bearer {persons.token(person, number)}",
        "accept": "application/json, text/event-stream",
    }
    hello = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": HELLO}
    url = f"{gateway.url}/{package}/mcp"
    reply = await client.post(url, headers=headers, json=hello)
    assert reply.status_code == 200, reply.text
    headers["mcp-session-id"] = reply.headers["mcp-session-id"]
    reply = await client.post(url, headers=headers, json={"jsonrpc": "2.0", "id": 2, "method": "tools/list"})
    assert reply.status_code == 200, reply.text
    assert "tools" in reply.text, reply.text


def read_servers(path: str) -> dict[str, dict[str, Any]]:
    return json.loads(Path(path).read_text(encoding="utf-8"))["mcpServers"]


async def measure(config: str | None, logins: int, number: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        servers = default_servers() if config is None else read_servers(config)
        await measure_logins(Path(folder), logins)
        await measure_processes(Path(folder), servers, number)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measure what people cost: logins, Redis, server processes.")
    parser.add_argument("config", nargs="?", help="a file with servers of your own, which need no login")
    parser.add_argument("--logins", type=int, default=200)
    parser.add_argument("--persons", type=int, default=10, help="how many have a process of each server at once")
    options = parser.parse_args(arguments)
    asyncio.run(measure(options.config, options.logins, options.persons))


if __name__ == "__main__":
    main()
