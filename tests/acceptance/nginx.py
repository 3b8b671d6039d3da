"""A real nginx in front of a gateway, with the configuration that docs/deployment.md shows."""

import asyncio
import re
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx2

from tests import parts
from tests.acceptance.harness import Output
from tests.known_servers.certificate import write_certificate

PAGE: Final = parts.ROOT / "docs" / "deployment.md"
HOST: Final = "mcp.example.com"
"""That of the page; here it is localhost."""
STOP_LIMIT_SECONDS: Final = 30.0

_AROUND: Final = """\
daemon off;
master_process off;
error_log stderr notice;
pid {folder}/nginx.pid;
events {{ worker_connections {worker_connections}; }}
http {{
access_log off;
client_body_temp_path {folder}/body;
proxy_temp_path {folder}/proxy;
fastcgi_temp_path {folder}/fastcgi;
uwsgi_temp_path {folder}/uwsgi;
scgi_temp_path {folder}/scgi;
{server}
}}
"""


@dataclass(frozen=True, slots=True)
class Nginx:
    """`url` is the public URL of the gateway; `authority` what has to be trusted to call it."""

    url: str
    authority: Path

    @property
    def origin(self) -> str:
        return self.url.removesuffix("/tools")

    def client(self, *, source: str = "127.0.0.1") -> httpx2.AsyncClient:
        """An HTTP client that connects from an address of this machine."""
        context = ssl.create_default_context(cafile=self.authority)
        transport = httpx2.AsyncHTTPTransport(verify=context, local_address=source)
        return httpx2.AsyncClient(base_url=self.url, transport=transport, timeout=60)


def read_block(language: str, page: Path = PAGE) -> str:
    """The block of a page in a language, that about nginx where it has several."""
    text = page.read_text(encoding="utf-8")
    text = text[max(0, text.find("\n## Behind nginx\n")) :]
    found = re.search(rf"```{language}\n(.*?)\n```", text, re.DOTALL)
    assert found is not None
    return found[1]


@asynccontextmanager
async def running_nginx(
    folder: Path, *, port: int, gateway_port: int = 0, socket: Path | None = None
) -> AsyncGenerator[Nginx]:
    """nginx at `https://localhost:{port}/tools`, before a port or a Unix socket. Ended with the block."""
    gateway = f"127.0.0.1:{gateway_port}" if socket is None else f"unix:{socket}"
    changes = {"server 127.0.0.1:8099;": f"server {gateway};"}
    async with serving_as_shown(folder, PAGE, changes, port=port) as authority:
        yield Nginx(f"https://localhost:{port}/tools", authority)


@asynccontextmanager
async def serving_as_shown(
    folder: Path,
    page: Path,
    gateways: Mapping[str, str],
    *,
    port: int,
    pair: tuple[Path, Path, Path] | None = None,
    worker_connections: int = 256,
) -> AsyncGenerator[Path]:
    """nginx with the configuration that a page shows, at `https://localhost:{port}`; what its clients have to trust.

    `gateways` are what has to stand in it, and what stands there instead. `pair` is another authority, certificate and
    key than those of the test's own. Ended with the block.
    """
    if pair is None:
        authority, certificate = write_certificate(folder, ["localhost"])
        key = certificate
    else:
        authority, certificate, key = pair
    changes = {
        **gateways,
        "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
        f"server_name {HOST};": "server_name localhost;",
        f"ssl_certificate /etc/nginx/{HOST}.pem;": f"ssl_certificate {certificate};",
        f"ssl_certificate_key /etc/nginx/{HOST}.key;": f"ssl_certificate_key {key};",
    }
    server = read_block("nginx", page)
    async with serving(folder, server, changes, worker_connections=worker_connections):
        yield authority


@asynccontextmanager
async def serving(
    folder: Path, server: str, changes: Mapping[str, str], *, worker_connections: int = 256
) -> AsyncGenerator[None]:
    """nginx with what stands in its `http` block, after `changes` of it; ended with the block."""
    for shown, ours in changes.items():
        assert shown in server, f"it does not say {shown}"
        server = server.replace(shown, ours)
    configuration = folder / "nginx.conf"
    text = _AROUND.format(folder=folder, server=server, worker_connections=worker_connections)
    configuration.write_text(text, encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        str(parts.require("nginx")),
        *("-c", str(configuration), "-p", str(folder), "-e", "stderr"),
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    stderr = Output(process.stderr)
    try:
        # It says so once it listens.
        await stderr.wait_for("event method")
        yield
    finally:
        if process.returncode is None:
            process.kill()
        async with asyncio.timeout(STOP_LIMIT_SECONDS):
            await process.wait()
        await stderr.finish()
