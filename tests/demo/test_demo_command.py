"""`fluidmcp demo`, started as a person would start it: the documents' lines and snippets, and its refusals."""

import asyncio
import json
import socket
import sys
from typing import Final

import pytest

from fluidmcp.demo.mailboxes import MAYA, PEOPLE, ROBIN
from tests.acceptance.harness import environment, free_port, run_fluidmcp, start_fluidmcp, start_on_documented_ports
from tests.demo.demo_client import call_tool, log_in, start_demo

DOCUMENTED_LINES: Final = """\
Reading metadata.json...
Added gmail-mock endpoints with OAuth support
  Login: http://localhost:8099/gmail-mock/auth/login
Starting FastAPI server on port 8099"""

DOCUMENTED_CURL: Final = """\
curl -X POST http://localhost:8099/gmail-mock/mcp \\
  -H "Authorization: Bearer ya29.a0AfH6SMB..." \\
  -H "Content-Type: application/json" \\
  -d '{
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/list"
  }'
"""

DOCUMENTED_PYTHON: Final = """\
import requests

token = "ya29.a0AfH6SMB..." # Token received from auth flow

response = requests.post(
    "http://localhost:8099/gmail-mock/mcp",
    headers={"Authorization": f"Bearer {token}"},
    json={
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/list"
    }
)
print(response.json())
"""


async def run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, env=environment(), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


@pytest.mark.promise(66, 68, 73, 75, 76, 88, 89, 90, 91, 92, 101, 102, 103, 106, 107, 125)
async def test_the_documented_lines_and_snippets_work_verbatim_with_the_token_of_a_login() -> None:
    async with start_on_documented_ports("demo", "--no-browser", says="The demo runs.", alias="any") as gateway:
        token = (await log_in("http://localhost:8099/gmail-mock/auth/login", MAYA)).json()["token_data"]["access_token"]
        curl = json.loads(await run("sh", "-c", DOCUMENTED_CURL.replace("ya29.a0AfH6SMB...", token)))
        printed = await run(sys.executable, "-c", DOCUMENTED_PYTHON.replace("ya29.a0AfH6SMB...", token))
        lines = gateway.stdout.lines

    assert lines[:4] == DOCUMENTED_LINES.splitlines()
    assert sorted(tool["name"] for tool in curl["result"]["tools"]) == ["get_message", "list_messages", "whoami"]
    assert curl["id"] == 1
    assert "'list_messages'" in printed


@pytest.mark.promise(93, 94, 95, 96, 97, 98, 99, 100)
async def test_a_login_answers_the_documented_json() -> None:
    async with start_demo() as demo:
        answer = (await log_in(demo.login_url, ROBIN)).json()
        me = await call_tool(demo.gateway.url, answer["token_data"]["access_token"], "whoami")

    tokens = answer["token_data"]
    assert {name: value for name, value in answer.items() if name != "token_data"} == {
        "success": True,
        "package": "gmail-mock",
        "message": "Authentication successful! Use the access_token in Authorization header.",
    }
    assert sorted(tokens) == ["access_token", "expires_in", "refresh_token", "scope", "token_type"]
    assert (tokens["expires_in"], tokens["token_type"]) == (3600, "Bearer")
    assert tokens["scope"] == "https://www.googleapis.com/auth/gmail.readonly"
    assert me["email"] == ROBIN.email


async def test_the_curl_line_that_the_demo_prints_answers_as_the_person() -> None:
    async with start_demo() as demo:
        printed = await demo.gateway.stdout.wait_for('"name": "whoami"')
        for person in PEOPLE:
            token = (await log_in(demo.login_url, person)).json()["token_data"]["access_token"]
            answer = json.loads(await run("sh", "-c", printed.replace("YOUR_ACCESS_TOKEN", token)))
            assert answer["result"]["structuredContent"]["email"] == person.email


@pytest.mark.threat("B33")
async def test_without_a_token_nothing_is_told_but_where_to_log_in() -> None:
    async with start_demo() as demo:
        plain = await run("curl", "-s", "-i", "-X", "POST", f"{demo.gateway.url}/gmail-mock/mcp", "-d", "{}")

    assert " 401 " in plain.splitlines()[0]
    assert demo.login_url in plain


@pytest.mark.promise(70, 87, 116)
async def test_the_shipped_package_without_a_client_id_says_so_at_its_login() -> None:
    unset = {"GOOGLE_CLIENT_ID": "", "GOOGLE_CLIENT_SECRET": ""}
    async with start_fluidmcp("run", "test/gmail-mock@1.0.0", "--start-server", env=unset) as gateway:
        answer = await run("curl", "-s", f"{gateway.url}/gmail-mock/auth/login")

    assert "client_id not found" in answer
    assert "GOOGLE_CLIENT_ID" in answer


async def test_c01_the_provider_listens_on_one_loopback_address_only() -> None:
    async with start_demo() as demo:
        reader, writer = await asyncio.open_connection("127.0.0.1", demo.provider_port)
        writer.close()
        await writer.wait_closed()
        del reader
        for other in ("127.0.0.2", "::1"):
            with pytest.raises(OSError):
                await asyncio.open_connection(other, demo.provider_port)


async def test_a_taken_provider_port_is_named_with_the_option_that_changes_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        finished = await run_fluidmcp("demo", "--port", str(free_port()), "--provider-port", str(port))

    assert finished.code == 2
    assert f"Port {port} is in use." in finished.stderr
    assert "--provider-port" in finished.stderr
    assert "Traceback" not in finished.stderr


async def test_one_port_for_both_is_refused() -> None:
    finished = await run_fluidmcp("demo", "--port", "8097", "--provider-port", "8097")

    assert finished.code == 2
    assert "cannot share" in finished.stderr
