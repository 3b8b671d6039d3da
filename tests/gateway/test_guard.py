"""Host, Origin, content type and size: what is refused before anybody looks at the meaning."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.gateway.running import RunningGateway, running_gateway, stdlib_entry

PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


@pytest.fixture
async def running() -> AsyncIterator[RunningGateway]:
    async with running_gateway([stdlib_entry()], max_body_bytes=100_000) as gateway:
        yield gateway


@pytest.mark.threat("B39")
@pytest.mark.parametrize("host", ["evil.example", "evil.example:8099", "localhost.evil.example", "10.0.0.1", ""])
async def test_b39_a_foreign_host_is_refused_on_every_route(running: RunningGateway, host: str) -> None:
    assert (await running.client.post("/echo/mcp", json=PING, headers={"host": host})).status_code == 421
    assert (await running.client.get("/echo/auth/login", headers={"host": host})).status_code == 421
    assert (await running.client.get("/health", headers={"host": host})).status_code == 421


@pytest.mark.threat("B39")
@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:1", "https://127.0.0.1"])
async def test_b39_a_foreign_origin_is_refused_on_every_route(running: RunningGateway, origin: str) -> None:
    headers = {"origin": origin}
    assert (await running.client.post("/echo/mcp", json=PING, headers=headers)).status_code == 403
    assert (await running.client.delete("/echo/mcp", headers=headers)).status_code == 403
    assert (await running.client.post("/echo/sse", json=PING, headers=headers)).status_code == 403
    assert (await running.client.get("/echo/auth/login", headers=headers)).status_code == 403


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "[::1]"])
async def test_our_own_names_and_origins_are_served(running: RunningGateway, name: str) -> None:
    port = running.url.rpartition(":")[2]
    headers = {"host": f"{name}:{port}", "origin": f"http://{name}:{port}"}
    assert (await running.client.post("/echo/mcp", json=PING, headers=headers)).status_code == 200


async def test_configured_hosts_and_origins_are_served() -> None:
    async with running_gateway(
        [stdlib_entry()],
        allowed_hosts=frozenset({"gateway.example"}),
        allowed_origins=frozenset({"https://app.example"}),
    ) as running:
        headers = {"host": "gateway.example", "origin": "https://app.example"}
        assert (await running.client.post("/echo/mcp", json=PING, headers=headers)).status_code == 200


@pytest.mark.threat("D17")
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "multipart/form-data; boundary=x"}, 415),
        ({"content-type": "application/x-www-form-urlencoded", "sec-fetch-site": "same-origin"}, 415),
        ({"content-type": "application/json", "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, 403),
        ({"content-type": "application/json", "origin": "null"}, 403),
    ],
)
async def test_d17_what_a_foreign_page_can_send_is_refused(
    running: RunningGateway, headers: dict[str, str], status: int
) -> None:
    body = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
    assert (await running.client.post("/echo/mcp", content=body, headers=headers)).status_code == status


@pytest.mark.threat("B40")
async def test_b40_a_large_body_is_refused_before_it_is_read(running: RunningGateway) -> None:
    response = await running.client.post("/echo/mcp", content=b"x" * 100_001)
    assert response.status_code == 413


@pytest.mark.threat("B40")
async def test_b40_a_large_chunked_body_is_refused_while_it_is_read(running: RunningGateway) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield b"x" * 1000

    headers = {"content-type": "application/json"}
    assert (await running.client.post("/echo/mcp", content=chunks(), headers=headers)).status_code == 413
    assert (await running.client.post("/echo/auth/refresh", content=chunks(), headers=headers)).status_code in (
        404,
        413,
    )


@pytest.mark.threat("B40")
async def test_b40_a_compressed_body_is_refused(running: RunningGateway) -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    assert (await running.client.post("/echo/mcp", content=b"\x1f\x8b", headers=headers)).status_code == 415


@pytest.mark.threat("B40")
@pytest.mark.parametrize(
    "head",
    [
        "Host: {own}\r\nContent-Length: 3\r\nTransfer-Encoding: chunked",
        "Host: {own}\r\nContent-Length: 3\r\nContent-Length: 4",
        "Host: {own}\r\nX-A: b\r\n folded",
        "Host: {own}\r\nHost: {own}",
        "Host: {own}\r\nContent-Length: -1",
        "Host: {own}\r\nContent-Length: 1_0",
        "Host: {own}\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\nContent-Length: 0",
    ],
)
async def test_b40_ambiguous_requests_are_refused(running: RunningGateway, head: str) -> None:
    own = running.url.removeprefix("http://")
    host, _, port = own.partition(":")
    async with asyncio.timeout(60):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"POST /echo/mcp HTTP/1.1\r\n{head.format(own=own)}\r\n\r\nabc".encode())
        status = await reader.readline()
        writer.close()
        await writer.wait_closed()
    assert b" 400 " in status


@pytest.mark.parametrize("path", ["//echo/mcp", "/echo/mcp/", "/health/../echo/mcp", "/%2e%2e/echo/mcp"])
async def test_odd_spellings_of_a_path_reach_no_server(running: RunningGateway, path: str) -> None:
    host, _, port = running.url.removeprefix("http://").partition(":")
    async with asyncio.timeout(60):
        reader, writer = await asyncio.open_connection(host, int(port))
        head = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 40\r\n\r\n"
        )
        writer.write(head.encode() + b'{"jsonrpc":"2.0","id":1,"method":"ping"}')
        status = await reader.readline()
        writer.close()
        await writer.wait_closed()
    assert b" 404 " in status
    assert running.gateway.process_count == 0
