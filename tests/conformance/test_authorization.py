"""The public conformance suite's scenarios for authorization servers, against that of a package."""

import asyncio
import json
import re
from pathlib import Path

import pytest

from tests import parts
from tests.acceptance.harness import free_port
from tests.clients.logins.browser import walk
from tests.clients.logins.test_logins import build_environ, start, write_config
from tests.conformance.suite import SUITE_FOLDER, missing_suite
from tests.providers.oidc import running_oidc_provider

LIMIT_SECONDS = 90.0
CLIENT_ID = "conformance"


@pytest.mark.needs("node", "oidc-provider")
async def test_the_authorization_server_of_a_package_meets_every_scenario(tmp_path: Path):
    if missing := missing_suite():
        pytest.skip(missing)
    port, callback_port = free_port(), free_port()
    url = f"http://localhost:{port}"
    entered = {
        "client_id": CLIENT_ID,
        "client_name": "Conformance suite",
        "redirect_uris": [f"http://127.0.0.1:{callback_port}/callback"],
    }
    (tmp_path / "clients.json").write_text(json.dumps({"clients": [entered]}), encoding="utf-8")
    env = build_environ(FMCP_CLIENTS_FILE=str(tmp_path / "clients.json"))
    with running_oidc_provider(gateway_url=url) as provider:
        async with start(write_config(tmp_path, provider), env, port):
            arguments = ("--client-id", CLIENT_ID, "--resource", f"{url}/mail/mcp", "-p", str(callback_port))
            output = await run_authorization_suite(url, *arguments)
    summary = dict(re.findall(r"^[✓✗] (\S+): (\d+ passed, \d+ failed)$", output, re.MULTILINE))
    assert summary == {
        "authorization-server-metadata-endpoint": "2 passed, 0 failed",
        "authorization-code-grant": "1 passed, 0 failed",
    }, output


async def run_authorization_suite(gateway_url: str, *arguments: str) -> str:
    """What the suite writes; the browser that it asks for is played."""
    process = await asyncio.create_subprocess_exec(
        str(parts.require("node")),
        str(SUITE_FOLDER / "dist" / "index.js"),
        *("authorization", "--url", f"{gateway_url}/mail", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    lines: list[str] = []
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            while line := (await process.stdout.readline()).decode():
                lines.append(line)
                if "/mail/authorize?" in line:
                    await walk(line.strip(), person="alice", gateway_url=gateway_url)
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return "".join(lines)
