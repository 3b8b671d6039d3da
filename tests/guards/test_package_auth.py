from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.responses import JSONResponse

from fluidmcp.errors import ForbiddenError, LoginError, ProviderAnswerError, ProviderUnavailableError, UnauthorizedError
from fluidmcp.guards.package_auth import MAX_REFRESHES_PER_MINUTE, PackageAuth
from tests.providers.fault_making import FaultMakingProvider, query_of, token_document, unsigned_id_token
from tests.providers.login_gateway import LoginGateway, auth_block, login_gateway
from tests.providers.serving import serve


@asynccontextmanager
async def packages(**changes: Any) -> AsyncGenerator[tuple[LoginGateway, FaultMakingProvider]]:
    provider = FaultMakingProvider()
    environ = changes.pop("environ", {"MAIL_CLIENT_ID": "gateway", "MAIL_CLIENT_SECRET": "s"})
    async with serve(provider.app) as address:
        if changes.pop("introspects", False):
            changes["introspection_url"] = f"{address}/introspect"
        block = auth_block(address, **changes)
        async with login_gateway({"mail": block, "jira": block}, environ=environ) as gateway:
            yield gateway, provider


async def log_in(auth: PackageAuth) -> str:
    start = await auth.begin_login(client_address="127.0.0.1")
    state = query_of(start.location)["state"]
    query = [("code", "c"), ("state", state)]
    answer = await auth.redeem(await auth.take_login(query, {start.cookie_name: start.cookie_value}), query)
    return answer.access_token


@pytest.mark.promise(76, 107)
@pytest.mark.threat("B33", "B38")
async def test_b38_a_token_of_one_package_opens_that_package_only() -> None:
    async with packages() as (gateway, _provider):
        token = await log_in(gateway.auths["mail"])
        assert (await gateway.auths["mail"].authenticate(token)).client_id == "gateway"
        with pytest.raises(UnauthorizedError) as caught:
            await gateway.auths["jira"].authenticate(token)
    assert caught.value.reason == "invalid_token"
    assert "/jira/auth/login" in caught.value.hint


@pytest.mark.threat("B33")
@pytest.mark.parametrize(
    "token", ["", " ", "aaaaaaaaaa", "a b", "a\r\nb", "tokén", "\udc80", "x" * 8193, "x" * 1_000_000]
)
async def test_b33_garbage_is_refused_at_once(token: str) -> None:
    async with packages(introspects=True) as (gateway, provider):
        with pytest.raises(UnauthorizedError) as caught:
            await gateway.auths["mail"].authenticate(token)
        assert caught.value.reason == "invalid_token"
        assert len(provider.introspections) == (1 if token == "aaaaaaaaaa" else 0)
    assert not token.strip() or token not in caught.value.why + caught.value.hint


async def test_a_token_that_was_not_handed_out_here_is_good_when_introspection_says_so() -> None:
    async with packages(introspects=True) as (gateway, provider):
        claims = {"active": True, "client_id": "gateway", "token_type": "bearer", "sub": "alice"}
        provider.answer_introspection = lambda _form: JSONResponse(claims)
        assert (await gateway.auths["mail"].authenticate("from-elsewhere")).subject == "alice"
        provider.answer_introspection = lambda _form: JSONResponse({}, status_code=500)
        with pytest.raises(ProviderUnavailableError):
            await gateway.auths["mail"].authenticate("unknown")


async def test_a_handed_out_token_is_not_asked_about() -> None:
    async with packages(introspects=True) as (gateway, provider):
        token = await log_in(gateway.auths["mail"])
        asked = len(provider.introspections)
        await gateway.auths["mail"].authenticate(token)
        assert len(provider.introspections) == asked


async def test_the_id_token_of_the_answer_names_the_person() -> None:
    async with packages() as (gateway, provider):
        claims = {"iss": "https://as", "aud": "gateway", "sub": "alice", "exp": gateway.clock.time + 60}
        provider.answer_token = lambda _form: JSONResponse(token_document(id_token=unsigned_id_token(**claims)))
        principal = await gateway.auths["mail"].authenticate(await log_in(gateway.auths["mail"]))
        assert (principal.issuer, principal.subject) == ("https://as", "alice")
        claims["aud"] = "other-app"
        with pytest.raises(ProviderAnswerError):
            await log_in(gateway.auths["mail"])


async def test_without_id_token_introspection_names_the_person() -> None:
    async with packages(introspects=True) as (gateway, provider):
        provider.answer_introspection = lambda _form: JSONResponse(
            {"active": True, "client_id": "gateway", "token_type": "bearer", "sub": "alice"}
        )
        principal = await gateway.auths["mail"].authenticate(await log_in(gateway.auths["mail"]))
    assert principal.subject == "alice"


async def test_a_login_of_nobody_has_a_subject_of_its_own_that_survives_refreshes() -> None:
    async with packages() as (gateway, provider):
        auth = gateway.auths["mail"]
        provider.answer_token = lambda _form: JSONResponse(token_document(refresh_token="rt-1"))
        first = await auth.authenticate(await log_in(auth))
        provider.answer_token = lambda _form: JSONResponse(token_document(refresh_token="rt-2"))
        second = await auth.authenticate((await auth.refresh("rt-1", client_address="a")).access_token)
        third = await auth.authenticate((await auth.refresh("rt-2", client_address="a")).access_token)
        other = await auth.authenticate(await log_in(auth))
    assert first.owner == second.owner == third.owner
    assert other.owner != first.owner
    assert len({first.token_digest, second.token_digest, third.token_digest}) == 3


async def test_a_refresh_without_a_new_refresh_token_gives_the_old_one_back() -> None:
    async with packages() as (gateway, provider):
        provider.answer_token = lambda _form: JSONResponse(token_document(refresh_token=None))
        answer = await gateway.auths["mail"].refresh("rt-of-before-the-restart", client_address="a")
    assert answer.refresh_token == "rt-of-before-the-restart"
    assert provider.token_requests[0]["grant_type"] == "refresh_token"


async def test_the_verified_must_be_allowed_at_the_callback() -> None:
    async with packages(allowed_subjects=("alice",), allowed_domains=("corp.com",)) as (gateway, provider):
        auth = gateway.auths["mail"]
        claims: dict[str, Any] = {"iss": "https://as", "aud": "gateway", "exp": gateway.clock.time + 60}
        people = [
            ({"sub": "alice"}, True),
            ({"sub": "bob", "email": "b@corp.com", "email_verified": True}, True),
            ({"sub": "eve", "email": "e@corp.com", "email_verified": False}, False),
            ({"sub": "stranger"}, False),
        ]
        for person, is_allowed in people:
            document = token_document(
                access_token=f"at-{person['sub']}", id_token=unsigned_id_token(**claims, **person)
            )
            provider.answer_token = lambda _form, document=document: JSONResponse(document)
            if is_allowed:
                assert (await auth.authenticate(await log_in(auth))).subject == person["sub"]
            else:
                with pytest.raises(ForbiddenError):
                    await log_in(auth)
                with pytest.raises(UnauthorizedError):
                    await auth.authenticate(f"at-{person['sub']}")


async def test_the_verified_must_be_allowed_at_each_verification() -> None:
    async with packages(introspects=True, allowed_subjects=("alice",)) as (gateway, provider):
        claims = {"active": True, "client_id": "gateway", "token_type": "bearer"}
        provider.answer_introspection = lambda form: JSONResponse({**claims, "sub": form["token"]})
        assert await gateway.auths["mail"].authenticate("alice")
        with pytest.raises(ForbiddenError):
            await gateway.auths["mail"].authenticate("stranger")


@pytest.mark.threat("D09")
async def test_d09_a_token_ends_with_its_life() -> None:
    async with packages() as (gateway, _provider):
        token = await log_in(gateway.auths["mail"])
        gateway.clock.time += 3600
        with pytest.raises(UnauthorizedError):
            await gateway.auths["mail"].authenticate(token)


@pytest.mark.promise(82, 83, 116)
@pytest.mark.threat("B28")
@pytest.mark.parametrize(
    ("environ", "method", "missing"),
    [
        ({}, None, ("MAIL_CLIENT_ID",)),
        ({"MAIL_CLIENT_ID": ""}, None, ("MAIL_CLIENT_ID",)),
        ({"MAIL_CLIENT_ID": "gateway"}, None, ()),
        ({"MAIL_CLIENT_ID": "gateway"}, "none", ()),
        ({"MAIL_CLIENT_ID": "gateway"}, "basic", ("MAIL_CLIENT_SECRET",)),
        ({"MAIL_CLIENT_ID": "gateway"}, "post", ("MAIL_CLIENT_SECRET",)),
        ({}, "post", ("MAIL_CLIENT_ID", "MAIL_CLIENT_SECRET")),
    ],
)
async def test_b28_what_the_environment_lacks_is_named(
    environ: dict[str, str], method: str | None, missing: tuple[str, ...]
) -> None:
    async with packages(environ=environ, token_endpoint_auth_method=method) as (gateway, _provider):
        auth = gateway.auths["mail"]
        assert auth.missing_variables == missing
        if not missing:
            return
        with pytest.raises(LoginError) as caught:
            await auth.begin_login(client_address="a")
        assert caught.value.status == 503
        assert all(name in caught.value.why for name in missing)
        with pytest.raises(UnauthorizedError):
            await auth.authenticate("token")


@pytest.mark.promise(83)
async def test_a_secret_is_sent_only_if_its_variable_is_set_and_named_when_the_provider_wants_one() -> None:
    async with packages() as (gateway, provider):
        await log_in(gateway.auths["mail"])
    assert provider.token_requests[0]["client_secret"] == "s"
    async with packages(environ={"MAIL_CLIENT_ID": "gateway"}) as (gateway, provider):
        await log_in(gateway.auths["mail"])
        assert "client_secret" not in provider.token_requests[0]
        provider.answer_token = lambda _form: JSONResponse({"error": "invalid_client"}, status_code=401)
        with pytest.raises(ProviderAnswerError) as caught:
            await log_in(gateway.auths["mail"])
    assert "MAIL_CLIENT_SECRET" in caught.value.hint


async def test_refreshes_of_one_address_are_limited() -> None:
    async with packages() as (gateway, provider):
        auth = gateway.auths["mail"]
        for _ in range(MAX_REFRESHES_PER_MINUTE):
            with pytest.raises(LoginError):
                await auth.refresh("", client_address="10.0.0.1")
        with pytest.raises(LoginError) as caught:
            await auth.refresh("rt", client_address="10.0.0.1")
        assert (caught.value.status, caught.value.retry_after_seconds) == (429, 60)
        assert await auth.refresh("rt", client_address="10.0.0.2")
        gateway.clock.time += 60
        assert await auth.refresh("rt", client_address="10.0.0.1")
        assert len(provider.token_requests) == 2
