"""Where the gateway may connect to: every address is checked, and the checked one is used."""

import asyncio
import ipaddress
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from fluidmcp.errors import ProviderUnavailableError
from fluidmcp.oauth_client.fetch import Fetcher
from fluidmcp.oauth_client.target import Resolve, check_target, find_addresses, is_allowed
from tests.providers.serving import serve


def resolving(*answers: Sequence[str]) -> tuple[Resolve, list[str]]:
    """A resolver that gives one answer after the other, and the names that it was asked for."""
    asked: list[str] = []

    async def resolve(host: str, _port: int) -> Sequence[str]:
        asked.append(host)
        return answers[min(len(asked), len(answers)) - 1]

    return resolve, asked


@pytest.mark.threat("B26")
@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "127.0.0.1",
        "::1",
        "0.0.0.0",
        "::",
        "10.0.0.1",
        "172.16.5.4",
        "192.168.0.1",
        "100.64.0.1",
        "100.100.100.200",
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "::10.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::a00:1",
        "2002:a00:1::",
        "2001:0:a00:1:0:0:f5ff:fffe",
        "2607:f8b0::5efe:a00:1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "2001:db8::1",
    ],
)
async def test_b26_a_name_that_stands_for_such_an_address_is_refused(address: str) -> None:
    for answer in ([address], ["8.8.8.8", address]):
        resolve, _ = resolving(answer)
        with pytest.raises(ProviderUnavailableError):
            await find_addresses("https://as.example/token", resolve=resolve, allow_loopback=True)


@pytest.mark.threat("B26")
@pytest.mark.parametrize(
    "address", ["10.0.0.1", "192.168.1.20", "172.31.0.1", "100.64.1.1", "fd12::1", "64:ff9b::a00:1"]
)
async def test_b26_a_private_network_has_to_be_allowed_explicitly(address: str) -> None:
    resolve, _ = resolving([address])
    with pytest.raises(ProviderUnavailableError) as caught:
        await find_addresses("https://keycloak.corp/token", resolve=resolve, allow_loopback=True)
    assert "FMCP_ALLOW_PRIVATE_PROVIDERS" in caught.value.hint
    found = await find_addresses(
        "https://keycloak.corp/token", resolve=resolve, allow_loopback=True, allow_private=True
    )
    assert found == (address,)
    # Plain http stays what it is: for this machine only.
    with pytest.raises(ProviderUnavailableError):
        await find_addresses("http://keycloak.corp/token", resolve=resolve, allow_loopback=True, allow_private=True)


@pytest.mark.threat("B26")
@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1", "fd00:ec2::254", "127.0.0.1", "::1", "0.0.0.0"])
async def test_b26_what_no_provider_has_stays_refused_when_private_networks_are_allowed(address: str) -> None:
    resolve, _ = resolving([address])
    with pytest.raises(ProviderUnavailableError):
        await find_addresses("https://as.example/", resolve=resolve, allow_loopback=True, allow_private=True)


@pytest.mark.threat("B26")
async def test_b26_this_machine_is_reached_by_its_own_names_only() -> None:
    resolve, _ = resolving(["127.0.0.1", "::1"])
    assert await find_addresses("http://localhost:9/x", resolve=resolve, allow_loopback=True) == ("127.0.0.1", "::1")
    with pytest.raises(ProviderUnavailableError):
        await find_addresses("http://localhost:9/x", resolve=resolve, allow_loopback=False)
    planted, _ = resolving(["8.8.8.8"])
    with pytest.raises(ProviderUnavailableError):
        await find_addresses("http://localhost:9/x", resolve=planted, allow_loopback=True)


@pytest.mark.threat("B26")
async def test_b26_a_name_that_changes_after_the_check_gains_nothing() -> None:
    """DNS rebinding: one thing when checked, loopback afterwards. There is one look-up, and it decides."""
    came: list[str] = []

    def handle(request: Request) -> Response:
        came.append(request.url.path)
        return PlainTextResponse("inside")

    async with serve(Starlette(routes=[Route("/{path:path}", handle)])) as address:
        port = address.rpartition(":")[2]
        # 203.0.113.0/24 is for documentation: nothing answers there, and here it counts as private.
        resolve, asked = resolving(["203.0.113.7"], ["127.0.0.1"])
        fetcher = Fetcher(resolve=resolve)
        for _ in range(2):
            with pytest.raises(ProviderUnavailableError):
                await fetcher.get(f"https://rebinding.example:{port}/secret")
        assert asked == ["rebinding.example"] * 2
        await fetcher.aclose()
    assert came == []


async def test_the_connection_goes_to_the_checked_address_under_the_name_of_the_provider() -> None:
    hosts: list[str | None] = []

    def handle(request: Request) -> Response:
        hosts.append(request.headers.get("host"))
        return PlainTextResponse("hello")

    async with serve(Starlette(routes=[Route("/{path:path}", handle)])) as address:
        port = address.rpartition(":")[2]
        # The first address takes no connection: the next one is tried.
        resolve, _ = resolving(["127.0.0.2", "::1", "127.0.0.1"])
        fetcher = Fetcher(resolve=resolve, total_timeout_seconds=60)
        answer = await fetcher.get(f"http://idp.localhost:{port}/keys")
        await fetcher.aclose()
    assert answer.body == b"hello"
    assert hosts == [f"idp.localhost:{port}"]


@pytest.mark.threat("B26")
async def test_b26_tls_asks_for_the_name_although_the_connection_goes_to_the_address(tmp_path: Path) -> None:
    names: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_signed(tmp_path, "idp.localhost"))
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    resolve, _ = resolving(["127.0.0.1"])
    fetcher = Fetcher(resolve=resolve)
    # The certificate is signed by nobody we trust, so the name alone does not help.
    with pytest.raises(ProviderUnavailableError):
        await fetcher.get(f"https://idp.localhost:{port}/keys")
    await fetcher.aclose()
    server.close()
    await server.wait_closed()
    assert names == ["idp.localhost"]


def self_signed(folder: Path, name: str) -> Path:
    """A certificate with its key in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / "certificate.pem"
    path.write_bytes(pem + certificate.public_bytes(serialization.Encoding.PEM))
    return path


async def test_a_name_without_address_is_an_unreachable_provider() -> None:
    async def resolve(_host: str, _port: int) -> Sequence[str]:
        return ()

    fetcher = Fetcher(resolve=resolve)
    with pytest.raises(ProviderUnavailableError):
        await fetcher.get("https://nowhere.example/")
    await fetcher.aclose()


def test_public_addresses_are_allowed() -> None:
    for address in ("8.8.8.8", "2001:4860:4860::8888", "64:ff9b::808:808", "::ffff:8.8.8.8", "2002:808:808::"):
        assert is_allowed(ipaddress.ip_address(address))
    check_target("https://8.8.8.8/token", allow_loopback=False)
    check_target("https://10.0.0.5/token", allow_loopback=False, allow_private=True)
    with pytest.raises(ProviderUnavailableError):
        check_target("https://10.0.0.5/token", allow_loopback=False)
