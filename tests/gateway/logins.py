"""A package with a login in front of the fault-making provider, and the two steps of a browser."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx2

from tests.providers.fault_making import FaultMakingProvider, query_of
from tests.providers.login_gateway import LoginGateway, auth_block, login_gateway
from tests.providers.serving import serve

INVALID_STATE = "Invalid or expired state parameter"


@asynccontextmanager
async def logins(**options: Any) -> AsyncGenerator[tuple[LoginGateway, FaultMakingProvider]]:
    changes = options.pop("block", {})
    provider = FaultMakingProvider()
    async with serve(provider.app) as address:
        block = auth_block(address, **changes)
        async with login_gateway({"mail": block, "jira": block}, **options) as gateway:
            yield gateway, provider


async def begin(browser: httpx2.AsyncClient, package: str = "mail") -> str:
    """Open the login page; the state that went to the provider."""
    response = await browser.get(f"/{package}/auth/login")
    assert response.status_code == 302, response.text
    return query_of(response.headers["location"])["state"]


async def call_back(browser: httpx2.AsyncClient, package: str = "mail", **parameters: str) -> httpx2.Response:
    return await browser.get(f"/{package}/auth/callback", params={"code": "the-code", **parameters})


def is_refused(response: httpx2.Response, provider: FaultMakingProvider, error: str = INVALID_STATE) -> bool:
    return (
        response.status_code == 400
        and response.json()["error"] == error
        and "access_token" not in response.text
        and not provider.token_requests
    )
