"""The two sides of a login that an MCP client began, over HTTP: the client, and the browser that it opens."""

import html
import re
import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2

from fluidmcp.config.secret import Secret
from fluidmcp.config.urls import split_public_url
from fluidmcp.oauth_client.pkce import code_challenge_s256, create_code_verifier
from tests.authorization_server.sealing_stage import seal_key
from tests.gateway.running import RunningGateway, running_gateway, stdlib_entry
from tests.providers.fault_making import FaultMakingProvider, query_of
from tests.providers.login_gateway import auth_block
from tests.providers.serving import serve

WEB_REDIRECT = "https://client.example/callback"
LOOPBACK_REDIRECT = "http://localhost:33418/callback"
PRIVATE_REDIRECT = "cursor://anysphere.cursor-retrieval/oauth/callback"
ENVIRON: Mapping[str, str] = {"MAIL_CLIENT_ID": "gateway", "MAIL_CLIENT_SECRET": "a secret"}
KEYS: tuple[Secret, ...] = (seal_key("one"),)


@dataclass
class Stage:
    """A gateway with the package `mail`, and its provider."""

    running: RunningGateway
    provider: FaultMakingProvider
    provider_url: str = ""

    @property
    def url(self) -> str:
        return self.running.url

    def browser(self) -> "Browser":
        return Browser(self.url)

    async def client(self, package: str = "mail", **registration: Any) -> "McpClient":
        client = McpClient(self.url, package)
        await client.register(**registration)
        return client

    async def log_in(self, client: "McpClient", **authorization: str) -> dict[str, Any]:
        """The token response of a whole login, in a browser of its own."""
        async with self.browser() as browser:
            answer = await browser.log_in(client.authorization_url(**authorization))
        return await client.redeem(answer)


@asynccontextmanager
async def client_logins(**options: Any) -> AsyncGenerator[Stage]:
    """`block` are changes to the auth block; the rest goes to `running_gateway`."""
    changes = options.pop("block", {})
    provider = FaultMakingProvider()
    async with serve(provider.app) as address:
        block = auth_block(address, env_var_name="GMAIL_ACCESS_TOKEN", **changes)
        entries = [stdlib_entry("mail", auth=block), stdlib_entry("jira", auth=block), stdlib_entry("open")]
        options.setdefault("seal_keys", KEYS)
        async with running_gateway(options.pop("entries", entries), ENVIRON, **options) as running:
            yield Stage(running, provider, address)


class Browser(httpx2.AsyncClient):
    """A browser with its cookies, which follows no redirect by itself."""

    def __init__(self, url: str) -> None:
        super().__init__(base_url=url, trust_env=False, timeout=60)
        self.url = url

    async def open_consent(self, authorization_url: str) -> str:
        """The hidden field of the page that asks."""
        page = await self.get(authorization_url)
        assert page.status_code == 200, page.text
        return hidden_field(page.text)

    async def answer(
        self, field: str, decision: str = "allow", *, package: str = "mail", **fields: str
    ) -> httpx2.Response:
        form = {"request": field, "decision": decision, **fields}
        return await self.post(f"/{package}/consent", data=form, headers={"origin": split_public_url(self.url)[0]})

    async def allow(self, authorization_url: str, *, package: str = "mail", **fields: str) -> str:
        """Where the provider's login is."""
        response = await self.answer(await self.open_consent(authorization_url), package=package, **fields)
        assert response.status_code == 303, response.text
        return response.headers["location"]

    async def come_back(self, location: str, *, path: str = "/mail/auth/callback", **parameters: str) -> str:
        """Where the gateway sends the browser after the provider's login. `location` is the one that began it."""
        query = {"code": "the-code", "state": query_of(location)["state"], **parameters}
        response = await self.get(path, params=query)
        assert response.is_redirect, response.text
        return response.headers["location"]

    async def log_in(self, authorization_url: str, *, package: str = "mail") -> dict[str, str]:
        """What the client's redirect URI gets."""
        location = await self.allow(authorization_url, package=package)
        return query_of(await self.come_back(location, path=f"/{package}/auth/callback"))


def hidden_field(page: str) -> str:
    found = re.search(r'<input[^>]*name="request"[^>]*value="([^"]*)"', page)
    assert found is not None, page
    return html.unescape(found[1])


@dataclass
class McpClient:
    """A client that does as the specification says, step by step."""

    url: str
    package: str = "mail"
    client_id: str = ""
    redirect_uri: str = LOOPBACK_REDIRECT
    code_verifier: str = field(default_factory=create_code_verifier)
    state: str = field(default_factory=lambda: secrets.token_urlsafe(16))

    async def register(self, *, redirect_uri: str = LOOPBACK_REDIRECT, **changes: Any) -> dict[str, Any]:
        self.redirect_uri = redirect_uri
        body = {"client_name": "A test client", "redirect_uris": [redirect_uri], **changes}
        response = await self.post("register", json=body)
        assert response.status_code == 201, response.text
        self.client_id = response.json()["client_id"]
        return response.json()

    def authorization_url(self, **changes: str | None) -> str:
        parameters = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "state": self.state,
            "code_challenge": code_challenge_s256(self.code_verifier),
            "code_challenge_method": "S256",
            "resource": f"{self.url}/{self.package}/mcp",
            **changes,
        }
        query = httpx2.QueryParams({name: value for name, value in parameters.items() if value is not None})
        return f"{self.url}/{self.package}/authorize?{query}"

    async def redeem(self, answer: Mapping[str, str]) -> dict[str, Any]:
        assert answer.get("state") == self.state, answer
        response = await self.ask_token(self.code_form(answer["code"]))
        assert response.status_code == 200, response.text
        return response.json()

    def code_form(self, code: str, /, **changes: str) -> dict[str, str]:
        return {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect_uri,
            "client_id": self.client_id,
            "code_verifier": self.code_verifier,
            "resource": f"{self.url}/{self.package}/mcp",
            **changes,
        }

    def refresh_form(self, refresh_token: str, /, **changes: str) -> dict[str, str]:
        return {
            "grant_type": "refresh_token",
            "refresh_token": refresh_token,
            "client_id": self.client_id,
            "resource": f"{self.url}/{self.package}/mcp",
            **changes,
        }

    async def ask_token(self, form: Mapping[str, str]) -> httpx2.Response:
        return await self.post("token", data=dict(form))

    async def refresh(self, refresh_token: str) -> httpx2.Response:
        return await self.ask_token(self.refresh_form(refresh_token))

    async def post(self, endpoint: str, **options: Any) -> httpx2.Response:
        async with httpx2.AsyncClient(trust_env=False, timeout=60) as http:
            return await http.post(f"{self.url}/{self.package}/{endpoint}", **options)


def bearer(tokens: Mapping[str, Any] | str) -> dict[str, str]:
    token = tokens if isinstance(tokens, str) else tokens["access_token"]
    return {"authorization": f"Bearer {token}"}
