"""deploy/envoy.yaml at work: a real Envoy in front of three gateways."""

import asyncio
import signal
from pathlib import Path
from typing import Final

import pytest

from tests.acceptance.harness import free_port
from tests.deploy.shipped import DEPLOY
from tests.deploy.three import (
    CLIENTS,
    NUMBERS,
    Three,
    ask,
    begin_session,
    calling,
    running_envoy,
    speak_by_sse,
    three_gateways,
)

LIMIT_SECONDS: Final = 90.0

pytestmark = pytest.mark.needs("deploy-tools")


def changes_for(three: Three) -> dict[str, str]:
    ports = {f"port_value: 810{n}": f"port_value: {three.ports[f'gateway-{n}']}" for n in NUMBERS}
    return {**ports, "{address: 0.0.0.0, port_value: 443}": f"{{address: 127.0.0.1, port_value: {three.port}}}"}


async def test_sessions_find_their_gateway_and_the_others_go_on_when_one_is_killed(tmp_path: Path) -> None:
    text = (DEPLOY / "envoy.yaml").read_text(encoding="utf-8")
    async with asyncio.timeout(LIMIT_SECONDS), three_gateways(tmp_path) as three:
        async with (
            running_envoy(tmp_path, text, changes_for(three)) as authority,
            calling(three.url, authority) as http,
        ):
            names = await asyncio.gather(*(speak_by_sse(http) for _ in range(CLIENTS)))
            assert {*names} <= {*three.ports}
            sessions: dict[str, str] = {}
            while {*sessions} != {*three.ports}:
                session = await begin_session(http)
                sessions[session.partition(".")[0]] = session
            assert [await ask(http, session) for session in sessions.values()] == [200, 200, 200]
            await three.running["gateway-2"].stop(with_signal=signal.SIGKILL)
            told = {name: await ask(http, session) for name, session in sessions.items()}
            assert told == {"gateway-1": 200, "gateway-2": 404, "gateway-3": 200}
            tokens = [f"Bearer {number}" for number in range(20)]
            assert {await ask(http, authorization=token) for token in tokens} == {200}


async def test_each_client_is_counted_by_its_own_address(tmp_path: Path) -> None:
    """What a client says of itself stands left of what Envoy says."""
    seen: list[bytes] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"GET /ready"):
            seen.append(head)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
        await writer.drain()
        writer.close()

    text, port = (DEPLOY / "envoy.yaml").read_text(encoding="utf-8"), free_port()
    async with asyncio.timeout(LIMIT_SECONDS), await asyncio.start_server(take, "127.0.0.1", 0) as server:
        own = server.sockets[0].getsockname()[1]
        three = Three(f"https://localhost:{port}", port, {f"gateway-{n}": own for n in NUMBERS}, {})
        async with (
            running_envoy(tmp_path, text, changes_for(three)) as authority,
            # Envoy writes its own machine's address for 127.0.0.1.
            calling(three.url, authority, source="127.0.0.5") as http,
        ):
            await http.get("/health", headers={"x-forwarded-for": "192.0.2.1"})
    [head] = seen
    assert b"\r\nx-forwarded-for: 192.0.2.1,127.0.0.5\r\n" in head
    assert b"\r\nhost: localhost:" in head
