"""How long a person waits for a first answer while servers of another person hang: `scripts/measure-starts`.

Pairs of runs, alternately with and without what hangs, each with a gateway of its own. Not part of the tests: it
compares durations, so let the machine do nothing else.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Final

import httpx2

from tests.acceptance import persons
from tests.acceptance.harness import RunningGateway, start_fluidmcp
from tests.acceptance.persons import running_persons

SERVERS: Final = Path(__file__).parent.parent / "servers"
HANGING_SERVERS: Final = 4
LIMIT_SECONDS: Final = 120.0


async def ask(client: httpx2.AsyncClient, gateway: RunningGateway, package: str, token: str) -> dict[str, Any]:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    headers = {"authorization": f"Bearer {token}"}
    reply = await client.post(f"{gateway.url}/{package}/mcp", json=message, headers=headers)
    answer: dict[str, Any] = reply.json()
    return answer


async def measure(
    folder: Path, auth: dict[str, Any], *, hanging: bool, head_start_seconds: float, server_seconds: float
) -> float:
    """Seconds until the first answer of a person, in a new gateway."""
    waiting = f"import runpy, time; time.sleep({server_seconds}); runpy.run_path({str(SERVERS / 'stdlib_server.py')!r})"
    arguments = {"hanging": [str(SERVERS / "hanging_server.py")], "good": ["-c", waiting]}
    servers = {
        name: {"command": sys.executable, "args": ["-I", *args], "auth": auth} for name, args in arguments.items()
    }
    config = folder / "servers.json"
    await asyncio.to_thread(config.write_text, json.dumps({"mcpServers": servers}), encoding="utf-8")
    async with AsyncExitStack() as running:
        starting = start_fluidmcp("run", str(config), "--start-server", cwd=folder, env=persons.ENVIRONMENT)
        gateway = await running.enter_async_context(starting)
        client = await running.enter_async_context(httpx2.AsyncClient(trust_env=False, timeout=LIMIT_SECONDS))
        # So that neither the connection to the provider nor the gateway's own warming up is measured.
        await ask(client, gateway, "good", persons.token("warm"))
        tasks = [
            asyncio.create_task(ask(client, gateway, "hanging", persons.token("ada", number)))
            for number in range(HANGING_SERVERS if hanging else 0)
        ]
        with suppress(TimeoutError):
            async with asyncio.timeout(head_start_seconds):
                await asyncio.Event().wait()
        began_at = time.monotonic()
        answer = await ask(client, gateway, "good", persons.token("grace"))
        seconds = time.monotonic() - began_at
        for task in tasks:
            task.cancel()
    assert "result" in answer, answer
    return seconds


async def compare(pairs: int, head_start_seconds: float, server_seconds: float) -> None:
    times: dict[bool, list[float]] = {False: [], True: []}
    async with running_persons() as auth:
        for number in range(2 * pairs):
            # Each of the two kinds is the first of a pair as often as the other.
            hanging = number % 4 in (1, 2)
            with tempfile.TemporaryDirectory() as folder:
                seconds = await measure(
                    Path(folder),
                    auth,
                    hanging=hanging,
                    head_start_seconds=head_start_seconds,
                    server_seconds=server_seconds,
                )
                times[hanging].append(seconds)
    without, with_hanging = statistics.median(times[False]), statistics.median(times[True])
    report(f"first answer alone: {describe(times[False])}")
    report(f"first answer beside {HANGING_SERVERS} that hang: {describe(times[True])}")
    report(f"ratio of the medians: {with_hanging / without:.2f} ({pairs} pairs, {head_start_seconds:g} s later)")


def describe(seconds: Sequence[float]) -> str:
    return f"median {statistics.median(seconds):.3f} s ({min(seconds):.3f} to {max(seconds):.3f} s)"


def report(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how servers that hang delay another person's start.")
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--head-start", type=float, default=0.5, help="seconds that what hangs has before")
    parser.add_argument("--server", type=float, default=0.2, help="seconds that the good server takes at least")
    options = parser.parse_args()
    asyncio.run(compare(options.pairs, options.head_start, options.server))


if __name__ == "__main__":
    main()
