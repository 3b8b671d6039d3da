"""The development provider for tests: in process or on a real socket, and a script that signs in as a person would."""

import asyncio
import re
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

import httpx2
import uvicorn

from fluidmcp.demo.grants import compute_code_challenge
from fluidmcp.demo.mailboxes import Person
from fluidmcp.demo.provider import create_provider
from fluidmcp.demo.registration import READ_SCOPE, Registration
from tests.providers.serving import PromptServer

REDIRECT_URI = "http://localhost:8099/gmail-mock/auth/callback"
CODE_VERIFIER = "a-code-verifier-of-forty-three-characters-0"

_FORM_TOKEN = re.compile(r'name="form_token" value="([0-9a-f]+)"')


@dataclass
class Clock:
    seconds: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.seconds


@dataclass
class RunningProvider:
    """`client` is one browser: it keeps cookies and follows no redirect by itself."""

    registration: Registration
    client: httpx2.AsyncClient
    clock: Clock = field(default_factory=Clock)

    def authorize_params(self, **changes: str | None) -> dict[str, str]:
        params: dict[str, str | None] = {
            "response_type": "code",
            "client_id": self.registration.client_id,
            "redirect_uri": self.registration.redirect_uri,
            "scope": READ_SCOPE,
            "state": "a-state",
            "code_challenge": compute_code_challenge(CODE_VERIFIER),
            "code_challenge_method": "S256",
        }
        params.update(changes)
        return {name: value for name, value in params.items() if value is not None}

    async def begin(self, **changes: str | None) -> httpx2.Response:
        return await self.client.get("/authorize", params=self.authorize_params(**changes))

    async def open_consent(self, person: Person) -> tuple[str, str]:
        """The address of the sign-in and the form token of its consent page."""
        address = (await self.begin()).headers["location"]
        form_token = await self.read_form_token(address)
        chosen = await self.client.post(f"{address}/person", data={"form_token": form_token, "person": person.subject})
        assert chosen.status_code == 303
        return address, await self.read_form_token(address)

    async def read_form_token(self, address: str) -> str:
        page = await self.client.get(address)
        found = _FORM_TOKEN.search(page.text)
        assert page.status_code == 200 and found is not None, page.text
        return found[1]

    async def sign_in(self, person: Person, *, decision: str = "allow") -> dict[str, str]:
        """What comes back to the client's redirect address."""
        address, form_token = await self.open_consent(person)
        answer = await self.client.post(f"{address}/answer", data={"form_token": form_token, "decision": decision})
        assert answer.status_code == 303
        return read_return(answer)

    async def exchange(self, code: str, **changes: str | None) -> httpx2.Response:
        data: dict[str, str | None] = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.registration.redirect_uri,
            "code_verifier": CODE_VERIFIER,
            "client_id": self.registration.client_id,
            "client_secret": self.registration.client_secret.reveal(),
        }
        data.update(changes)
        return await self.client.post("/token", data={name: value for name, value in data.items() if value is not None})

    async def refresh(self, refresh_token: str) -> httpx2.Response:
        return await self.post_as_client("/token", grant_type="refresh_token", refresh_token=refresh_token)

    async def post_as_client(self, path: str, **data: str) -> httpx2.Response:
        secret = self.registration.client_secret.reveal()
        return await self.client.post(
            path, data={"client_id": self.registration.client_id, "client_secret": secret, **data}
        )

    async def get_tokens(self, person: Person) -> dict[str, str]:
        answer = await self.exchange((await self.sign_in(person))["code"])
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def get_mail(self, path: str, token: str, user: str = "me") -> httpx2.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return await self.client.get(f"/gmail/v1/users/{user}{path}", headers=headers)


def read_return(response: httpx2.Response) -> dict[str, str]:
    location = response.headers["location"]
    assert location.startswith(f"{REDIRECT_URI}?")
    return dict(parse_qsl(urlsplit(location).query, keep_blank_values=True))


@asynccontextmanager
async def provider_in_process(*, peer: str = "127.0.0.1") -> AsyncGenerator[RunningProvider]:
    registration = Registration(port=8098, redirect_uri=REDIRECT_URI)
    clock = Clock()
    transport = httpx2.ASGITransport(create_provider(registration, now=clock), client=(peer, 40000))
    async with httpx2.AsyncClient(transport=transport, base_url=registration.issuer) as client:
        yield RunningProvider(registration, client, clock)


@asynccontextmanager
async def provider_on_a_socket() -> AsyncGenerator[RunningProvider]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        registration = Registration(port=listener.getsockname()[1], redirect_uri=REDIRECT_URI)
        config = uvicorn.Config(create_provider(registration), lifespan="off", log_config=None, access_log=False)
        server = PromptServer(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            async with httpx2.AsyncClient(base_url=registration.issuer, trust_env=False, timeout=30) as client:
                yield RunningProvider(registration, client)
        finally:
            server.should_exit = True
            async with asyncio.timeout(30):
                await serving
