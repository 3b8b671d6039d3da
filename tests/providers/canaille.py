"""The real `canaille` as a child process, and a person who logs in to it through its pages."""

import json
import re
import select
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from html import unescape
from urllib.parse import urljoin, urlsplit

import httpx2

from tests import parts
from tests.providers.oidc import CLIENT_ID, PUBLIC_URL

START_SECONDS = 60
"""It imports much: some 5 seconds on an idle machine."""
PASSWORD = "only for tests"
CLIENT_SECRET = "a secret:with-colon&percent%"
"""With a space: of a form-encoded secret (RFC 6749 section 2.3.1) it decodes `%20` and leaves `+` as it is."""
REDIRECT_URI = f"{PUBLIC_URL}/mail/auth/callback"
MAX_PAGES = 12

_CSRF_TOKEN = re.compile(r'<input[^>]*name="csrf_token"[^>]*value="([^"]+)"')


@dataclass(frozen=True)
class Canaille:
    issuer: str

    @property
    def authorization_url(self) -> str:
        return f"{self.issuer}/oauth/authorize"

    @property
    def token_url(self) -> str:
        return f"{self.issuer}/oauth/token"

    @property
    def introspection_url(self) -> str:
        return f"{self.issuer}/oauth/introspect"


@contextmanager
def running_canaille() -> Generator[Canaille]:
    """A server of its own. Raises LookupError when `canaille` is missing."""
    given = json.dumps({"people": [_person("alice"), _person("bob")], "client": _client()})
    script = parts.ROOT / "tests" / "servers" / "canaille_server.py"
    # Isolated: what the environment of the tests has must not be found.
    command = [str(parts.require("canaille")), "-I", str(script), given]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert select.select([process.stdout], [], [], START_SECONDS)[0], "canaille did not start in time"
            line = process.stdout.readline()
            assert line, "canaille ended at its start"
            yield Canaille(issuer=str(json.loads(line)["issuer"]))
        finally:
            process.kill()


async def log_in(location: str, *, person: str) -> str:
    """Follow a login in a browser of its own: name, password, consent; where it sends us at the gateway then."""
    async with httpx2.AsyncClient(trust_env=False, timeout=60) as browser:
        for _ in range(MAX_PAGES):
            response = await browser.get(location)
            if response.status_code == 200:
                response = await browser.post(location, data=_fill_in(response, person=person))
            assert response.is_redirect, response.text
            location = urljoin(location, response.headers["location"])
            if location.startswith(PUBLIC_URL):
                return location
    raise AssertionError("canaille did not send the browser back")


def _fill_in(page: httpx2.Response, *, person: str) -> dict[str, str]:
    """What a person enters in one of the three forms."""
    csrf_token = _CSRF_TOKEN.search(page.text)
    assert csrf_token is not None, page.text
    forms = {
        "/login": {"login": person},
        "/auth/password": {"password": PASSWORD},
        "/oauth/authorize": {"answer": "accept"},
    }
    return {"csrf_token": unescape(csrf_token[1]), **forms[urlsplit(str(page.url)).path]}


def _person(name: str) -> dict[str, object]:
    return {
        "user_name": name,
        "family_name": name,
        "formatted_name": name,
        "emails": [f"{name}@example.org"],
        "password": PASSWORD,
    }


def _client() -> dict[str, object]:
    return {
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "client_name": "the gateway",
        "token_endpoint_auth_method": "client_secret_basic",
        "redirect_uris": [REDIRECT_URI],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "scope": ["openid", "email"],
    }
