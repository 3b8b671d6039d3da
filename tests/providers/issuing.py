"""An issuer of JWTs whose keys and answers a test decides: for forged tokens, rotations and outages."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fluidmcp.authentication.verifiers.cached import CachedVerifier
from fluidmcp.authentication.verifiers.jwks import JwksCache
from fluidmcp.authentication.verifiers.jwt import JwtCheck
from fluidmcp.oauth_client.fetch import Fetcher
from fluidmcp.oauth_client.issuer import ExpectedIssuer
from tests.providers.login_gateway import Clock
from tests.providers.serving import serve

AUDIENCE = "https://gateway.example/mcp"
Key = RSAKey | ECKey | OKPKey | OctKey


@cache
def rsa_key(kid: str, number: int = 1) -> RSAKey:
    """A key of that name; made once, because making one takes a while. Another number is another key."""
    assert number > 0
    return RSAKey.generate_key(2048, {"kid": kid})


class _RoomyRegistry(JWSRegistry):
    """Signs what a test wants signed, large headers and unknown ones included."""

    max_header_length = 1_000_000


class Issuer:
    """Signs tokens and serves the public halves of `published`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.address = ""
        self.clock = clock
        self.key = rsa_key("k1")
        self.published: list[Key] = [self.key]
        self.answer_jwks: Callable[[], Response] = self.good_jwks
        self.answer_userinfo: Callable[[str], Response] = lambda _token: Response(status_code=401)
        self.jwks_requests = 0
        self.other_requests: list[str] = []
        self.gate: asyncio.Event | None = None
        """While set and not yet open, requests for the keys wait for it."""
        self.app = Starlette(
            routes=[
                Route("/jwks", self._jwks),
                Route("/.well-known/openid-configuration", self._configuration),
                Route("/userinfo", self._userinfo),
                Route("/{path:path}", self._other, methods=["GET", "POST"]),
            ]
        )

    @property
    def issuer(self) -> str:
        return self.address

    def good_jwks(self) -> Response:
        keys = [{**key.as_dict(private=False), "use": "sig"} for key in self.published]
        return JSONResponse({"keys": keys})

    def claims(self, **changes: Any) -> dict[str, Any]:
        """The claims of a good access token, with changes; a change to None leaves the claim out."""
        now = self.clock()
        claims = {
            "iss": self.issuer,
            "aud": AUDIENCE,
            "sub": "alice",
            "client_id": "app",
            "scope": "tools.read tools.call",
            "iat": now,
            "exp": now + 600,
            **changes,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def sign(
        self,
        claims: Mapping[str, Any] | None = None,
        *,
        key: Key | None = None,
        header: Mapping[str, Any] | None = None,
        algorithm: str = "RS256",
    ) -> str:
        key = key or self.key
        whole = {"alg": algorithm, "kid": key.kid, "typ": "at+jwt", **(header or {})}
        whole = {name: value for name, value in whole.items() if value is not None}
        registry = _RoomyRegistry(algorithms=[algorithm], strict_check_header=False)
        return jwt.encode(
            whole, dict(self.claims() if claims is None else claims), key, registry=registry, default_type=None
        )

    async def _jwks(self, _request: Request) -> Response:
        self.jwks_requests += 1
        if self.gate is not None:
            await self.gate.wait()
        return self.answer_jwks()

    async def _configuration(self, _request: Request) -> Response:
        document = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.address}/authorize",
            "token_endpoint": f"{self.address}/token",
            "jwks_uri": f"{self.address}/jwks",
            "userinfo_endpoint": f"{self.address}/userinfo",
        }
        return JSONResponse(document)

    async def _userinfo(self, request: Request) -> Response:
        return self.answer_userinfo(request.headers.get("authorization", "").removeprefix("Bearer "))

    async def _other(self, request: Request) -> Response:
        self.other_requests.append(request.url.path)
        return JSONResponse({"keys": [self.key.as_dict(private=False)]})


@asynccontextmanager
async def issuing(clock: Clock) -> AsyncGenerator[Issuer]:
    issuer = Issuer(clock)
    async with serve(issuer.app) as address:
        issuer.address = address
        yield issuer


@asynccontextmanager
async def jwt_verifier(
    *, clock: Clock | None = None, expected_issuer: str | None = None, fetcher: Fetcher | None = None
) -> AsyncGenerator[tuple[CachedVerifier, Issuer]]:
    """A verifier of the issuer's tokens for AUDIENCE; its digest is the token itself, for failures that can be read."""
    now = clock or Clock()
    own_fetcher = fetcher or Fetcher()
    async with issuing(now) as issuer:

        async def find_jwks_uri() -> str:
            return f"{issuer.address}/jwks"

        check = JwtCheck(
            issuer=ExpectedIssuer.of(expected_issuer or issuer.issuer),
            audience=AUDIENCE,
            keys=JwksCache(find_jwks_uri, fetcher=own_fetcher, now=now),
            now=now,
        )
        yield CachedVerifier(check, digest=lambda token: f"digest of {token}", now=now, budget=None), issuer
    await own_fetcher.aclose()


def as_json(value: Any) -> bytes:
    """JSON as a careless or hostile writer makes it: NaN and Infinity included."""
    return json.dumps(value).encode()
