"""The keys of an issuer: fetched seldom, rotated, withdrawn, and kept while their endpoint is down."""

import asyncio
import base64
import json

import pytest
from joserfc.jwk import ECKey, OctKey
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response

from fluidmcp.authentication.verifiers.jwks import COOLDOWN_SECONDS, MAX_STALE_SECONDS, TTL_SECONDS, read_key_set
from fluidmcp.errors import ProviderAnswerError, ProviderUnavailableError
from tests.providers.issuing import jwt_verifier, rsa_key
from tests.providers.login_gateway import Clock

POSITIVE_CACHE_SECONDS = 60.0


def unavailable() -> Response:
    return PlainTextResponse("down", status_code=503)


@pytest.mark.threat("V07")
async def test_v07_a_flood_of_unknown_keys_costs_one_fetch_per_cooldown() -> None:
    clock = Clock()
    async with jwt_verifier(clock=clock) as (verifier, issuer):
        assert await verifier.verify(issuer.sign()) is not None
        assert issuer.jwks_requests == 1
        for round_number in range(1, 4):
            clock.time += COOLDOWN_SECONDS
            for number in range(200):
                assert await verifier.verify(issuer.sign(header={"kid": f"unknown-{number}"})) is None
            assert issuer.jwks_requests == 1 + round_number
        assert await verifier.verify(issuer.sign(issuer.claims(sub="bob"))) is not None


@pytest.mark.threat("V07")
async def test_v07_many_first_requests_wait_for_one_fetch_and_the_loop_goes_on() -> None:
    async with jwt_verifier() as (verifier, issuer):
        issuer.gate = asyncio.Event()
        tokens = [issuer.sign(issuer.claims(sub=f"person-{number}")) for number in range(30)]
        waiting = [asyncio.create_task(verifier.verify(token)) for token in tokens]
        async with asyncio.timeout(60):
            while issuer.jwks_requests == 0:
                await asyncio.sleep(0)
            waiting[0].cancel()
            issuer.gate.set()
            answers = await asyncio.gather(*waiting[1:])
        assert all(answer is not None for answer in answers)
        assert issuer.jwks_requests == 1


@pytest.mark.threat("V07", "V14")
async def test_v07_failed_fetches_are_not_repeated_before_the_cooldown_and_let_nobody_through() -> None:
    clock = Clock()
    async with jwt_verifier(clock=clock) as (verifier, issuer):
        issuer.answer_jwks = unavailable
        for _ in range(50):
            with pytest.raises(ProviderUnavailableError):
                await verifier.verify(issuer.sign())
        assert issuer.jwks_requests == 1
        issuer.answer_jwks = issuer.good_jwks
        clock.time += COOLDOWN_SECONDS
        assert await verifier.verify(issuer.sign()) is not None


@pytest.mark.threat("V07")
async def test_v07_known_keys_keep_working_while_their_endpoint_is_down_but_not_for_ever() -> None:
    clock = Clock()
    async with jwt_verifier(clock=clock) as (verifier, issuer):
        assert await verifier.verify(issuer.sign()) is not None
        issuer.answer_jwks = unavailable
        clock.time += TTL_SECONDS + 1
        for number in range(20):
            assert await verifier.verify(issuer.sign(issuer.claims(sub=f"person-{number}"))) is not None
        assert issuer.jwks_requests == 2
        # Whether a new key is good cannot be known now: that is no refusal.
        with pytest.raises(ProviderUnavailableError):
            await verifier.verify(issuer.sign(key=rsa_key("k2")))
        clock.time += MAX_STALE_SECONDS
        with pytest.raises(ProviderUnavailableError):
            await verifier.verify(issuer.sign())


@pytest.mark.threat("V07")
async def test_v07_requests_with_usable_keys_do_not_wait_for_an_endpoint_that_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fluidmcp.authentication.verifiers.jwks.REFRESH_WAIT_SECONDS", 0.05)
    clock = Clock()
    async with jwt_verifier(clock=clock) as (verifier, issuer):
        assert await verifier.verify(issuer.sign()) is not None
        issuer.gate = asyncio.Event()
        clock.time += TTL_SECONDS + 1
        async with asyncio.timeout(60):
            assert await verifier.verify(issuer.sign()) is not None
        issuer.gate.set()


@pytest.mark.threat("V08")
async def test_v08_a_new_key_is_found_and_a_withdrawn_one_refused() -> None:
    clock = Clock()
    async with jwt_verifier(clock=clock) as (verifier, issuer):
        assert await verifier.verify(issuer.sign()) is not None
        new = rsa_key("k2")
        issuer.published = [new]
        # Within the cooldown nobody asks; after it the new key is found.
        assert await verifier.verify(issuer.sign(key=new)) is None
        clock.time += COOLDOWN_SECONDS
        assert await verifier.verify(issuer.sign(key=new)) is not None
        clock.time += POSITIVE_CACHE_SECONDS
        assert await verifier.verify(issuer.sign(issuer.claims())) is None


@pytest.mark.threat("V08")
async def test_v08_a_withdrawn_key_is_refused_after_its_time_to_live_when_no_new_one_comes_up() -> None:
    clock = Clock()
    async with jwt_verifier(clock=clock) as (verifier, issuer):
        old, token = rsa_key("old"), ""
        issuer.published = [issuer.key, old]
        token = issuer.sign(issuer.claims(exp=clock.time + 9999), key=old)
        assert await verifier.verify(token) is not None
        issuer.published = [issuer.key]
        clock.time += TTL_SECONDS - 1
        assert await verifier.verify(token) is not None
        clock.time += POSITIVE_CACHE_SECONDS + 1
        assert await verifier.verify(token) is None


async def test_a_token_without_key_id_gets_the_only_key_that_fits() -> None:
    async with jwt_verifier() as (verifier, issuer):
        issuer.published = [issuer.key, ECKey.generate_key("P-256", {"kid": "e"})]
        assert await verifier.verify(issuer.sign(header={"kid": None})) is not None
    async with jwt_verifier() as (verifier, issuer):
        issuer.published = [issuer.key, rsa_key("k2")]
        assert await verifier.verify(issuer.sign(header={"kid": None})) is None


@pytest.mark.parametrize(
    "response",
    [
        HTMLResponse("<html>"),
        PlainTextResponse("[" * 50_000),
        JSONResponse([]),
        JSONResponse({"keys": {}}),
        JSONResponse({}),
        RedirectResponse("/elsewhere"),
        PlainTextResponse("x" * 100_000),
        PlainTextResponse("{}", status_code=404),
    ],
)
async def test_what_is_no_key_set_is_a_failure_of_the_provider(response: Response) -> None:
    async with jwt_verifier() as (verifier, issuer):
        issuer.answer_jwks = lambda: response
        with pytest.raises(ProviderUnavailableError):
            await verifier.verify(issuer.sign())


def test_only_keys_that_may_verify_are_read() -> None:
    good = rsa_key("good").as_dict(private=False)
    keys: list[object] = [
        {**good, "use": "enc"},
        {**good, "key_ops": ["encrypt"]},
        {**good, "n": "!"},
        {"kty": "RSA", "kid": "half"},
        OctKey.import_key(b"s" * 32).as_dict(private=True),
        {"kty": "RSA", "kid": "weak", "e": "AQAB", "n": base64.urlsafe_b64encode(b"\xff" * 128).decode()},
        {"kty": "AKP", "alg": "ML-DSA-44", "kid": "of tomorrow"},
        "text",
        None,
        5,
        {**good, "alg": "RS256", "x5c": ["not looked at"], "vendor": 1},
        rsa_key("private").as_dict(private=True),
    ]
    read = read_key_set(json.dumps({"keys": keys}).encode())
    assert [key.kid for key in read] == ["good", "private"]
    assert all(not key.key.is_private for key in read)
    assert read[0].fits("RS256")
    assert not read[0].fits("RS512")
    assert not read[0].fits("ES256")
    with pytest.raises(ProviderAnswerError):
        read_key_set(b"{")
