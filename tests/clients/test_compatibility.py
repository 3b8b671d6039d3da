"""Every client gets from every server, through one gateway, what docs/compatibility.md says."""

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
import pytest_asyncio

from tests import parts
from tests.acceptance.harness import RunningGateway, environment
from tests.clients import compatibility
from tests.clients.compatibility import Client
from tests.conformance.fixtures import forked_commands, missing_fixture, start_gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROGRAMS: Final = Path(__file__).with_name("programs")
CLIENT_LIMIT_SECONDS: Final = 100.0
TABLE: Final = compatibility.load_compatibility()
EXPECTED: Final[dict[compatibility.Feature, tuple[str, str | int]]] = {
    "progress": ("progress", 3),
    "elicitation": ("elicitation", "Hello, Ada!"),
    "cancellation": ("cancelled", "cancelled"),
}
"""Feature -> the key that a driver prints, and what it prints where the feature works."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[RunningGateway]:
    if missing := missing_fixture("handshake"):
        pytest.skip(missing)
    with forked_commands("dual", "handshake", "stateless") as commands:
        async with start_gateway(tmp_path_factory.mktemp("gateway"), commands) as running:
            yield running


@pytest.mark.parametrize("client", TABLE.clients, ids=lambda client: client.id)
async def test_a_client_gets_from_each_server_what_the_table_says(
    client: Client, gateway: RunningGateway, tmp_path: Path
):
    if missing := client.find_missing():
        pytest.skip(missing)
    urls = {server: f"{gateway.url}/{server}/mcp" for server in TABLE.servers}
    seen = await drive(client, urls, tmp_path)
    for server, url in urls.items():
        assert seen[server] == expect(client, await count_tools(url)), f"{client.title} with the server {server}"


async def drive(client: Client, urls: dict[str, str], home: Path) -> dict[str, dict[str, Any]]:
    """What the driver of the client prints. Raises AssertionError with its stderr when it fails."""
    argument = {
        "urls": urls,
        "mode": client.mode,
        "node": str(parts.node_path()),
        "package": str(client.npm_folder),
        "home": str(home),
    }
    process = await asyncio.create_subprocess_exec(
        str(client.interpreter),
        str(PROGRAMS / client.driver),
        json.dumps(argument),
        env=environment({"HOME": str(home)}),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(CLIENT_LIMIT_SECONDS):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, f"{client.driver} failed: {err.decode(errors='replace')}"
    return json.loads(out)


async def count_tools(url: str) -> int:
    """How many tools the server has, asked in one bare request."""
    async with httpx2.AsyncClient(trust_env=False, timeout=60.0) as http:
        response = await http.post(url, json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
    assert response.status_code == 200, response.text
    return len(response.json()["result"]["tools"])


def expect(client: Client, tools: int) -> dict[str, Any]:
    """What the driver prints about a server with so many tools when all is as in the table."""
    features = {
        key: "unsupported" if feature in client.without else works for feature, (key, works) in EXPECTED.items()
    }
    return {"protocol": client.protocol, "tools": tools, "echo": "Grüße, 世界"} | features
