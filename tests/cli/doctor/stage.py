"""A gateway behind a real nginx with the configuration of docs/deployment.md, in which a test changes one thing."""

import socket
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from fluidmcp.cli.doctor.walk.address import parse_address
from fluidmcp.cli.doctor.walk.calls import Caller, build_context
from fluidmcp.cli.doctor.walk.report import Report
from fluidmcp.cli.doctor.walk.walk import Wishes, walk
from fluidmcp.config.entries import ServerEntry
from tests.acceptance.harness import free_port
from tests.acceptance.nginx import PAGE, serving_as_shown
from tests.gateway.client_login import KEYS
from tests.gateway.running import running_gateway, stdlib_entry
from tests.providers.login_gateway import auth_block
from tests.providers.oidc import CLIENT_ID, CLIENT_SECRET, OidcProvider, running_oidc_provider
from tests.timing import limit_of_running_time

LIMIT_SECONDS: Final = 5.0
"""What doctor may take for one address."""
SCOPES: Final = ("openid", "mail.read", "offline_access")
ENVIRON: Final[Mapping[str, str]] = {"MAIL_CLIENT_ID": CLIENT_ID, "MAIL_CLIENT_SECRET": CLIENT_SECRET}
LOCATION: Final = "    location /tools/ {\n"
WELL_KNOWN: Final = (
    "    location ~ ^/\\.well-known/(oauth-protected-resource|oauth-authorization-server|openid-configuration)"
    "/tools(/|$) {\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is wrong: in the configuration of nginx (what stands there, and what stands there instead), in how the
    gateway is set up, in the entry of its package, or in what was typed.
    """

    code: str
    nginx: Mapping[str, str] = field(default_factory=dict[str, str])
    gateway: Mapping[str, Any] = field(default_factory=dict[str, Any])
    auth: Mapping[str, Any] = field(default_factory=dict[str, Any])
    environ: Mapping[str, str] = field(default_factory=lambda: dict(ENVIRON))
    typed: str = "{public}/mail/mcp"
    has_gateway: bool = True


@dataclass(frozen=True, slots=True)
class Stage:
    """Ports that stay the same, because the provider knows the callback of the gateway by them."""

    provider: OidcProvider
    port: int
    gateway_port: int
    free_port: int
    """Where nothing listens, unless nginx is told to."""
    silent_port: int
    """Where connections are accepted, and nobody ever answers."""
    host: str = "localhost"

    @property
    def public_url(self) -> str:
        return f"https://{self.host}:{self.port}/tools"

    def entries(self, changes: Mapping[str, Any]) -> Sequence[ServerEntry]:
        """`letters` has a callback that the provider does not know; `broken` does not start."""
        values = {
            "env_var_name": "GMAIL_ACCESS_TOKEN",
            "authorization_url": self.provider.authorization_url,
            "token_url": self.provider.token_url,
            "issuer": self.provider.issuer,
            "scopes": SCOPES,
            "client_id_env": "MAIL_CLIENT_ID",
            "client_secret_env": "MAIL_CLIENT_SECRET",
            "token_endpoint_auth_method": "basic",
            **changes,
        }
        block = auth_block(self.provider.issuer, **values)
        broken = ServerEntry(name="broken", command="/bin/false", args=(), env=(), auth=None, source="a test")
        letters = stdlib_entry("letters", auth=block)
        return [stdlib_entry("mail", auth=block), letters, stdlib_entry("open"), broken]

    @asynccontextmanager
    async def running(
        self, folder: Path, fault: Fault, *, pair: tuple[Path, Path, Path] | None = None
    ) -> AsyncGenerator[Path]:
        """What has to be trusted to call it."""
        async with AsyncExitStack() as running:
            if fault.has_gateway:
                options: dict[str, Any] = {"public_url": self.public_url, "seal_keys": KEYS, **fault.gateway}
                options = {name: self._fill(value) for name, value in options.items()}
                gateway = running_gateway(self.entries(fault.auth), fault.environ, port=self.gateway_port, **options)
                await running.enter_async_context(gateway)
            changes = {
                "server 127.0.0.1:8099;": f"server 127.0.0.1:{self.gateway_port};",
                **{shown: self._fill(ours) for shown, ours in fault.nginx.items()},
            }
            yield await running.enter_async_context(serving_as_shown(folder, PAGE, changes, port=self.port, pair=pair))

    async def examine(self, folder: Path, fault: Fault, **options: Any) -> Report:
        async with self.running(folder, fault) as authority:
            return await look(self._fill(fault.typed), authority, **options)

    def _fill(self, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return (
            value.replace("{public}", self.public_url)
            .replace("{port}", str(self.port))
            .replace("{free}", str(self.free_port))
            .replace("{silent}", str(self.silent_port))
            .replace("{gateway_port}", str(self.gateway_port))
        )


@contextmanager
def staged(host: str = "localhost") -> Generator[Stage]:
    """Raises LookupError when a part is missing."""
    port = free_port()
    with (
        running_oidc_provider(gateway_url=f"https://{host}:{port}/tools") as provider,
        socket.create_server(("127.0.0.1", 0)) as silent,
    ):
        yield Stage(provider, port, free_port(), free_port(), silent.getsockname()[1], host)


async def look(
    url: str, authority: Path | None, wishes: Wishes | None = None, *, seconds: float = LIMIT_SECONDS, **options: Any
) -> Report:
    """What doctor says of an address, in less than its limit."""
    address = parse_address(url)
    caller = Caller(typed_host=address.host, context=build_context(authority), **options)
    try:
        async with limit_of_running_time(seconds):
            return await walk(address, caller, wishes)
    finally:
        await caller.aclose()


def codes(report: Report) -> dict[str, str]:
    """The diagnoses by code: cause and remedy. Each has both, and none is long."""
    found: dict[str, str] = {}
    for finding in report.findings:
        one = finding.diagnosis
        assert one.cause and one.remedy and len(one.cause) < 400 and len(one.remedy) < 400
        found[one.code] = f"{one.cause} {one.remedy}"
    return found
