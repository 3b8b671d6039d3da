"""JWT access tokens, ID tokens and keys of the real `oidc-provider`."""

import base64
import hashlib
import secrets
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import quote_plus, urlencode

import httpx2
import pytest

from fluidmcp.authentication.verifiers.cached import CachedVerifier
from fluidmcp.authentication.verifiers.jwks import JwksCache
from fluidmcp.authentication.verifiers.jwt import JwtCheck
from fluidmcp.oauth_client.discovery import discover
from fluidmcp.oauth_client.fetch import Fetcher
from fluidmcp.oauth_client.issuer import ExpectedIssuer
from tests.providers.fault_making import query_of
from tests.providers.issuing import AUDIENCE
from tests.providers.oidc import CLIENT_ID, CLIENT_SECRET, PUBLIC_URL, OidcProvider, log_in, running_oidc_provider

pytestmark = pytest.mark.needs("node", "oidc-provider")

REDIRECT_URI = f"{PUBLIC_URL}/mail/auth/callback"


@dataclass(frozen=True)
class Tokens:
    access_token: str
    id_token: str


@pytest.fixture(scope="module")
def oidc_provider() -> Iterator[OidcProvider]:
    with running_oidc_provider() as provider:
        yield provider


async def tokens_for(provider: OidcProvider, person: str, *, nonce: str | None = None) -> Tokens:
    """A login by hand, with a `resource`: the access token is a JWT for it."""
    code_verifier = secrets.token_urlsafe(32)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(code_verifier.encode()).digest()).rstrip(b"=").decode()
    parameters = {
        "response_type": "code",
        "client_id": CLIENT_ID,
        "redirect_uri": REDIRECT_URI,
        "scope": "openid email mail.read",
        "resource": AUDIENCE,
        "state": "s",
        "code_challenge": challenge,
        "code_challenge_method": "S256",
        **({} if nonce is None else {"nonce": nonce}),
    }
    location = await log_in(f"{provider.authorization_url}?{urlencode(parameters)}", person=person)
    form = {
        "grant_type": "authorization_code",
        "code": query_of(location)["code"],
        "redirect_uri": REDIRECT_URI,
        "code_verifier": code_verifier,
        "resource": AUDIENCE,
    }
    async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
        # Id and secret are form-encoded before they are joined (RFC 6749 section 2.3.1).
        auth = (quote_plus(CLIENT_ID), quote_plus(CLIENT_SECRET))
        answer = (await client.post(provider.token_url, data=form, auth=auth)).json()
    return Tokens(answer["access_token"], answer["id_token"])


@asynccontextmanager
async def verifier_for(
    provider: OidcProvider, *, audience: str = AUDIENCE, keys_of: OidcProvider | None = None
) -> AsyncGenerator[CachedVerifier]:
    fetcher = Fetcher()

    async def find_jwks_uri() -> str:
        jwks_uri = (await discover((keys_of or provider).issuer, fetcher)).jwks_uri
        assert jwks_uri is not None
        return jwks_uri

    keys = JwksCache(find_jwks_uri, fetcher=fetcher, now=time.time)
    check = JwtCheck(issuer=ExpectedIssuer.of(provider.issuer), audience=audience, keys=keys, now=time.time)
    yield CachedVerifier(check, digest=lambda token: token, now=time.time, budget=None)
    await fetcher.aclose()


async def test_a_jwt_of_the_real_provider_stands_for_its_person(oidc_provider: OidcProvider) -> None:
    tokens = await tokens_for(oidc_provider, "alice")
    async with verifier_for(oidc_provider) as verifier:
        principal = await verifier.verify(tokens.access_token)
    assert principal is not None
    assert principal.owner == (oidc_provider.issuer, "alice", CLIENT_ID)
    assert principal.scopes == {"mail.read"}


@pytest.mark.threat("V10")
async def test_v10_a_jwt_of_the_real_provider_for_another_audience_is_refused(oidc_provider: OidcProvider) -> None:
    tokens = await tokens_for(oidc_provider, "alice")
    async with verifier_for(oidc_provider, audience=f"{AUDIENCE}2") as verifier:
        assert "aud" in await verifier.explain(tokens.access_token)


@pytest.mark.threat("V12")
@pytest.mark.parametrize("nonce", [None, "n-0S6_WzA2Mj"])
async def test_v12_an_id_token_of_the_real_provider_is_no_access_token(
    oidc_provider: OidcProvider, nonce: str | None
) -> None:
    tokens = await tokens_for(oidc_provider, "alice", nonce=nonce)
    # Its audience is the client id: also a gateway whose audience that is refuses it.
    for audience in (CLIENT_ID, AUDIENCE):
        async with verifier_for(oidc_provider, audience=audience) as verifier:
            assert await verifier.verify(tokens.id_token) is None
            if audience == CLIENT_ID:
                assert "access token" in await verifier.explain(tokens.id_token)


@pytest.mark.threat("V08")
async def test_v08_a_token_signed_with_keys_that_the_issuer_no_longer_has_is_refused(
    oidc_provider: OidcProvider,
) -> None:
    tokens = await tokens_for(oidc_provider, "alice")
    # Another provider publishes another key under the same name.
    with running_oidc_provider() as other:
        async with verifier_for(oidc_provider, keys_of=other) as verifier:
            assert "signature" in await verifier.explain(tokens.access_token)
