"""Client id metadata documents on a real https server, and a Fetcher that gets there although it is this machine.

The Fetcher resolves every name to the public address that a test gives it, checks that, and only the last hop goes to
the server on loopback: everything that guards the fetch is at work.
"""

import datetime
import ipaddress
import json
import ssl
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx2
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fluidmcp.oauth_client.fetch import Fetcher
from tests.providers.serving import serve

HOST: Final = "client.example"
PUBLIC_ADDRESS: Final = "93.184.216.34"


@dataclass
class Documents:
    """What the server has, by path: the body, with its status and headers. `requested` are the paths, in order."""

    answers: dict[str, Response] = field(default_factory=dict[str, Response])
    requested: list[str] = field(default_factory=list[str])
    fetcher: Fetcher = field(init=False)

    def url(self, path: str = "/client.json") -> str:
        return f"https://{HOST}{path}"

    def put(
        self, path: str = "/client.json", *, headers: Mapping[str, str] | None = None, status: int = 200, **changes: Any
    ) -> str:
        """A good document with changes; a change to None leaves the member out. Its address, which is the client id."""
        document = {
            "client_id": self.url(path),
            "client_name": "A client with a document",
            "redirect_uris": ["http://localhost/callback", "https://client.example/callback"],
            **changes,
        }
        kept = {name: value for name, value in document.items() if value is not None}
        self.put_raw(path, json.dumps(kept).encode(), headers=headers, status=status)
        return self.url(path)

    def put_raw(
        self,
        path: str,
        body: bytes,
        *,
        headers: Mapping[str, str] | None = None,
        status: int = 200,
        media_type: str = "application/json",
    ) -> str:
        self.answers[path] = Response(body, status, dict(headers or {}), media_type)
        return self.url(path)

    async def answer(self, request: Request) -> Response:
        self.requested.append(request.url.path)
        return self.answers.get(request.url.path, Response(status_code=404))


class LoopbackFetcher(Fetcher):
    """A Fetcher whose connections to public addresses end at a server of this machine."""

    def __init__(self, port: int, context: ssl.SSLContext, addresses: Sequence[str], **options: Any) -> None:
        async def resolve(_host: str, _port: int) -> Sequence[str]:
            return self.addresses

        super().__init__(allow_loopback=False, resolve=resolve, **options)
        self.addresses = tuple(addresses)
        self.connections: list[str] = []
        self._port = port
        self._transport = httpx2.AsyncHTTPTransport(verify=context, trust_env=False)

    async def _send(self, request: httpx2.Request, address: str) -> httpx2.Response:
        self.connections.append(address)
        request.url = request.url.copy_with(host="127.0.0.1", port=self._port)
        return await self.prepare().handle_async_request(request)


@asynccontextmanager
async def client_documents(folder: Path, *, hosts: Sequence[str] = (), **options: Any) -> AsyncGenerator[Documents]:
    """The server and the Fetcher; `options` go to the Fetcher. `folder` is for the server's certificate.

    `hosts` are others that the certificate is for.
    """
    documents = Documents()
    app = Starlette(routes=[Route("/{path:path}", documents.answer)])
    certificate = _write_certificate(folder, hosts)
    context = ssl.create_default_context(cafile=str(certificate))
    async with serve(app, certificate=certificate) as address:
        port = int(address.rpartition(":")[2])
        documents.fetcher = LoopbackFetcher(port, context, [PUBLIC_ADDRESS], **options)
        try:
            yield documents
        finally:
            await documents.fetcher.aclose()


def _write_certificate(folder: Path, hosts: Sequence[str]) -> Path:
    """A certificate for HOST, signed by itself, with its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.UTC)
    names = [*map(x509.DNSName, (HOST, f"*.{HOST}", *hosts)), x509.IPAddress(ipaddress.ip_address(PUBLIC_ADDRESS))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(private + certificate.public_bytes(Encoding.PEM))
    return path
