"""The gateway behind a real nginx, below a path, set up as docs/deployment.md shows it."""

import json
import shlex
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fluidmcp.config.settings import LoginLimits
from fluidmcp.oauth_client.waiting_logins import PENDING_LOGIN_SECONDS, address_key
from fluidmcp.protocol.forwarded import parse_trusted_proxies
from tests.acceptance.harness import RunningGateway, free_port, start_fluidmcp
from tests.acceptance.listening import start_listening
from tests.acceptance.nginx import HOST, Nginx, read_block, running_nginx
from tests.acceptance.test_stopping import INITIALIZE
from tests.clients.logins.browser import OUR_CONSENT
from tests.clients.logins.driving import CLIENTS, Client, driven
from tests.clients.logins.test_logins import build_environ, write_config
from tests.gateway.client_login import Stage, client_logins
from tests.gateway.running import STDLIB_SERVER
from tests.providers.oidc import CLIENT_SECRET, OTHER_CLIENT_ID, running_oidc_provider

SDKS = [client for client in CLIENTS if client.id in ("python-sdk-2-auto", "typescript-sdk-2-auto")]

pytestmark = pytest.mark.needs("nginx")


def written_command(config: Path, nginx: Nginx) -> list[str]:
    """The arguments of the page's command."""
    program, *words = shlex.split(read_block("bash"))
    assert program == "fluidmcp"
    changes = {"config.json": str(config), f"https://{HOST}/tools": nginx.url}
    assert set(changes) <= set(words)
    return [changes.get(word, word) for word in words]


@pytest.mark.needs("node", "oidc-provider")
@pytest.mark.parametrize("client", SDKS, ids=lambda client: client.id)
async def test_an_sdk_client_logs_in_through_nginx_with_the_url_alone(client: Client, tmp_path: Path) -> None:
    if missing := client.find_missing():
        pytest.skip(missing)
    gateway_port = free_port()
    async with running_nginx(tmp_path, port=free_port(), gateway_port=gateway_port) as nginx:
        with running_oidc_provider(gateway_url=nginx.url) as provider:
            command = written_command(write_config(tmp_path, provider), nginx)
            async with start_fluidmcp(*command, env=build_environ(), port=gateway_port) as gateway:
                await says_its_addresses(gateway, nginx)
                url = f"{nginx.url}/mail/mcp"
                trusting = driven(client, url, tmp_path, gateway_url=nginx.origin, authority=nginx.authority)
                async with trusting as running:
                    first = await running.wait_called()
                    assert len(first) == 64, "the digest of the provider's token"
                    assert await running.call() == first
                    assert [trip.pages for trip in running.trips] == [[OUR_CONSENT, "login", "consent"]]


@pytest.mark.needs("node", "oidc-provider")
@pytest.mark.parametrize("client", SDKS, ids=lambda client: client.id)
async def test_below_a_path_the_login_of_the_company_comes_first_in_the_same_trip(
    client: Client, tmp_path: Path
) -> None:
    """The gateway's own callback and consent stand below the path, as those of its packages do."""
    if missing := client.find_missing():
        pytest.skip(missing)
    gateway_port = free_port()
    async with running_nginx(tmp_path, port=free_port(), gateway_port=gateway_port) as nginx:
        with (
            running_oidc_provider(gateway_url=nginx.url) as company,
            running_oidc_provider(gateway_url=nginx.url) as provider,
        ):
            env = build_environ(
                HOME=str(tmp_path),
                FMCP_OAUTH_ISSUER=company.issuer,
                FMCP_OAUTH_CLIENT_ID=OTHER_CLIENT_ID,
                FMCP_OAUTH_CLIENT_SECRET=CLIENT_SECRET,
                FMCP_OAUTH_SCOPE="openid email",
                FMCP_OAUTH_ALLOWED_SUBJECTS="alice",
            )
            command = [*written_command(write_config(tmp_path, provider), nginx), "--oauth"]
            async with start_fluidmcp(*command, env=env, port=gateway_port) as gateway:
                await gateway.stdout.wait_for(f"provider of the gateway: {nginx.url}/auth/callback")
                url = f"{nginx.url}/mail/mcp"
                trusting = driven(client, url, tmp_path, gateway_url=nginx.origin, authority=nginx.authority)
                async with trusting as running:
                    first = await running.wait_called()
                    assert len(first) == 64, "the digest of the provider's token"
                    assert await running.call() == first
                    assert [trip.pages for trip in running.trips] == [[OUR_CONSENT, *["login", "consent"] * 2]]


async def says_its_addresses(gateway: RunningGateway, nginx: Nginx) -> None:
    await gateway.stdout.wait_for(f" at {nginx.url}/mail/mcp")
    await gateway.stdout.wait_for(f"{nginx.url}/mail/auth/login")
    await gateway.stdout.wait_for(f"{nginx.url}/mail/auth/callback")


@asynccontextmanager
async def stage_behind_nginx(folder: Path) -> AsyncGenerator[tuple[Stage, Nginx]]:
    port, gateway_port = free_port(), free_port()
    options = {"public_url": f"https://localhost:{port}/tools", "trusted_proxies": parse_trusted_proxies("127.0.0.1")}
    async with (
        client_logins(port=gateway_port, **options) as stage,
        running_nginx(folder, port=port, gateway_port=gateway_port) as nginx,
    ):
        yield stage, nginx


async def test_events_come_through_nginx_while_the_stream_is_open(tmp_path: Path) -> None:
    async with stage_behind_nginx(tmp_path) as (_stage, nginx), nginx.client() as http:
        async with http.stream("GET", "/open/sse") as response:
            lines = response.aiter_lines()
            assert await anext(lines) == "event: endpoint"
            address = (await anext(lines)).removeprefix("data: ")
            assert address.startswith("/tools/open/sse?sessionId=")
            hello = {"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
            for number, (method, params) in enumerate([("initialize", hello), ("tools/list", {})]):
                message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
                assert (await http.post(nginx.origin + address, json=message)).status_code == 202
                # The next message is not sent before the answer to this one is here.
                answer = json.loads((await find_line(lines, "data: ")).removeprefix("data: "))
                assert (answer["id"], "result" in answer) == (number, True)


async def find_line(lines: AsyncIterator[str], prefix: str) -> str:
    async for line in lines:
        if line.startswith(prefix):
            return line
    raise AssertionError(f"the stream ended without {prefix}")


@pytest.mark.threat("E17")
async def test_e17_behind_nginx_each_client_is_counted_by_its_own_address(tmp_path: Path) -> None:
    async with stage_behind_nginx(tmp_path) as (stage, nginx):
        for source, forwarded in (("127.0.0.5", ""), ("127.0.0.5", "127.0.0.6"), ("127.0.0.7", "127.0.0.1, x")):
            headers = {"x-forwarded-for": forwarded} if forwarded else {}
            async with nginx.client(source=source) as http:
                begun = await http.get("/mail/auth/login", headers=headers)
                assert begun.status_code == 302, begun.text
                assert "; Path=/tools/mail/auth;" in begun.headers["set-cookie"]
        logins = stage.running.gateway.parts.logins.services.pending_auth_states
        counted = [
            await logins.count(address_key("login", f"127.0.0.{number}"), window_seconds=PENDING_LOGIN_SECONDS) - 1
            for number in (1, 5, 6, 7)
        ]
        assert counted == [0, 2, 0, 1]


@pytest.mark.threat("E17")
@pytest.mark.parametrize(("trusted", "outcomes"), [("unix", [302, 429, 302]), ("127.0.0.1", [302, 429, 429])])
async def test_e17_at_a_unix_socket_nginx_says_whose_a_request_is_where_it_is_trusted(
    tmp_path: Path, trusted: str, outcomes: list[int]
) -> None:
    socket, port = tmp_path / "gateway.sock", free_port()
    provider = "https://login.example.com"
    auth = {
        "type": "oauth2",
        "flow": "pkce",
        "authorization_url": f"{provider}/authorize",
        "token_url": f"{provider}/token",
        "client_id": "a-client",
        "env_var_name": "ACCESS_TOKEN",
        "allow_any_user": True,
    }
    server = {"command": sys.executable, "args": ["-I", str(STDLIB_SERVER)], "auth": auth}
    config = tmp_path / "servers.json"
    config.write_text(json.dumps({"mcpServers": {"mail": server}}))
    async with running_nginx(tmp_path, port=port, socket=socket) as nginx:
        arguments = ("--uds", str(socket), "--public-url", nginx.url, "--trusted-proxies", trusted)
        async with start_listening(str(config), *arguments):
            async with nginx.client(source="127.0.0.5") as first, nginx.client(source="127.0.0.7") as second:
                got: list[int] = []
                for http in (*[first] * (LoginLimits().max_per_address + 1), second):
                    got.append((await http.get("/mail/auth/login")).status_code)
                    http.cookies.clear()
    assert [got[0], *got[-2:]] == outcomes


async def test_nginx_passes_on_what_is_the_gateways_and_nothing_else(tmp_path: Path) -> None:
    async with stage_behind_nginx(tmp_path) as (_stage, nginx), nginx.client() as http:
        assert (await http.get("/health")).json() == {"status": "ok"}
        assert (await http.get("/docs")).status_code == 200
        refused = await http.post("/mail/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "ping"})
        document = f"{nginx.origin}/.well-known/oauth-protected-resource/tools/mail/mcp"
        assert f'resource_metadata="{document}"' in refused.headers["www-authenticate"]
        assert (await http.get(document)).json()["resource"] == f"{nginx.url}/mail/mcp"
        for path in ("/health", "/mail/mcp", "/.well-known/oauth-protected-resource/mail/mcp", "/toolsx/docs"):
            answer = await http.get(nginx.origin + path)
            assert (answer.status_code, "nginx" in answer.text) == (404, True)
        # What nginx takes for one of ours in another spelling is none to the gateway, which reads what was sent.
        for path in ("//tools/docs", "/tools//docs", "/x/%2e%2e/tools/docs", "/tools/%2e/docs"):
            answer = await http.get(nginx.origin + path)
            assert (answer.status_code, "nginx" in answer.text) == (404, False), path
        large = await http.post("/open/mcp", content=b" " * (10 * 1024 * 1024 + 1))
        assert large.status_code == 413


async def test_a_session_goes_on_when_nginx_comes_back(tmp_path: Path) -> None:
    config = tmp_path / "servers.json"
    config.write_text(
        json.dumps({"mcpServers": {"it": {"command": sys.executable, "args": ["-I", str(STDLIB_SERVER)]}}})
    )
    port, gateway_port = free_port(), free_port()
    headers = {"accept": "application/json, text/event-stream"}
    command = ("run", str(config), "--start-server", "--public-url", f"https://localhost:{port}/tools")
    async with start_fluidmcp(*command, "--trusted-proxies", "127.0.0.1", port=gateway_port):
        for text in ("1", "2"):
            async with running_nginx(tmp_path, port=port, gateway_port=gateway_port) as nginx, nginx.client() as http:
                if text == "1":
                    begun = await http.post("/it/mcp", json=INITIALIZE, headers=headers)
                    headers["mcp-session-id"] = begun.headers["mcp-session-id"]
                count = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "count"}}
                answer = await http.post("/it/mcp", json=count, headers=headers)
                assert answer.json()["result"]["content"][0]["text"] == text
