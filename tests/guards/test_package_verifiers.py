"""The verifiers of an auth block: what its optional keys accept beside the tokens that were handed out here."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from fluidmcp.errors import ForbiddenError, ProviderUnavailableError, UnauthorizedError
from fluidmcp.guards.package_auth import PackageAuth
from tests.guards.test_package_auth import log_in, packages
from tests.providers.fault_making import token_document
from tests.providers.issuing import AUDIENCE, Issuer, issuing
from tests.providers.login_gateway import Clock, LoginGateway, auth_block, login_gateway
from tests.providers.replaying import Replay, replaying

ENVIRON = {"MAIL_CLIENT_ID": "gateway", "MAIL_CLIENT_SECRET": "s"}


@asynccontextmanager
async def jwt_packages(**changes: Any) -> AsyncGenerator[tuple[LoginGateway, Issuer]]:
    """Two packages whose provider issues JWTs: `mail` for AUDIENCE, `jira` for another audience."""
    clock = Clock()
    async with issuing(clock) as issuer:
        values: dict[str, Any] = {"issuer": issuer.issuer, "audience": AUDIENCE, **changes}
        blocks = {
            "mail": auth_block(issuer.address, **values),
            "jira": auth_block(issuer.address, **{**values, "audience": f"{AUDIENCE}2"}),
        }
        async with login_gateway(blocks, environ=ENVIRON, clock=clock) as gateway:
            yield gateway, issuer


@asynccontextmanager
async def userinfo_package(**changes: Any) -> AsyncGenerator[tuple[PackageAuth, Replay]]:
    """A package whose provider is replayed and has a userinfo endpoint."""
    async with replaying() as replay:
        block = auth_block(replay.address, userinfo_url=f"{replay.address}/me", **changes)
        replay.answer("POST /token", token_document(access_token="handed-out"))
        replay.answer("GET /me", {"sub": "alice", "email": "a@corp.com", "email_verified": True})
        async with login_gateway({"mail": block}, environ=ENVIRON) as gateway:
            yield gateway.auths["mail"], replay


@pytest.mark.threat("B38", "V10")
async def test_b38_a_jwt_for_one_package_does_not_open_another() -> None:
    async with jwt_packages() as (gateway, issuer):
        token = issuer.sign()
        assert (await gateway.auths["mail"].authenticate(token)).subject == "alice"
        with pytest.raises(UnauthorizedError):
            await gateway.auths["jira"].authenticate(token)


async def test_the_keys_may_be_named_instead_of_discovered() -> None:
    async with jwt_packages() as (_gateway, issuer):
        block = auth_block(
            issuer.address, issuer="https://as.example/", audience=AUDIENCE, jwks_uri=f"{issuer.address}/jwks"
        )
        async with login_gateway({"mail": block}, environ=ENVIRON) as gateway:
            token = issuer.sign(issuer.claims(iss="https://as.example/"))
            assert (await gateway.auths["mail"].authenticate(token)).issuer == "https://as.example/"


async def test_tokens_handed_out_here_only_means_that() -> None:
    async with jwt_packages(validation="issued_here") as (gateway, issuer):
        with pytest.raises(UnauthorizedError):
            await gateway.auths["mail"].authenticate(issuer.sign())
        assert issuer.jwks_requests == 0


async def test_only_the_chosen_way_is_used() -> None:
    only: dict[str, Any] = {"validation": "jwt", "issuer": "https://as.example", "audience": AUDIENCE}
    async with packages(introspects=True, **only) as (gateway, provider):
        with pytest.raises(UnauthorizedError):
            await gateway.auths["mail"].authenticate("token")
        assert provider.introspections == []


@pytest.mark.threat("D03")
async def test_d03_a_stranger_with_a_good_jwt_is_not_let_in() -> None:
    async with jwt_packages(allowed_subjects=("alice",)) as (gateway, issuer):
        assert await gateway.auths["mail"].authenticate(issuer.sign())
        with pytest.raises(ForbiddenError):
            await gateway.auths["mail"].authenticate(issuer.sign(issuer.claims(sub="eve")))


@pytest.mark.threat("D08", "V13")
async def test_d08_userinfo_accepts_handed_out_tokens_only() -> None:
    async with userinfo_package() as (auth, _replay):
        token = await log_in(auth)
        # It does say who logged in.
        assert (await auth.authenticate(token)).subject == "alice"
        with pytest.raises(UnauthorizedError):
            await auth.authenticate("token-of-another-app")


async def test_unbound_tokens_are_accepted_where_the_block_says_so() -> None:
    async with userinfo_package(allow_unbound_tokens=True, allowed_domains=("corp.com",)) as (auth, replay):
        assert (await auth.authenticate("token-of-another-app")).subject == "alice"
        replay.answer("GET /me", {"sub": "eve"})
        with pytest.raises(ForbiddenError):
            await auth.authenticate("token-of-eve")


async def test_who_may_come_in_cannot_be_decided_while_the_provider_is_silent() -> None:
    async with userinfo_package(allowed_subjects=("alice",)) as (auth, replay):
        replay.answers["GET /me"] = Response(status_code=500)
        with pytest.raises(ProviderUnavailableError):
            await log_in(auth)
    async with userinfo_package() as (auth, replay):
        # Also where nobody is named: under a made-up name somebody could come in who is shut out.
        replay.answers["GET /me"] = Response(status_code=500)
        with pytest.raises(ProviderUnavailableError):
            await log_in(auth)


async def test_the_tokens_of_somebody_who_may_not_come_in_are_given_back() -> None:
    async with replaying() as replay:
        block = auth_block(
            replay.address,
            userinfo_url=f"{replay.address}/me",
            revocation_url=f"{replay.address}/revoke",
            allowed_subjects=("alice",),
        )
        replay.answer("POST /token", token_document(refresh_token="rt-of-eve"))
        replay.answer("GET /me", {"sub": "eve"})
        for answer in (Response(), Response(status_code=500), JSONResponse({"error": "x"}, status_code=400)):
            replay.answers["POST /revoke"] = answer
            async with login_gateway({"mail": block}, environ=ENVIRON) as gateway:
                with pytest.raises(ForbiddenError):
                    await log_in(gateway.auths["mail"])
            name, _headers, body = replay.requests[-1]
            assert name == "POST /revoke"
            assert "token=rt-of-eve&token_type_hint=refresh_token" in body


@pytest.mark.threat("D11")
async def test_d11_garbage_at_a_package_costs_the_provider_little() -> None:
    async with packages(introspects=True) as (gateway, provider):
        good = {"active": True, "client_id": "gateway", "token_type": "bearer", "sub": "alice"}
        provider.answer_introspection = lambda form: JSONResponse({**good, "active": form["token"] == "good"})
        auth = gateway.auths["mail"]
        assert await auth.authenticate("good")
        for number in range(1000):
            with pytest.raises((UnauthorizedError, ProviderUnavailableError)):
                await auth.authenticate(f"garbage-{number}")
        gateway.clock.time += 61
        assert await auth.authenticate("good")
        assert len(provider.introspections) <= 130
