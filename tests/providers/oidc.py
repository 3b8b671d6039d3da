"""The real `oidc-provider` as a child process, and a person who logs in to it."""

import json
import select
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import httpx2

from tests import parts

START_SECONDS = 60
PUBLIC_URL = "http://localhost:8099"
CLIENT_ID = "gateway"
CLIENT_SECRET = "a secret: with colon & space"
OTHER_CLIENT_ID = "other-app"
CLI_CLIENT_ID = "command-line"
"""A public client: no secret, PKCE, any port on this machine, and the device login."""


@dataclass(frozen=True)
class OidcProvider:
    issuer: str

    @property
    def authorization_url(self) -> str:
        return f"{self.issuer}/auth"

    @property
    def token_url(self) -> str:
        return f"{self.issuer}/token"

    @property
    def introspection_url(self) -> str:
        return f"{self.issuer}/token/introspection"

    @property
    def revocation_url(self) -> str:
        return f"{self.issuer}/token/revocation"

    @property
    def device_url(self) -> str:
        return f"{self.issuer}/device/auth"

    async def count_token_requests(self) -> int:
        """How many requests the token endpoint has had."""
        async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
            return int((await client.get(f"{self.issuer}/test/token-requests")).text)

    async def set_access_token_seconds(self, seconds: int) -> None:
        """How long access tokens live that are given out from now on."""
        async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
            response = await client.post(f"{self.issuer}/test/access-token-seconds?{seconds}")
            assert response.status_code == 200


@contextmanager
def running_oidc_provider(
    *, gateway_url: str = PUBLIC_URL, access_token_seconds: int = 3600
) -> Generator[OidcProvider]:
    """A provider of its own, whose clients have their redirect URIs at a gateway.

    Raises LookupError when Node or `oidc-provider` is missing.
    """
    clients = [
        _client(CLIENT_ID, "client_secret_basic", gateway_url),
        _client(OTHER_CLIENT_ID, "client_secret_post", gateway_url),
        _cli_client(),
    ]
    script = Path(__file__).with_name("oidc_provider.mjs")
    command = [
        str(parts.require("node")),
        str(script),
        str(parts.require("oidc-provider")),
        json.dumps(clients),
        str(access_token_seconds),
    ]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            # It may print notices of its own first.
            line = ""
            while not line.startswith("{"):
                assert select.select([process.stdout], [], [], START_SECONDS)[0], "oidc-provider did not start in time"
                line = process.stdout.readline()
                assert line, "oidc-provider ended at its start"
            yield OidcProvider(issuer=str(json.loads(line)["issuer"]))
        finally:
            process.kill()


async def log_in(location: str, *, person: str, until: str = PUBLIC_URL) -> str:
    """Follow a login at the provider in a browser of its own: login form, consent form; where it sends us then.

    `until` is what the address begins with that is not opened any more.
    """
    async with httpx2.AsyncClient(trust_env=False, timeout=60) as browser:
        for _ in range(12):
            response = await browser.get(location)
            if response.status_code == 200 and "/interaction/" in location:
                prompt = "login" if 'value="login"' in response.text else "consent"
                form = {"prompt": prompt, "login": person, "password": "x"}
                response = await browser.post(location, data=form)
            assert response.is_redirect, response.text
            location = urljoin(location, response.headers["location"])
            if location.startswith(until):
                return location
    raise AssertionError("the provider did not send the browser back")


def _client(client_id: str, auth_method: str, gateway_url: str) -> dict[str, object]:
    return {
        "client_id": client_id,
        "client_secret": CLIENT_SECRET,
        "token_endpoint_auth_method": auth_method,
        "redirect_uris": [
            *(f"{gateway_url}/{package}/auth/callback" for package in ("mail", "jira", "other")),
            f"{gateway_url}/auth/callback",
        ],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
    }


def _cli_client() -> dict[str, object]:
    return {
        "client_id": CLI_CLIENT_ID,
        "token_endpoint_auth_method": "none",
        "application_type": "native",
        "redirect_uris": ["http://localhost:8088/callback", "http://127.0.0.1:8088/callback"],
        "grant_types": ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
        "response_types": ["code"],
    }
