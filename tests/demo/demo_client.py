"""`fluidmcp demo` as a real child process, and a script that logs in to it over HTTP as a browser would."""

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urljoin

import httpx2

from fluidmcp.demo.mailboxes import Person
from tests.acceptance.harness import DiedAtStartError, RunningGateway, free_port, start_fluidmcp

ATTEMPTS = 3
NO_SCREEN: Final = {"BROWSER": "", "DISPLAY": "", "WAYLAND_DISPLAY": ""}

_FORM_TOKEN = re.compile(r'name="form_token" value="([0-9a-f]+)"')
_CONSENT = re.compile(r'<form method="post" action="([^"]+)">\s*<input type="hidden" name="request" value="([^"]+)">')


@dataclass(frozen=True, slots=True)
class RunningDemo:
    gateway: RunningGateway
    provider_port: int

    @property
    def login_url(self) -> str:
        return f"{self.gateway.url}/gmail-mock/auth/login"

    @property
    def provider_url(self) -> str:
        return f"http://127.0.0.1:{self.provider_port}"


@asynccontextmanager
async def start_demo(*options: str, env: Mapping[str, str] | None = None) -> AsyncGenerator[RunningDemo]:
    """On free ports; no browser opens unless `env` says which.

    Somebody may take the provider's port before the demo does: then with another one.
    """
    async with AsyncExitStack() as running:
        for attempt in range(ATTEMPTS):
            provider_port = free_port()
            arguments = ("demo", "--provider-port", str(provider_port), *options)
            starting = start_fluidmcp(*arguments, env=NO_SCREEN | dict(env or {}))
            try:
                gateway = await running.enter_async_context(starting)
            except DiedAtStartError as error:
                if attempt + 1 < ATTEMPTS and f"Port {provider_port} is in use" in str(error):
                    continue
                raise
            yield RunningDemo(gateway, provider_port)
            return


async def log_in(login_url: str, person: Person) -> httpx2.Response:
    """The answer at the end of a login of `person`, in a browser of its own.

    `login_url` is the package's own login, or what an MCP client opens: then our page is answered first.
    """
    async with httpx2.AsyncClient(trust_env=False, timeout=60, follow_redirects=True) as browser:
        page = await browser.get(login_url)
        if consent := _CONSENT.search(page.text):
            page = await browser.post(
                urljoin(str(page.url), consent[1]),
                data={"request": consent[2], "decision": "allow"},
                headers={"origin": f"{page.url.scheme}://{page.url.netloc.decode()}"},
            )
        page = await browser.post(
            urljoin(str(page.url), f"{page.url.path}/person"), data=_fill_in(page, "person", person.subject)
        )
        return await browser.post(
            urljoin(str(page.url), f"{page.url.path}/answer"), data=_fill_in(page, "decision", "allow")
        )


async def call_tool(url: str, token: str, tool: str, **arguments: Any) -> Any:
    """The structured answer of a tool of gmail-mock behind the gateway at `url`."""
    params = {"name": tool, "arguments": arguments}
    async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
        response = await client.post(
            f"{url}/gmail-mock/mcp",
            headers={"Authorization": f"Bearer {token}"},
            json={"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params},
        )
    assert response.status_code == 200, response.text
    return response.json()["result"]["structuredContent"]


async def read_owner(demo: RunningDemo, token: str) -> str:
    """The mail address of the person whose token this is; asks the provider, so that no server has to start."""
    async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
        response = await client.get(f"{demo.provider_url}/userinfo", headers={"Authorization": f"Bearer {token}"})
    assert response.status_code == 200, response.text
    return str(response.json()["email"])


def _fill_in(page: httpx2.Response, name: str, value: str) -> dict[str, str]:
    """The form of a page of the provider."""
    found = _FORM_TOKEN.search(page.text)
    assert page.status_code == 200 and found is not None, page.text
    return {"form_token": found[1], name: value}
