"""The Python snippet of the guide for gateway-wide OAuth, with `requests`, against a package given by its bare name."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from tests.acceptance.harness import COMMAND_LIMIT_SECONDS, environment, start_fluidmcp

SERVER = Path(__file__).resolve().parents[1] / "servers" / "stdlib_server.py"

SNIPPET = """
import requests

access_token = "your_access_token"
headers = {
    "Authorization": f"Bearer {access_token}",
    "Content-Type": "application/json"
}

response = requests.post(
    "http://localhost:8090/mypackage/mcp",
    headers=headers,
    json={
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/list"
    }
)

print(response.json())
"""


def install_package(folder: Path) -> None:
    metadata = folder / ".fmcp-packages" / "me" / "mypackage" / "1.0.0" / "metadata.json"
    metadata.parent.mkdir(parents=True)
    entry = {"command": sys.executable, "args": [str(SERVER)]}
    metadata.write_text(json.dumps({"mcpServers": {"mypackage": entry}}), encoding="utf-8")


@pytest.mark.promise(20, 28, 43)
async def test_the_python_snippet_prints_the_tools_of_a_package_given_by_its_bare_name(tmp_path: Path):
    install_package(tmp_path)
    async with start_fluidmcp("run", "mypackage", "--start-server", cwd=tmp_path) as gateway:
        # Port 8090 itself is the subject of tests/cli; another program may hold it on the machine of this test.
        snippet = SNIPPET.replace("8090", str(gateway.port))
        client = await asyncio.create_subprocess_exec(
            sys.executable, "-c", snippet, env=environment(), stdout=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(COMMAND_LIMIT_SECONDS):
            printed, _ = await client.communicate()
    assert client.returncode == 0
    assert printed.startswith(b"{'jsonrpc': '2.0', 'id': 1, 'result': {'tools': [{")
