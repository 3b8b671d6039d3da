"""A gateway that speaks https by itself, through the real executable."""

import asyncio
import contextlib
import json
import signal
import ssl
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography import x509
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import TextContent

from tests.acceptance.certificates import Authority
from tests.acceptance.harness import RunningGateway, free_port, run_fluidmcp
from tests.acceptance.listening import start_listening
from tests.gateway.running import STDLIB_SERVER

LIMIT_SECONDS = 60.0
CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    authority = Authority(tmp_path)
    authority.issue()
    return authority


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "config.json"
    server = {"command": sys.executable, "args": ["-I", str(STDLIB_SERVER)]}
    path.write_text(json.dumps({"mcpServers": {"echo": server}}))
    return str(path)


@asynccontextmanager
async def start(config: str, authority: Authority, **env: str) -> AsyncGenerator[RunningGateway]:
    port = free_port()
    arguments = (config, "--port", str(port), *authority.options)
    async with start_listening(*arguments, url=f"https://localhost:{port}", port=port, env=env) as gateway:
        yield gateway


class Connection:
    """One that stays open."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @property
    def serial_number(self) -> int:
        shown: ssl.SSLObject = self.writer.get_extra_info("ssl_object")
        encoded = shown.getpeercert(binary_form=True)
        assert encoded is not None
        return x509.load_der_x509_certificate(encoded).serial_number

    async def echo(self, text: str) -> Any:
        body = json.dumps({**CALL, "params": {"name": "echo", "arguments": {"text": text}}}).encode()
        head = "POST /echo/mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
        self.writer.write(f"{head}{len(body)}\r\n\r\n".encode() + body)
        async with asyncio.timeout(LIMIT_SECONDS):
            answered = await self.reader.readuntil(b"\r\n\r\n")
            assert answered.startswith(b"HTTP/1.1 200 "), answered
            length = int(answered.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            return json.loads(await self.reader.readexactly(length))["result"]["content"][0]["text"]

    def close(self) -> None:
        self.writer.transport.abort()


async def connect(
    gateway: RunningGateway, authority: Authority, context: ssl.SSLContext | None = None, name: str = "localhost"
) -> Connection:
    async with asyncio.timeout(LIMIT_SECONDS):
        return Connection(
            *await asyncio.open_connection(
                "127.0.0.1", gateway.port, ssl=context or authority.context(), server_hostname=name
            )
        )


async def test_https_is_served_and_announced_and_plain_http_is_not(config: str, authority: Authority) -> None:
    async with start(config, authority) as gateway:
        assert f"{gateway.url}/echo/mcp" in gateway.stdout.text
        async with httpx2.AsyncClient(verify=authority.context(), trust_env=False, timeout=LIMIT_SECONDS) as client:
            assert (await client.get(f"{gateway.url}/health")).json() == {"status": "ok"}
            assert (await client.get(f"{gateway.url}/ready")).status_code == 200
            own = await client.get(f"{gateway.url}/health", headers={"origin": gateway.url})
            foreign = await client.get(f"{gateway.url}/health", headers={"origin": f"http://localhost:{gateway.port}"})
        assert (own.status_code, foreign.status_code) == (200, 403)
        async with httpx2.AsyncClient(trust_env=False, timeout=LIMIT_SECONDS) as client:
            with pytest.raises(httpx2.TransportError):
                await client.get(f"http://localhost:{gateway.port}/health")
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = authority.context()
            context.minimum_version = context.maximum_version = version
            connection = await connect(gateway, authority, context)
            assert await connection.echo("x") == "x"
            connection.close()
        context = authority.context()
        context.check_hostname = False
        nameless = await connect(gateway, authority, context, name="")
        assert await nameless.echo("without SNI") == "without SNI"
        nameless.close()


async def test_older_versions_of_tls_are_refused(config: str, authority: Authority) -> None:
    context = authority.context()
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with start(config, authority) as gateway:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await connect(gateway, authority, context)


async def test_the_python_sdk_talks_over_tls(config: str, authority: Authority) -> None:
    async with (
        start(config, authority) as gateway,
        asyncio.timeout(LIMIT_SECONDS),
        httpx2.AsyncClient(verify=authority.context(), trust_env=False, timeout=LIMIT_SECONDS) as http,
        Client(streamable_http_client(f"{gateway.url}/echo/mcp", http_client=http)) as client,
    ):
        answer = await client.call_tool("echo", {"text": "Grüße"})
        assert [part.text for part in answer.content if isinstance(part, TextContent)] == ["Grüße"]


async def test_large_answers_wait_for_a_client_that_reads_slowly(config: str, authority: Authority) -> None:
    """Several megabytes, of which the client's buffer holds little; nothing is lost, whichever way they take."""
    async with start(config, authority) as gateway:
        connection = await connect(gateway, authority)
        text = "x" * 4_000_000
        for _ in range(3):
            assert await connection.echo(text) == text
        connection.close()


async def test_a_client_that_never_ends_its_handshake_is_closed(config: str, authority: Authority) -> None:
    async with start(config, authority, FMCP_HEADER_SECONDS="1") as gateway, asyncio.timeout(LIMIT_SECONDS):
        silent = [await asyncio.open_connection("127.0.0.1", gateway.port) for _ in range(2)]
        silent[1][1].write(b"\x16\x03\x01")
        for reader, writer in silent:
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()


@pytest.mark.parametrize("how", ["signal", "change"])
async def test_a_new_certificate_is_for_new_connections_and_closes_none(
    config: str, authority: Authority, how: str
) -> None:
    before = authority.issue()
    async with start(config, authority) as gateway:
        old = [await connect(gateway, authority) for _ in range(2)]
        assert [await each.echo("before") for each in old] == ["before"] * 2
        after = authority.issue()
        if how == "signal":
            gateway.process.send_signal(signal.SIGHUP)
        await gateway.stderr.wait_for("new connections get the certificate")
        new = await connect(gateway, authority)
        assert [each.serial_number for each in (*old, new)] == [before, before, after]
        assert [await each.echo("after") for each in (*old, new)] == ["after"] * 3
        authority.key.write_text("broken")
        gateway.process.send_signal(signal.SIGHUP)
        assert "no private key" in await gateway.stderr.wait_for("the certificate of before stays in use")
        last = await connect(gateway, authority)
        assert last.serial_number == after
        assert [await each.echo("still") for each in (*old, new, last)] == ["still"] * 4
        assert await gateway.stop() == 0, "idle connections over TLS keep nobody waiting"
        for each in (*old, new, last):
            each.close()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--tls-cert", "c.pem"), "--tls-cert needs --tls-key as well (or FMCP_TLS_KEY)"),
        (("--tls-key", "k.pem"), "--tls-key needs --tls-cert as well (or FMCP_TLS_CERT)"),
        (("--tls-cert", "c.pem", "--tls-key", "k.pem"), "The file of --tls-cert cannot be read."),
        (
            ("--tls-cert", "c.pem", "--tls-key", "k.pem", "--public-url", "http://localhost:1"),
            "--public-url must begin with https://",
        ),
    ],
)
async def test_a_mistake_ends_the_start(config: str, tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    ended = await run_fluidmcp("run", config, "--start-server", *arguments, cwd=tmp_path)
    assert ended.code == 2
    assert says in ended.stderr
