"""Logins and tokens of the real `canaille`, whose access tokens look like its ID tokens: `typ: JWT` and the same `aud`.

Nothing in them says that they are access tokens either, so introspection is the way to verify them.
"""

import base64
import hashlib
import secrets
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import httpx2
import pytest

from fluidmcp.authentication.verifiers.cached import CachedVerifier
from fluidmcp.authentication.verifiers.jwks import JwksCache
from fluidmcp.authentication.verifiers.jwt import JwtCheck, read_header, verify_signature
from fluidmcp.authentication.verifiers.jwt_form import read_token
from fluidmcp.config.entries import AuthBlock
from fluidmcp.errors import UnauthorizedError
from fluidmcp.oauth_client.discovery import discover
from fluidmcp.oauth_client.fetch import Fetcher
from fluidmcp.oauth_client.issuer import ExpectedIssuer
from tests.providers.canaille import CLIENT_SECRET, REDIRECT_URI, Canaille, log_in, running_canaille
from tests.providers.fault_making import query_of
from tests.providers.login_gateway import LoginGateway, auth_block, login_gateway
from tests.providers.oidc import CLIENT_ID

pytestmark = pytest.mark.needs("canaille")

ENVIRON = {"MAIL_CLIENT_ID": CLIENT_ID, "MAIL_CLIENT_SECRET": CLIENT_SECRET}


@dataclass(frozen=True)
class Tokens:
    access_token: str
    id_token: str


@dataclass(frozen=True)
class JwtParts:
    """A verifier of JWTs, and the keys that it has."""

    verifier: CachedVerifier
    keys: JwksCache


@pytest.fixture(scope="module")
def canaille() -> Iterator[Canaille]:
    with running_canaille() as provider:
        yield provider


def block_for(provider: Canaille, **changes: Any) -> AuthBlock:
    return auth_block(
        provider.issuer,
        authorization_url=provider.authorization_url,
        token_url=provider.token_url,
        token_endpoint_auth_method="basic",
        scopes=("openid", "email"),
        issuer=provider.issuer,
        **changes,
    )


@asynccontextmanager
async def gateway_for(block: AuthBlock) -> AsyncGenerator[LoginGateway]:
    async with login_gateway({"mail": block}, environ=ENVIRON) as gateway:
        gateway.clock.time = time.time()
        yield gateway


async def token_data(gateway: LoginGateway, *, person: str) -> dict[str, Any]:
    async with gateway.browser() as browser:
        begun = await browser.get("/mail/auth/login")
        response = await browser.get(await log_in(begun.headers["location"], person=person))
    assert response.status_code == 200, response.text
    return response.json()["token_data"]


async def tokens_for(provider: Canaille, person: str, *, nonce: str | None) -> Tokens:
    """A login by hand, because the gateway hands out no ID tokens."""
    code_verifier = secrets.token_urlsafe(32)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(code_verifier.encode()).digest()).rstrip(b"=").decode()
    parameters = {
        "response_type": "code",
        "client_id": CLIENT_ID,
        "redirect_uri": REDIRECT_URI,
        "scope": "openid email",
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
    }
    async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
        auth = (quote(CLIENT_ID, safe=""), quote(CLIENT_SECRET, safe=""))
        answer = (await client.post(provider.token_url, data=form, auth=auth)).json()
    return Tokens(answer["access_token"], answer["id_token"])


@asynccontextmanager
async def jwt_parts_for(provider: Canaille) -> AsyncGenerator[JwtParts]:
    fetcher = Fetcher()

    async def find_jwks_uri() -> str:
        jwks_uri = (await discover(provider.issuer, fetcher)).jwks_uri
        assert jwks_uri is not None
        return jwks_uri

    keys = JwksCache(find_jwks_uri, fetcher=fetcher, now=time.time)
    check = JwtCheck(issuer=ExpectedIssuer.of(provider.issuer), audience=CLIENT_ID, keys=keys, now=time.time)
    yield JwtParts(CachedVerifier(check, digest=lambda token: token, now=time.time, budget=None), keys)
    await fetcher.aclose()


async def require_right(token: str, provider: Canaille, keys: JwksCache) -> None:
    """Signature, issuer, audience and the plain type are those of an access token for us."""
    header, claims = read_token(token)
    assert (header["typ"], claims["iss"], claims["aud"]) == ("JWT", provider.issuer, [CLIENT_ID])
    algorithm, kid = read_header(header)
    key = await keys.find(kid, algorithm)
    assert key is not None
    verify_signature(token, key, algorithm)


async def test_people_log_in_and_introspection_knows_them_after_a_restart(canaille: Canaille) -> None:
    async with gateway_for(block_for(canaille)) as gateway:
        alice, bob = [await token_data(gateway, person=person) for person in ("alice", "bob")]
    async with gateway_for(block_for(canaille, introspection_url=canaille.introspection_url)) as restarted:
        principals = [await restarted.auths["mail"].authenticate(data["access_token"]) for data in (alice, bob)]
        with pytest.raises(UnauthorizedError):
            await restarted.auths["mail"].authenticate(alice["refresh_token"])
    assert [principal.owner for principal in principals] == [
        (canaille.issuer, person, CLIENT_ID) for person in ("alice", "bob")
    ]


@pytest.mark.threat("V12")
@pytest.mark.parametrize("nonce", [None, "n-0S6_WzA2Mj"])
async def test_v12_an_id_token_with_the_type_and_audience_of_access_tokens_is_refused(
    canaille: Canaille, nonce: str | None
) -> None:
    tokens = await tokens_for(canaille, "alice", nonce=nonce)
    async with jwt_parts_for(canaille) as jwt:
        for token in (tokens.id_token, tokens.access_token):
            await require_right(token, canaille, jwt.keys)
            assert await jwt.verifier.verify(token) is None
        assert "It is an ID token" in await jwt.verifier.explain(tokens.id_token)
        # The access token has no scopes and no client id: nothing tells it from an ID token for sure.
        assert "neither scopes nor a client id" in await jwt.verifier.explain(tokens.access_token)
    async with gateway_for(block_for(canaille, introspection_url=canaille.introspection_url)) as gateway:
        assert (await gateway.auths["mail"].authenticate(tokens.access_token)).subject == "alice"
        with pytest.raises(UnauthorizedError):
            await gateway.auths["mail"].authenticate(tokens.id_token)
