"""Logins at our gateway over HTTP, as a person with a browser and as an MCP client would do them, for their tokens."""

import html
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, urljoin, urlsplit

import httpx2

from fluidmcp.demo.mailboxes import MAYA
from fluidmcp.oauth_client.pkce import code_challenge_s256, create_code_verifier

REDIRECT_URI: Final = "http://localhost:33418/callback"
"""Of the client that is played here. Nobody listens there: the address is read and not opened."""
LIMIT_SECONDS: Final = 30.0


class LoginError(Exception):
    """A page or an answer was not what a login goes on with."""


@dataclass(frozen=True, slots=True)
class GatewayAddress:
    """One package of a gateway, by the gateway's public name."""

    port: int
    package: str

    @property
    def base(self) -> str:
        return f"http://localhost:{self.port}/{self.package}"


def get_provider_token(address: GatewayAddress) -> str:
    """What a person gets who opens the login page: the provider's own token, which the gateway verifies."""
    with _open_browser() as browser:
        page = _follow(browser, browser.get(f"{address.base}/auth/login"), until="")
        answer = _sign_in(browser, page, until="")
        return str(answer.json()["token_data"]["access_token"])


def get_sealed_token(address: GatewayAddress) -> str:
    """What an MCP client gets: it registers, sends the person through consent and login, and redeems the code."""
    verifier, state = create_code_verifier(), secrets.token_urlsafe(16)
    with _open_browser() as browser:
        registration = {"client_name": "benchmarks", "redirect_uris": [REDIRECT_URI]}
        client_id = str(_check(browser.post(f"{address.base}/register", json=registration)).json()["client_id"])
        query = {
            "response_type": "code",
            "client_id": client_id,
            "redirect_uri": REDIRECT_URI,
            "state": state,
            "code_challenge": code_challenge_s256(verifier),
            "code_challenge_method": "S256",
            "resource": f"{address.base}/mcp",
        }
        page = _check(browser.get(f"{address.base}/authorize", params=query))
        form = {"request": _read_field(page, "request"), "decision": "allow"}
        origin = {"origin": f"http://localhost:{address.port}"}
        consent = browser.post(f"{address.base}/consent", data=form, headers=origin)
        end = _sign_in(browser, _follow(browser, consent, until=REDIRECT_URI), until=REDIRECT_URI)
        answer = dict(parse_qsl(urlsplit(end.headers["location"]).query))
        form = {
            "grant_type": "authorization_code",
            "code": answer["code"],
            "redirect_uri": REDIRECT_URI,
            "client_id": client_id,
            "code_verifier": verifier,
            "resource": f"{address.base}/mcp",
        }
        return str(_check(browser.post(f"{address.base}/token", data=form)).json()["access_token"])


def _open_browser() -> httpx2.Client:
    return httpx2.Client(trust_env=False, timeout=LIMIT_SECONDS)


def _sign_in(browser: httpx2.Client, page: httpx2.Response, *, until: str) -> httpx2.Response:
    """At the development provider: choose who one is, then allow."""
    choices: tuple[Mapping[str, str], ...] = ({"person": MAYA.subject}, {"decision": "allow"})
    for name, choice in zip(("person", "answer"), choices, strict=True):
        form = {"form_token": _read_field(page, "form_token"), **choice}
        target = urljoin(str(page.url), f"{page.url.path}/{name}")
        page = _follow(browser, browser.post(target, data=form), until=until)
    return page


def _follow(browser: httpx2.Client, response: httpx2.Response, *, until: str) -> httpx2.Response:
    """The page at the end of the redirects, or the redirect to an address that begins with `until`."""
    while response.is_redirect:
        location = urljoin(str(response.url), response.headers["location"])
        if until and location.startswith(until):
            return response
        response = browser.get(location)
    return _check(response)


def _read_field(page: httpx2.Response, name: str) -> str:
    found = re.search(rf'<input[^>]*name="{name}"[^>]*value="([^"]*)"', page.text)
    if found is None:
        raise LoginError(f"there is no field {name} on {page.url.path}")
    return html.unescape(found[1])


def _check(response: httpx2.Response) -> httpx2.Response:
    if response.status_code not in (200, 201):
        raise LoginError(f"{response.url.path} answered {response.status_code}")
    return response
