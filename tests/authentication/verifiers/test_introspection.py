import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response

from fluidmcp.authentication.verifiers import cached
from fluidmcp.authentication.verifiers.cached import CachedVerifier, CallBudget
from fluidmcp.authentication.verifiers.introspection import IntrospectionCheck
from fluidmcp.config.secret import Secret
from fluidmcp.crypto.digest import PackageDigest
from fluidmcp.errors import ProviderUnavailableError
from fluidmcp.oauth_client.fetch import Fetcher
from fluidmcp.oauth_client.token_endpoint import ProviderClient
from tests.providers.fault_making import FaultMakingProvider
from tests.providers.login_gateway import Clock, auth_block
from tests.providers.replaying import replaying
from tests.providers.serving import serve
from tests.providers.standing_in import StandInFetcher


@asynccontextmanager
async def asking(
    clock: Clock | None = None, audience: str | None = None
) -> AsyncGenerator[tuple[CachedVerifier, FaultMakingProvider]]:
    provider = FaultMakingProvider()
    fetcher = Fetcher()
    async with serve(provider.app) as address:
        now = clock or Clock()
        check = IntrospectionCheck(
            introspection_url=f"{address}/introspect",
            client=ProviderClient(client_id="gateway", client_secret=Secret("s"), auth_method="basic"),
            audience=audience,
            issuer="https://as.example",
            fetcher=fetcher,
            now=now,
        )
        digest = PackageDigest(b"k" * 32, package="mail", block=auth_block(address), client_id="gateway")
        yield (
            CachedVerifier(check, digest=partial(digest.of, "access_token"), now=now, budget=CallBudget(now)),
            provider,
        )
    await fetcher.aclose()


def active(**changes: Any) -> dict[str, Any]:
    claims = {"active": True, "client_id": "gateway", "sub": "alice", "token_type": "Bearer", "scope": "a b", **changes}
    return {name: value for name, value in claims.items() if value is not None}


async def test_an_active_token_of_our_client_stands_for_its_subject() -> None:
    clock = Clock()
    async with asking(clock) as (verifier, provider):
        provider.answer_introspection = lambda _form: JSONResponse(active(exp=clock.time + 100))
        principal = await verifier.verify("at")
    assert principal is not None
    assert principal.owner == ("https://as.example", "alice", "gateway")
    assert principal.scopes == {"a", "b"}
    assert principal.expires_at == clock.time + 100
    assert provider.introspections == [{"token": "at", "token_type_hint": "access_token"}]
    assert provider.authorizations == ["Basic Z2F0ZXdheTpz"]


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": None, "aud": "gateway"},
        {"client_id": None, "aud": ["api", "gateway"]},
        {"token_type": None, "typ": "Bearer"},
        {"token_type": None, "token_use": "access_token"},
        # As the documentation of IdentityServer and of Autodesk shows it.
        {"token_type": None, "client_id": None, "aud": ["api", "gateway"], "iss": "https://id.example"},
        {"token_type": None},
    ],
)
async def test_tokens_bound_to_us_in_other_words_are_good(changes: dict[str, Any]) -> None:
    async with asking() as (verifier, provider):
        provider.answer_introspection = lambda _form: JSONResponse(active(**changes))
        assert await verifier.verify("at") is not None


@pytest.mark.threat("B38", "V14", "D08")
@pytest.mark.parametrize(
    "changes",
    [
        {"active": False},
        {"client_id": "other-app"},
        {"client_id": None},
        {"client_id": ["gateway"]},
        {"client_id": "other-app", "aud": "gateway2"},
        {"exp": 1},
        {"token_type": None, "client_id": "other-app"},
        {"token_type": 7},
        {"token_type": "refresh_token"},
        {"typ": "Refresh"},
        {"token_type": "mac"},
    ],
)
async def test_b38_tokens_that_are_not_active_not_ours_or_no_access_tokens_are_refused(changes: dict[str, Any]) -> None:
    async with asking() as (verifier, provider):
        provider.answer_introspection = lambda _form: JSONResponse(active(**changes))
        assert await verifier.verify("at") is None


@pytest.mark.threat("V14")
async def test_an_endpoint_that_names_access_tokens_is_taken_at_its_word_where_it_names_none() -> None:
    async with asking() as (verifier, provider):
        # oidc-provider answers so for its refresh tokens.
        provider.answer_introspection = lambda form: JSONResponse(
            active(token_type="Bearer" if form["token"] == "at" else None)
        )
        assert await verifier.verify("at") is not None
        assert await verifier.verify("rt") is None


@pytest.mark.threat("V14")
@pytest.mark.parametrize(
    "response",
    [
        JSONResponse(active(), status_code=500),
        JSONResponse(active(), status_code=401),
        JSONResponse(active(), status_code=201),
        HTMLResponse("<html>"),
        PlainTextResponse("true"),
        JSONResponse([]),
        JSONResponse({}),
        JSONResponse({"active": "true"}),
        JSONResponse({"active": 1}),
        JSONResponse(active(exp="soon")),
        RedirectResponse("/elsewhere"),
        PlainTextResponse("x" * 100_000),
    ],
)
async def test_v14_a_provider_that_cannot_answer_lets_nobody_through(response: Response) -> None:
    async with asking() as (verifier, provider):
        provider.answer_introspection = lambda _form: response
        with pytest.raises(ProviderUnavailableError):
            await verifier.verify("at")
        provider.answer_introspection = lambda _form: JSONResponse(active())
        assert await verifier.verify("at") is not None


@pytest.mark.threat("V14")
async def test_v14_good_answers_live_60_seconds_and_never_longer_than_the_token() -> None:
    clock = Clock()
    async with asking(clock) as (verifier, provider):
        provider.answer_introspection = lambda form: JSONResponse(
            active(exp=clock.time + (20 if form["token"] == "short" else 9999))
        )
        await verifier.verify("long")
        await verifier.verify("short")
        provider.answer_introspection = lambda _form: JSONResponse({"active": False})
        clock.time += 19
        assert await verifier.verify("short") is not None
        clock.time += 1
        assert await verifier.verify("short") is None
        clock.time += 39
        assert await verifier.verify("long") is not None
        clock.time += 1
        assert await verifier.verify("long") is None
        assert len(provider.introspections) == 4


async def test_refusals_live_30_seconds() -> None:
    clock = Clock()
    async with asking(clock) as (verifier, provider):
        assert await verifier.verify("at") is None
        provider.answer_introspection = lambda _form: JSONResponse(active())
        clock.time += 29
        assert await verifier.verify("at") is None
        assert len(provider.introspections) == 1
        clock.time += 1
        assert await verifier.verify("at") is not None


async def test_many_requests_with_one_unknown_token_ask_once() -> None:
    async with asking() as (verifier, provider):
        provider.answer_introspection = lambda _form: JSONResponse(active())
        provider.gate = asyncio.Event()
        waiting = [asyncio.create_task(verifier.verify("at")) for _ in range(50)]
        async with asyncio.timeout(60):
            await provider.was_asked.wait()
            # The first caller, the one that asks, goes away: the others still get their answer.
            waiting[0].cancel()
            provider.gate.set()
            answers = await asyncio.gather(*waiting[1:])
        assert all(answer is not None for answer in answers)
        assert len(provider.introspections) == 1


async def test_a_flood_of_garbage_does_not_push_good_tokens_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached, "MAX_CACHED_ANSWERS", 5)
    async with asking() as (verifier, provider):
        provider.answer_introspection = lambda form: JSONResponse(active(active=form["token"] == "good"))
        await verifier.verify("good")
        await asyncio.gather(*(verifier.verify(f"garbage-{number}") for number in range(40)))
        asked = len(provider.introspections)
        assert await verifier.verify("good") is not None
        assert len(provider.introspections) == asked == 41
        await verifier.verify("garbage-0")
        assert len(provider.introspections) == 42


async def test_a_token_without_a_person_stands_for_itself() -> None:
    async with asking() as (verifier, provider):
        provider.answer_introspection = lambda _form: JSONResponse(active(sub=None))
        first, second = await verifier.verify("one"), await verifier.verify("two")
    assert first is not None
    assert second is not None
    assert first.subject != second.subject


async def test_tokens_for_our_audience_are_good_as_well() -> None:
    async with asking(audience="https://api.example") as (verifier, provider):
        for audience, is_good in (("https://api.example", True), ("https://api.example2", False)):
            provider.answer_introspection = lambda _form, audience=audience: JSONResponse(
                active(client_id="other-app", aud=[audience])
            )
            assert (await verifier.verify(audience) is not None) is is_good


async def test_a_provider_that_wants_json_gets_the_token_and_nothing_that_is_optional() -> None:
    async with replaying() as replay:
        fetcher = StandInFetcher(replay.address)
        replay.answer("POST /as.example/introspect", active())
        check = IntrospectionCheck(
            introspection_url="https://as.example/introspect",
            client=ProviderClient(client_id="gateway", client_secret=Secret("s"), auth_method="basic", sends_json=True),
            audience=None,
            issuer="https://as.example",
            fetcher=fetcher,
            now=Clock(),
        )
        assert (await check.check("at", "digest")).subject == "alice"
        assert json.loads(replay.requests[-1][2]) == {"token": "at"}
        await fetcher.aclose()
