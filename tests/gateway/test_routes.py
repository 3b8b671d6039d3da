"""Every route of a guarded gateway is guarded, or stands on the list of those that are not, with the reason."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import httpx2
import pytest
from starlette.routing import BaseRoute, Route

from fluidmcp.config.entries import AuthBlock
from fluidmcp.gateway.public_routes import PUBLIC_ROUTES
from tests.gateway.guards import KnownTokens, gate_token
from tests.gateway.running import RunningGateway, running_gateway, stdlib_entry

METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND")
MCP_ENDPOINTS = ("/{package}/mcp", "/{package}/sse", "/{package}/me")
NO_ROUTES = (
    "/auth/callback",
    "/metrics",
    "/ready",
    "/messages",
    "/{package}",
    "/{package}/messages",
    "/{package}/tools",
    "/redoc",
)

BLOCK = AuthBlock(
    authorization_url="https://id.example/authorize",
    token_url="https://id.example/token",
    env_var_name="MAIL_ACCESS_TOKEN",
    client_id_env="MAIL_CLIENT_ID",
)


@pytest.fixture
async def guarded() -> AsyncIterator[tuple[RunningGateway, KnownTokens]]:
    guard = KnownTokens()
    entries = [stdlib_entry("open"), stdlib_entry("mail", auth=BLOCK)]
    async with running_gateway(entries, {"MAIL_CLIENT_ID": "id-1"}, guard=guard) as running:
        yield running, guard


def paths_of(routes: list[BaseRoute]) -> Iterator[str]:
    """The path templates of all routes, of included routers and mounted applications too."""
    for route in routes:
        path = getattr(route, "path", None)
        nested = cast("list[BaseRoute]", getattr(route, "routes", None) or [])
        included = getattr(route, "original_router", None)
        if included is not None:
            nested = [*nested, *cast("list[BaseRoute]", included.routes)]
        assert nested or isinstance(route, Route), f"a kind of route that this test does not know: {route!r}"
        if nested:
            yield from (f"{path or ''}{inner}" for inner in paths_of(nested))
        else:
            assert isinstance(path, str)
            yield path


def fill(path: str, package: str) -> str:
    filled = path.replace("{package}", package).replace("{login}", "mail").replace("{file}", "page.js")
    return filled.replace("{digest}", "0123456789abcdef").replace("{name}", "docs.js")


@pytest.mark.promise(1, 24, 29)
@pytest.mark.threat("V20")
async def test_v20_without_a_token_only_the_listed_routes_are_open(
    guarded: tuple[RunningGateway, KnownTokens],
) -> None:
    running, guard = guarded
    web = await running.gateway.app.web.get()
    served = {*paths_of(web.routes), *MCP_ENDPOINTS}
    assert {"/health", "/ready", "/docs", "/openapi.json", "/{package}/auth/refresh"} <= served
    templates = {*served, *NO_ROUTES}
    paths = {fill(path, package) for path, package in itertools.product(templates, ("mail", "open", "unknown"))}
    answered: set[tuple[str, str]] = set()
    # Not over a socket: a thousand requests are quick this way.
    transport = httpx2.ASGITransport(cast(Any, running.gateway.app))
    async with httpx2.AsyncClient(transport=transport, base_url=running.url) as client:
        for path, slash, method in itertools.product(paths, ("", "/"), METHODS):
            if path + slash == "//":
                continue  # the client makes "/" of it
            response = await client.request(method, path + slash, headers={"content-type": "application/json"})
            if response.status_code != 401:
                answered.add((method, path + slash))
            else:
                assert response.headers["www-authenticate"] == 'Bearer realm="fluidmcp"'
    # The gateway has no login of its own here, and one package with a login, `mail`, which is at one provider.
    endpoints = {
        (endpoint.method, endpoint.path.format(package="mail", file="page.js"))
        for endpoint in PUBLIC_ROUTES
        if endpoint.which not in ("gateway login", "named login", "keys")
    }
    documents = {path for path in paths if "/.well-known/" in path}
    assert len(documents) == 9
    assert answered == endpoints | set(itertools.product(("GET", "OPTIONS"), documents))
    assert guard.asked == []
    assert running.gateway.process_count == 0


def test_each_public_route_says_why_it_is_open() -> None:
    assert all(endpoint.reason for endpoint in PUBLIC_ROUTES)
    assert [(endpoint.method, endpoint.path) for endpoint in PUBLIC_ROUTES if endpoint.which == "any"] == [
        ("GET", "/health"),
        ("GET", "/ready"),
        ("GET", "/schema/config.json"),
        ("GET", "/"),
        ("GET", "/-/callback"),
    ]
    asked = {endpoint.path for endpoint in PUBLIC_ROUTES if endpoint.method == "POST"}
    assert "/{package}/auth/refresh" not in asked, "a program calls it, which can send the gateway's token"


@pytest.mark.threat("V20")
async def test_v20_a_web_socket_is_refused(guarded: tuple[RunningGateway, KnownTokens]) -> None:
    running, _ = guarded
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/open/mcp", "headers": [(b"host", b"localhost")]}
    await running.gateway.app(scope, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]
    upgrade = {
        "connection": "upgrade",
        "upgrade": "websocket",
        "sec-websocket-key": "eA==",
        "sec-websocket-version": "13",
    }
    assert (await running.client.get("/open/mcp", headers=upgrade)).status_code == 401


async def test_with_a_token_every_route_is_what_it_is_without_a_guard(
    guarded: tuple[RunningGateway, KnownTokens],
) -> None:
    running, _ = guarded
    headers = {"authorization": f"Bearer {gate_token('ada')}"}
    for path in ("/docs", "/openapi.json", "/health"):
        assert (await running.client.get(path, headers=headers)).status_code == 200
    assert (await running.client.get("/nothing", headers=headers)).status_code == 404
    assert (await running.rpc("unknown", "ping", **headers)).status_code == 404
    assert (await running.rpc("open", "ping", **headers)).status_code == 200
    assert (await running.client.get("/open/auth/login", headers=headers)).status_code == 404


async def test_a_stranger_cannot_tell_an_unknown_package_from_a_known_one(
    guarded: tuple[RunningGateway, KnownTokens],
) -> None:
    running, _ = guarded
    for endpoint in ("mcp", "sse", "auth/login", "auth/callback", "auth/refresh"):
        for headers in ({}, {"authorization": "Bearer aaaaaaaaaaaa"}):
            known = await running.client.post(f"/open/{endpoint}", headers=headers)
            unknown = await running.client.post(f"/nothing/{endpoint}", headers=headers)
            assert known.status_code == unknown.status_code == 401
            assert known.text == unknown.text
            assert known.headers["www-authenticate"] == unknown.headers["www-authenticate"]


RAW_PATHS = (
    "//open/mcp",
    "/open//mcp",
    "/health/../open/mcp",
    "/%2e%2e/open/mcp",
    "/health/..%2fopen/mcp",
    "/health%00/open/mcp",
    "/health;/open/mcp",
    "/open/mcp/",
    "/open/mcp;x=/health",
    "/open/mcp%2f",
    "/OPEN/mcp",
    "/open/mcp?path=/health",
    "/open/auth/login/../../mcp",
    "/mail/auth/login/",
    "/mail/auth/login/../../../open/mcp",
    "//mail/auth/login",
    "/Health",
    "/health/",
    "/health%2f",
    "*",
    "http://localhost/open/mcp",
)


@pytest.mark.threat("V19")
@pytest.mark.parametrize("path", RAW_PATHS)
async def test_v19_no_spelling_of_a_path_goes_round_the_guard(
    guarded: tuple[RunningGateway, KnownTokens], path: str
) -> None:
    running, _ = guarded
    host, _, port = running.url.removeprefix("http://").partition(":")
    body = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
    for method in ("POST", "GET"):
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"X-Forwarded-Uri: /health\r\nX-Original-URL: /health\r\nX-Rewrite-URL: /health\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        async with asyncio.timeout(60):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(head.encode() + body)
            status = await reader.readline()
            writer.close()
            await writer.wait_closed()
        assert status.split()[1] in (b"401", b"400"), status
    assert running.gateway.process_count == 0


@pytest.mark.threat("V19", "D18")
@pytest.mark.parametrize(
    "headers",
    [
        {"x-forwarded-uri": "/health"},
        {"x-forwarded-host": "localhost"},
        {"x_forwarded_host": "localhost"},
        {"x-forwarded-for": "127.0.0.1", "x-real-ip": "127.0.0.1"},
        {"forwarded": "for=127.0.0.1;host=localhost;proto=https"},
        {"x-forwarded-user": "ada", "x-forwarded-email": "ada@example.org", "remote-user": "ada"},
        {"x-forwarded-access-token": gate_token("ada"), "x-auth-request-access-token": gate_token("ada")},
        {"x_fluidmcp_authorization": f"Bearer {gate_token('ada')}"},
        {"proxy-authorization": f"Bearer {gate_token('ada')}"},
        {"x-http-method-override": "GET"},
    ],
)
async def test_v19_d18_what_a_proxy_would_say_is_not_believed(
    guarded: tuple[RunningGateway, KnownTokens], headers: dict[str, str]
) -> None:
    running, guard = guarded
    assert (await running.rpc("open", "ping", **headers)).status_code == 401
    assert (await running.client.get("/docs", headers=headers)).status_code == 401
    assert guard.asked == []
