"""FluidMCP with a package that has a login: the provider's token, and the sealed one that MCP clients get."""

import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks.gateways import Gateway, Site, Start
from benchmarks.load import Speech
from benchmarks.logins import GatewayAddress, get_provider_token, get_sealed_token
from benchmarks.ours import speak_to_ours, start_ours
from benchmarks.running import find_port
from benchmarks.workshop import PROGRAMS, ROOT
from fluidmcp.demo.registration import READ_SCOPE

CLIENT_ID: Final = "benchmarks"
SECRET_VARIABLE: Final = "BENCHMARK_CLIENT_SECRET"


def make_ours_with_login(checkout: Path = ROOT, *, suffix: str = "") -> tuple[Gateway, ...]:
    """`suffix` goes behind each name, to tell two checkouts apart."""

    def prepare(site: Site) -> Start:
        return _start(checkout, site)

    def speak(site: Site) -> Speech:
        return speak_to_ours(site, "bare")

    def make(name: str, title: str, get_token: Callable[[GatewayAddress], str]) -> Gateway:
        def log_in(site: Site) -> tuple[str, ...]:
            return (f"Authorization: Bearer {get_token(GatewayAddress(site.port, site.server_name))}",)

        return Gateway(
            name=name + suffix, title=f"FluidMCP{suffix}, {title}", prepare=prepare, speak=speak, log_in=log_in
        )

    return (
        make("verified", "a package's verified token", get_provider_token),
        make("sealed", "a sealed token", get_sealed_token),
    )


def _start(checkout: Path, site: Site) -> Start:
    provider_port, secret = find_port(), secrets.token_urlsafe(32)
    issuer = f"http://127.0.0.1:{provider_port}"
    redirect_uri = f"http://localhost:{site.port}/{site.server_name}/auth/callback"
    program = (sys.executable, str(PROGRAMS / "provider.py"), str(provider_port), redirect_uri, CLIENT_ID, secret)
    auth = {
        "type": "oauth2",
        "flow": "pkce",
        "authorization_url": f"{issuer}/authorize",
        "token_url": f"{issuer}/token",
        "introspection_url": f"{issuer}/introspect",
        "issuer": issuer,
        "scopes": [READ_SCOPE],
        "client_id": CLIENT_ID,
        "client_secret_env": SECRET_VARIABLE,
        "env_var_name": "MAIL_ACCESS_TOKEN",
    }
    return start_ours(checkout, site, environ={SECRET_VARIABLE: secret}, auth=auth, beside=((provider_port, program),))
