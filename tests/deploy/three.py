"""Three gateways with names behind a balancer, and what clients ask through it."""

import asyncio
import json
import ssl
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx2

from tests import parts
from tests.acceptance.harness import Output, RunningGateway, free_port, start_fluidmcp
from tests.known_servers.certificate import write_certificate

SERVER: Final = parts.ROOT / "tests" / "servers" / "stdlib_server.py"
NUMBERS: Final = (1, 2, 3)
CLIENTS: Final = 6
STOP_LIMIT_SECONDS: Final = 30.0
OLD_HELLO: Final = {"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
HELLO: Final = {**OLD_HELLO, "protocolVersion": "2025-06-18"}


@dataclass(frozen=True, slots=True)
class Three:
    """The balancer is to be at `url`; the gateways, by their names, are at `ports`."""

    url: str
    port: int
    ports: Mapping[str, int]
    running: Mapping[str, RunningGateway]


@asynccontextmanager
async def three_gateways(folder: Path, *, name: str = "gateway-{}", first: int = 1) -> AsyncGenerator[Three]:
    """Open to everybody who is on this machine; `name` is what they are called, with a number from `first` on."""
    config = folder / "servers.json"
    server = {"command": sys.executable, "args": ["-I", str(SERVER)]}
    config.write_text(json.dumps({"mcpServers": {"open": server}}), encoding="utf-8")
    port = free_port()
    url = f"https://localhost:{port}"
    options = ("--start-server", "--public-url", url, "--trusted-proxies", "127.0.0.1")
    ports = {name.format(number): free_port() for number in range(first, first + 3)}
    running: dict[str, RunningGateway] = {}
    async with AsyncExitStack() as stack:
        for replica, own in ports.items():
            env = {"HOME": str(folder), "FMCP_REPLICA": replica}
            gateway = start_fluidmcp("run", str(config), *options, env=env, port=own)
            running[replica] = await stack.enter_async_context(gateway)
        yield Three(url, port, ports, running)


@asynccontextmanager
async def running_envoy(folder: Path, text: str, changes: Mapping[str, str]) -> AsyncGenerator[Path]:
    """A real Envoy with a configuration, after `changes` of it; what clients have to trust. Ended with the block."""
    authority, certificate = write_certificate(folder, ["localhost"])
    for shown, ours in changes.items():
        assert shown in text, f"it does not say {shown}"
        text = text.replace(shown, ours)
    text = text.replace("/etc/envoy/tls/fullchain.pem", str(certificate))
    text = text.replace("/etc/envoy/tls/privkey.pem", str(certificate))
    configuration = folder / "envoy.yaml"
    configuration.write_text(text, encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        str(parts.require("deploy-tools") / "envoy"),
        *("-c", str(configuration), "--disable-hot-restart", "--concurrency", "1"),
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    stderr = Output(process.stderr)
    try:
        await stderr.wait_for("starting workers")
        yield authority
    finally:
        if process.returncode is None:
            process.kill()
        async with asyncio.timeout(STOP_LIMIT_SECONDS):
            await process.wait()
        await stderr.finish()


@asynccontextmanager
async def calling(url: str, authority: Path, *, source: str = "127.0.0.1") -> AsyncGenerator[httpx2.AsyncClient]:
    """An HTTP client that connects from an address of this machine."""
    context = ssl.create_default_context(cafile=authority)
    transport = httpx2.AsyncHTTPTransport(verify=context, local_address=source)
    async with httpx2.AsyncClient(base_url=url, transport=transport, timeout=60) as http:
        yield http


async def speak_by_sse(http: httpx2.AsyncClient) -> str:
    """A handshake and a question by HTTP+SSE, without a token; the name of the gateway."""
    async with http.stream("GET", "/open/sse") as response:
        lines = response.aiter_lines()
        address = await _find(lines, "data: ")
        for number, (method, params) in enumerate([("initialize", OLD_HELLO), ("tools/list", {})]):
            sent = await http.post(address, json=_message(method, params, number))
            assert sent.status_code == 202, sent.text
            answer = json.loads(await _find(lines, "data: "))
            assert (answer["id"], "result" in answer) == (number, True)
        return address.partition("sessionId=")[2].partition(".")[0]


async def begin_session(http: httpx2.AsyncClient) -> str:
    """The id of a new session, whose gateway is its beginning."""
    answer = await http.post("/open/mcp", json=_message("initialize", HELLO))
    assert answer.status_code == 200, answer.text
    return answer.headers["mcp-session-id"]


async def ask(http: httpx2.AsyncClient, session: str | None = None, **headers: str) -> int:
    """The status that a question gets, in a session or bare."""
    if session is not None:
        headers["mcp-session-id"] = session
    answer = await http.post("/open/mcp", json=_message("tools/list", {}), headers=headers)
    return answer.status_code


def _message(method: str, params: Any, number: int = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


async def _find(lines: Any, prefix: str) -> str:
    async for line in lines:
        if line.startswith(prefix):
            return line.removeprefix(prefix)
    raise AssertionError(f"the stream ended without {prefix}")
