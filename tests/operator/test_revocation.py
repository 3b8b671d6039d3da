"""Revoking a login at the provider: to whom the token is sent, and what comes of each answer."""

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fluidmcp.config.oauth import OAuthSettings
from fluidmcp.config.secret import Secret
from fluidmcp.oauth_client.fetch import Fetcher
from fluidmcp.operator.revocation import Outcome, revoke
from fluidmcp.operator.token_file import StoredLogin
from tests.providers.serving import serve


async def ask(
    status: int = 200,
    *,
    by_discovery: bool = False,
    stored_endpoint: str | None = None,
    stored_client: str = "cli",
    refresh_token: str | None = "rt",
) -> tuple[Outcome, list[dict[str, str]]]:
    forms: list[dict[str, str]] = []

    async def answer(request: Request) -> Response:
        forms.append({name: str(value) for name, value in (await request.form()).items()})
        return Response(status_code=status)

    async def metadata(request: Request) -> Response:
        url = str(request.base_url).rstrip("/")
        return JSONResponse({"issuer": url, "token_endpoint": f"{url}/token", "revocation_endpoint": f"{url}/revoke"})

    routes = [
        Route("/revoke", answer, methods=["POST"]),
        Route("/.well-known/openid-configuration", metadata),
    ]
    fetcher = Fetcher(total_timeout_seconds=60)
    async with serve(Starlette(routes=routes)) as url:
        login = StoredLogin(
            access_token=Secret("at"),
            refresh_token=None if refresh_token is None else Secret(refresh_token),
            token_endpoint=stored_endpoint or f"{url}/token",
            client_id=stored_client,
        )
        settings = (
            OAuthSettings(issuer=url, client_id="cli")
            if by_discovery
            else OAuthSettings(token_endpoint=f"{url}/token", revocation_endpoint=f"{url}/revoke", client_id="cli")
        )
        outcome = await revoke(login, settings, fetcher)
    await fetcher.aclose()
    return outcome, forms


@pytest.mark.threat("C14")
@pytest.mark.parametrize("by_discovery", [True, False])
async def test_c14_the_refresh_token_is_revoked_where_the_provider_says(by_discovery: bool) -> None:
    outcome, forms = await ask(by_discovery=by_discovery)
    assert outcome == "revoked"
    assert forms == [{"token": "rt", "token_type_hint": "refresh_token", "client_id": "cli"}]


@pytest.mark.threat("C14")
async def test_c14_without_a_refresh_token_the_access_token_is_revoked() -> None:
    outcome, forms = await ask(refresh_token=None)
    assert outcome == "revoked"
    assert forms[0]["token"] == "at"


@pytest.mark.threat("C14")
@pytest.mark.parametrize(("status", "expected"), [(400, "refused"), (404, "refused"), (503, "unreachable")])
async def test_c14_a_refusal_and_an_outage_are_told_apart(status: int, expected: Outcome) -> None:
    assert (await ask(status))[0] == expected


@pytest.mark.threat("C14")
async def test_c14_a_provider_that_is_away_is_no_failure() -> None:
    settings = OAuthSettings(revocation_endpoint="http://127.0.0.1:9/revoke", client_id="cli")
    assert await revoke(StoredLogin(access_token=Secret("a")), settings, Fetcher()) == "unreachable"


@pytest.mark.threat("C14")
async def test_c14_without_an_endpoint_nothing_is_asked() -> None:
    for settings in (OAuthSettings(), OAuthSettings(token_endpoint="https://unknown.example/token", client_id="cli")):
        assert await revoke(StoredLogin(access_token=Secret("a")), settings, Fetcher()) == "no_endpoint"


@pytest.mark.parametrize("by_discovery", [True, False])
async def test_a_token_of_another_provider_is_not_sent(by_discovery: bool) -> None:
    outcome, forms = await ask(by_discovery=by_discovery, stored_endpoint="https://another.example/token")
    assert (outcome, forms) == ("other_provider", [])


async def test_a_token_of_another_client_is_not_sent() -> None:
    assert await ask(stored_client="another") == ("other_provider", [])
