"""The guards that `--oauth` and `--secure` put in front of the gateway, with a provider that answers over HTTP."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from fluidmcp.config.oauth import OAuthSettings
from fluidmcp.config.secret import Secret
from fluidmcp.guards.gateway_auth import GatewayAuth, StaticTokenAuth
from fluidmcp.oauth_client.fetch import Fetcher
from fluidmcp.operator.operator_token import OperatorToken
from fluidmcp.operator.token_file import TokenFile
from tests.gateway.running import RunningGateway, running_gateway, stdlib_entry
from tests.gateway.test_persons import CLIENT_ID, bearer, introspect, token
from tests.providers.fault_making import FaultMakingProvider
from tests.providers.serving import serve

OWN = "token-of-the-operator"


@dataclass
class Guarded:
    running: RunningGateway
    provider: FaultMakingProvider


@asynccontextmanager
async def guarded_by_oauth(home: Path, **settings: Any) -> AsyncGenerator[Guarded]:
    """Tokens read as `test_persons.introspect` says; without a rule about people, all of the provider's come in."""
    provider = FaultMakingProvider()
    provider.answer_introspection = introspect
    fetcher = Fetcher(allow_private=True)
    async with serve(provider.app) as address:
        oauth = OAuthSettings(
            client_id=CLIENT_ID,
            token_endpoint=f"{address}/token",
            introspection_endpoint=f"{address}/introspect",
            access_token=Secret(OWN),
            **settings,
        )
        operator = OperatorToken(oauth, token_file=TokenFile(home), fetcher=fetcher)
        guard = await GatewayAuth.create(
            oauth, operator=operator, fetcher=fetcher, digest_key=b"k" * 32, is_exposed=False
        )
        try:
            async with running_gateway([stdlib_entry("tools")], guard=guard) as running:
                yield Guarded(running, provider)
        finally:
            await fetcher.aclose()


@pytest.fixture
async def secured() -> AsyncIterator[RunningGateway]:
    guard = StaticTokenAuth(Secret(OWN), digest_key=b"k" * 32)
    async with running_gateway([stdlib_entry("tools")], guard=guard) as running:
        yield running


@pytest.mark.threat("D05")
async def test_d05_people_of_one_provider_have_a_process_each(tmp_path: Path) -> None:
    async with guarded_by_oauth(tmp_path) as guarded:
        call = guarded.running.call
        ada, grace, operator = bearer(token("ada")), bearer(token("grace")), bearer(OWN)
        assert [await call("tools", "count", **ada) for _ in range(2)] == ["1", "2"]
        assert await call("tools", "count", **grace) == "1"
        assert await call("tools", "count", **operator) == "1"
        assert await call("tools", "count", **ada) == "3"
        assert len(guarded.provider.introspections) == 2, "a token is asked about once a minute, the operator's never"
        assert OWN not in str(guarded.provider.introspections)


@pytest.mark.threat("D03")
async def test_d03_a_verified_stranger_is_refused_and_nothing_starts(tmp_path: Path) -> None:
    async with guarded_by_oauth(tmp_path, allowed_subjects=("ada",)) as guarded:
        rpc = guarded.running.rpc
        assert (await rpc("tools", "ping", **bearer(token("mallory")))).status_code == 403
        assert guarded.running.gateway.process_count == 0
        assert (await rpc("tools", "ping", **bearer(token("ada")))).status_code == 200


@pytest.mark.threat("V15")
async def test_v15_a_scope_that_is_required_is_named(tmp_path: Path) -> None:
    async with guarded_by_oauth(tmp_path, required_scopes=("tools", "mail")) as guarded:
        rpc = guarded.running.rpc
        narrow = await rpc("tools", "ping", **bearer(token("ada", 1, "mail")))
        assert narrow.status_code == 403
        challenge = narrow.headers["www-authenticate"]
        assert 'error="insufficient_scope"' in challenge
        assert 'scope="tools mail"' in challenge
        assert (await rpc("tools", "ping", **bearer(token("ada", 1, "mail+tools")))).status_code == 200


@pytest.mark.promise(25)
@pytest.mark.threat("V01", "V14")
async def test_v01_v14_unknown_tokens_are_refused_and_a_broken_provider_lets_nobody_in(tmp_path: Path) -> None:
    def fail(_form: dict[str, str]) -> Response:
        return JSONResponse({"active": True}, status_code=500)

    async with guarded_by_oauth(tmp_path) as guarded:
        rpc = guarded.running.rpc
        assert (await rpc("tools", "ping", **bearer("aaaaaaaaaa"))).status_code == 401
        guarded.provider.answer_introspection = fail
        assert (await rpc("tools", "ping", **bearer(token("grace")))).status_code == 503
        assert (await rpc("tools", "ping", **bearer(OWN))).status_code == 200
        assert (await guarded.running.client.get("/docs", headers=bearer(token("grace")))).status_code == 503


@pytest.mark.promise(44)
async def test_everybody_with_the_one_token_is_one_person(secured: RunningGateway) -> None:
    assert [await secured.call("tools", "count", **bearer(OWN)) for _ in range(3)] == ["1", "2", "3"]
    assert secured.gateway.process_count == 1


@pytest.mark.threat("V01", "V17")
@pytest.mark.parametrize("value", ["aaaaaaaaaa", OWN[:-1], OWN + "x", OWN.upper(), "tök€n", "\u00ff" * 40])
async def test_v17_every_other_token_is_refused(secured: RunningGateway, value: str) -> None:
    headers = [(b"authorization", b"Bearer " + value.encode())]
    response = await secured.client.post("/tools/mcp", json={}, headers=headers)
    assert response.status_code == 401
    assert 'error="invalid_token"' in response.headers["www-authenticate"]
    assert secured.gateway.process_count == 0


async def test_many_people_at_once_get_their_own_answers(tmp_path: Path) -> None:
    async with guarded_by_oauth(tmp_path) as guarded:
        call = guarded.running.call
        people = ["ada", "grace"] * 50
        pids = await asyncio.gather(*(call("tools", "pid", **bearer(token(name))) for name in people))
        assert len(set(pids)) == 2
        assert set(pids[0::2]).isdisjoint(pids[1::2])
