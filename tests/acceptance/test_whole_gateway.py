"""The document about the guarded gateway, followed to the letter: its commands, its curl line, its Python example."""

import asyncio
import json
import sys
import time
from collections.abc import Generator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

from tests.acceptance.harness import (
    DOCUMENTED_ALIAS_PORT,
    DOCUMENTED_PORT,
    Output,
    RunningGateway,
    environment,
    free_port,
    run_fluidmcp,
    spawn,
    start_fluidmcp,
    start_on_documented_ports,
)
from tests.providers.oidc import CLI_CLIENT_ID, OidcProvider, log_in, running_oidc_provider

SERVER: Final = Path(__file__).parent.parent / "servers" / "stdlib_server.py"
TOOLS_LIST: Final = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}

DOCUMENTED_COMMAND: Final = ("run", "mypackage", "--start-server", "--oauth")

DOCUMENTED_CURL: Final = """\
curl -X POST http://localhost:8090/mypackage/mcp \\
  -H "Authorization: Bearer YOUR_ACCESS_TOKEN" \\
  -H "Content-Type: application/json" \\
  -d '{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}'
"""

DOCUMENTED_PYTHON: Final = """\
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


@pytest.fixture(scope="module")
def provider() -> Generator[OidcProvider]:
    with running_oidc_provider() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working directory with the package `mypackage`; it is HOME too."""
    package = tmp_path / ".fmcp-packages" / "ann" / "mypackage" / "1.0.0"
    package.mkdir(parents=True)
    entry = {"command": sys.executable, "args": ["-I", str(SERVER)]}
    (package / "metadata.json").write_text(json.dumps({"mcpServers": {"mypackage": entry}}), encoding="utf-8")
    return tmp_path


def at(folder: Path, **env: str) -> dict[str, str]:
    return {"HOME": str(folder), **env}


async def run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, env=environment(), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


async def ask(gateway: RunningGateway, token: str | None, path: str = "/mypackage/mcp", **more: str) -> httpx2.Response:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
        return await client.post(f"{gateway.url}{path}", json=TOOLS_LIST, headers={**headers, **more})


async def check_the_document(folder: Path, env: Mapping[str, str], token: str) -> None:
    """Both snippets with this token, and what is refused without it."""
    starting = start_on_documented_ports(*DOCUMENTED_COMMAND, says="Try: curl", alias="free", cwd=folder, env=env)
    async with starting as gateway:
        answer = json.loads(await run("sh", "-c", DOCUMENTED_CURL.replace("YOUR_ACCESS_TOKEN", token)))
        assert answer["id"] == 1
        assert "echo" in [tool["name"] for tool in answer["result"]["tools"]]
        printed = await run(sys.executable, "-c", DOCUMENTED_PYTHON.replace("your_access_token", token))
        assert "'name': 'echo'" in printed
        refused = json.loads(await run("sh", "-c", DOCUMENTED_CURL))
        assert refused["error"] == "unauthorized"
        for path in ("/mypackage/mcp", "/mypackage/sse", "/mypackage/tools", "/docs", "/openapi.json"):
            for port in (DOCUMENTED_PORT, DOCUMENTED_ALIAS_PORT):
                async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
                    response = await client.post(f"http://localhost:{port}{path}", json=TOOLS_LIST)
                assert response.status_code == 401
                assert response.headers["www-authenticate"].startswith("Bearer")
    assert token not in gateway.report()


# Manual mode


@pytest.mark.promise(1, 4, 18, 19, 20, 22, 23, 24, 25, 26, 27, 28, 29)
async def test_the_snippets_work_verbatim_with_a_token_from_the_environment(folder: Path) -> None:
    token = "canary-manual-token"
    await check_the_document(folder, at(folder, FMCP_OAUTH_ACCESS_TOKEN=token), token)


# Automatic mode


def settings_of(provider: OidcProvider, folder: Path, *, redirect_port: int) -> dict[str, str]:
    return at(
        folder,
        FMCP_OAUTH_AUTH_ENDPOINT=provider.authorization_url,
        FMCP_OAUTH_TOKEN_ENDPOINT=provider.token_url,
        FMCP_OAUTH_CLIENT_ID=CLI_CLIENT_ID,
        FMCP_OAUTH_REDIRECT_URI=f"http://localhost:{redirect_port}/callback",
    )


async def log_in_on_this_machine(env: Mapping[str, str], folder: Path, *, person: str) -> None:
    """`fluidmcp login`, and a person in a browser who opens the address that it prints."""
    process = await spawn("login", "--no-browser", env=env, cwd=folder)
    assert process.stdout is not None and process.stderr is not None
    stdout, stderr = Output(process.stdout), Output(process.stderr)
    try:
        location = (await stdout.wait_for("response_type=code", limit_seconds=60)).strip()
        end = await log_in(location, person=person, until=env["FMCP_OAUTH_REDIRECT_URI"])
        async with httpx2.AsyncClient(trust_env=False, timeout=60) as browser:
            assert (await browser.get(end)).status_code == 200
        async with asyncio.timeout(60):
            assert await process.wait() == 0, stderr.text
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await asyncio.gather(stdout.finish(), stderr.finish())


def read_tokens(folder: Path) -> dict[str, Any]:
    return json.loads((folder / ".fluidmcp" / "oauth" / "tokens.json").read_text(encoding="utf-8"))


@pytest.mark.needs("node", "oidc-provider")
@pytest.mark.promise(1, 3, 14, 18, 19, 20, 24, 25, 26, 27, 28, 29)
async def test_the_snippets_work_verbatim_after_a_login(folder: Path, provider: OidcProvider) -> None:
    env = settings_of(provider, folder, redirect_port=free_port())
    await log_in_on_this_machine(env, folder, person="ada")
    await check_the_document(folder, env, str(read_tokens(folder)["access_token"]))
    out = await run_fluidmcp("logout", env=env, cwd=folder)
    assert out.code == 0
    done = await run_fluidmcp(*DOCUMENTED_COMMAND, env=env, cwd=folder)
    assert done.stderr.startswith("Error: Not logged in\n")


@pytest.mark.needs("node", "oidc-provider")
@pytest.mark.promise(3, 41)
async def test_a_running_gateway_renews_the_login(folder: Path, provider: OidcProvider) -> None:
    env = settings_of(provider, folder, redirect_port=free_port()) | {
        "FMCP_OAUTH_SCOPE": "openid profile email offline_access"
    }
    await log_in_on_this_machine(env, folder, person="ada")
    first = read_tokens(folder)
    async with start_fluidmcp(*DOCUMENTED_COMMAND, cwd=folder, env=env) as gateway:
        assert (await ask(gateway, first["access_token"])).status_code == 200
        expire(folder)
        # Whoever comes first after the end makes the gateway ask the provider; the old token is over for all.
        assert (await ask(gateway, first["access_token"])).status_code == 401
        second = read_tokens(folder)
        assert second["access_token"] != first["access_token"]
        assert datetime.fromisoformat(second["expires_at"]) > datetime.now(UTC)
        assert (await ask(gateway, second["access_token"])).status_code == 200
    assert (folder / ".fluidmcp" / "oauth" / "tokens.json").stat().st_mode & 0o777 == 0o600


def expire(folder: Path) -> None:
    """Let the stored login have ended a minute ago, as if an hour had passed."""
    place = folder / ".fluidmcp" / "oauth"
    document = read_tokens(folder) | {"expires_at": datetime.fromtimestamp(time.time() - 60, UTC).isoformat()}
    fresh = place / "fresh.json"
    fresh.touch(mode=0o600)
    fresh.write_text(json.dumps(document), encoding="utf-8")
    fresh.replace(place / "tokens.json")
