"""Persons for a gateway that runs as a program: a provider that says whose a token is, and the entries that ask it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx2
from starlette.responses import JSONResponse, Response

from tests.acceptance.harness import RunningGateway
from tests.providers.fault_making import FaultMakingProvider
from tests.providers.serving import serve

LIMIT_SECONDS: Final = 60.0
CLIENT_ID: Final = "client-of-the-gateway"
ENVIRONMENT: Final = {"PERSONS_CLIENT_ID": CLIENT_ID, "PERSONS_CLIENT_SECRET": "secret-of-the-client"}
"""What the gateway needs to ask the provider."""


def token(person: str, number: int = 1) -> str:
    return f"good.{person}.{number}"


def _introspect(form: dict[str, str]) -> Response:
    """Tokens read `good.PERSON.NUMBER`; everything else is unknown."""
    kind, person, _ = (*form["token"].split("."), "", "")[:3]
    if kind != "good":
        return JSONResponse({"active": False})
    return JSONResponse(
        {"active": True, "token_type": "Bearer", "sub": person, "client_id": CLIENT_ID, "scope": "mail"}
    )


@asynccontextmanager
async def running_persons() -> AsyncGenerator[dict[str, Any]]:
    """The `auth` block of entries whose tokens are those of `token`."""
    provider = FaultMakingProvider()
    provider.answer_introspection = _introspect
    async with serve(provider.app) as address:
        yield {
            "type": "oauth2",
            "flow": "pkce",
            "authorization_url": f"{address}/authorize",
            "token_url": f"{address}/token",
            "introspection_url": f"{address}/introspect",
            "env_var_name": "PERSONAL_TOKEN",
            "scopes": ["mail"],
            "client_id_env": "PERSONS_CLIENT_ID",
            "client_secret_env": "PERSONS_CLIENT_SECRET",
        }


async def ask(gateway: RunningGateway, package: str, *, token: str = "") -> dict[str, Any]:
    """The answer to a bare request for the tools."""
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    headers = {"authorization": f"Bearer {token}"} if token else {}
    async with httpx2.AsyncClient(trust_env=False, timeout=LIMIT_SECONDS) as client:
        return (await client.post(f"{gateway.url}/{package}/mcp", json=message, headers=headers)).json()
