"""deploy/nginx.conf: the text of docs/scaling.md and of compose, read by a real nginx, and at work."""

import asyncio
import json
import ssl
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

from tests import parts
from tests.acceptance.harness import free_port, start_fluidmcp
from tests.acceptance.nginx import HOST, read_block, serving_as_shown
from tests.deploy.shipped import COMPOSE, DEPLOY, read_services

PAGE: Final = parts.ROOT / "docs" / "scaling.md"
SERVER: Final = parts.ROOT / "tests" / "servers" / "stdlib_server.py"
GATEWAYS: Final = (1, 2, 3)
CLIENTS: Final = 6
LIMIT_SECONDS: Final = 60.0
HELLO: Final = {"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}


def test_the_page_the_file_and_that_of_compose_are_one_text() -> None:
    shipped = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
    assert shipped == read_block("nginx", PAGE) + "\n"
    for number in GATEWAYS:
        address = read_services()[f"gateway-{number}"]["networks"]["front"]["ipv4_address"]
        shipped = shipped.replace(f"127.0.0.1:810{number}", f"{address}:8099")
    changes = {
        f"server_name {HOST};": "server_name _;",
        f"/etc/nginx/{HOST}.pem": "/etc/nginx/tls/fullchain.pem",
        f"/etc/nginx/{HOST}.key": "/etc/nginx/tls/privkey.pem",
    }
    for shown, there in changes.items():
        shipped = shipped.replace(shown, there)
    assert shipped == (COMPOSE / "nginx.conf").read_text(encoding="utf-8")


@pytest.mark.needs("nginx")
async def test_messages_of_an_http_sse_client_find_the_gateway_of_its_stream(tmp_path: Path) -> None:
    """They have no token and no session header: without the name in their query, two of three would go astray."""
    config = tmp_path / "servers.json"
    server = {"command": sys.executable, "args": ["-I", str(SERVER)]}
    config.write_text(json.dumps({"mcpServers": {"open": server}}), encoding="utf-8")
    port, ports = free_port(), {number: free_port() for number in GATEWAYS}
    url = f"https://localhost:{port}"
    changes = {f"127.0.0.1:810{number}": f"127.0.0.1:{ports[number]}" for number in GATEWAYS}
    async with AsyncExitStack() as running:
        for number in GATEWAYS:
            env = {"HOME": str(tmp_path), "FMCP_REPLICA": f"gateway-{number}"}
            options = ("--start-server", "--public-url", url, "--trusted-proxies", "127.0.0.1")
            await running.enter_async_context(start_fluidmcp("run", str(config), *options, env=env, port=ports[number]))
        authority = await running.enter_async_context(serving_as_shown(tmp_path, PAGE, changes, port=port))
        context = ssl.create_default_context(cafile=authority)
        http = await running.enter_async_context(httpx2.AsyncClient(base_url=url, verify=context, timeout=60))
        async with asyncio.timeout(LIMIT_SECONDS):
            names = await asyncio.gather(*(speak(http) for _ in range(CLIENTS)))
    assert {*names} <= {f"gateway-{number}" for number in GATEWAYS}


async def speak(http: httpx2.AsyncClient) -> str:
    """A handshake and a question by HTTP+SSE; the name of the gateway."""
    async with http.stream("GET", "/open/sse") as response:
        lines = response.aiter_lines()
        address = await find(lines, "data: ")
        for number, (method, params) in enumerate([("initialize", HELLO), ("tools/list", {})]):
            message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
            sent = await http.post(address, json=message)
            assert sent.status_code == 202, sent.text
            answer = json.loads(await find(lines, "data: "))
            assert (answer["id"], "result" in answer) == (number, True)
        return address.partition("sessionId=")[2].partition(".")[0]


async def find(lines: Any, prefix: str) -> str:
    async for line in lines:
        if line.startswith(prefix):
            return line.removeprefix(prefix)
    raise AssertionError(f"the stream ended without {prefix}")
