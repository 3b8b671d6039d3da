"""Logins against the real `oidc-provider`: nothing between the gateway and it is ours but the gateway."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote_plus

import httpx2
import pytest

from fluidmcp.config.entries import AuthBlock
from fluidmcp.errors import UnauthorizedError
from tests.providers.login_gateway import LoginGateway, auth_block, login_gateway
from tests.providers.oidc import CLIENT_ID, CLIENT_SECRET, OTHER_CLIENT_ID, OidcProvider, log_in, running_oidc_provider

pytestmark = pytest.mark.needs("node", "oidc-provider")

OTHER_ENVIRON = {"MAIL_CLIENT_ID": OTHER_CLIENT_ID, "MAIL_CLIENT_SECRET": CLIENT_SECRET}


@pytest.fixture(scope="module")
def oidc_provider() -> Iterator[OidcProvider]:
    with running_oidc_provider() as provider:
        yield provider


def block_for(provider: OidcProvider, **changes: Any) -> AuthBlock:
    values = {
        "authorization_url": provider.authorization_url,
        "token_endpoint_auth_method": "basic",
        "scopes": ("openid", "email", "mail.read"),
        "issuer": provider.issuer,
        **changes,
    }
    return auth_block(provider.issuer, **values)


async def finish(gateway: LoginGateway, *, person: str, package: str = "mail") -> httpx2.Response:
    async with gateway.browser() as browser:
        begun = await browser.get(f"/{package}/auth/login")
        return await browser.get(await log_in(begun.headers["location"], person=person))


async def token_data(gateway: LoginGateway, *, person: str) -> dict[str, Any]:
    response = await finish(gateway, person=person)
    assert response.status_code == 200, response.text
    return response.json()["token_data"]


def make_real_time(gateway: LoginGateway) -> None:
    """Both sides look at the same clock."""

    gateway.clock.time = time.time()


@pytest.mark.promise(69, 74, 75, 76, 77, 78, 79, 80, 81)
async def test_two_people_log_in_and_each_token_stands_for_its_person(oidc_provider: OidcProvider) -> None:
    async with login_gateway({"mail": block_for(oidc_provider)}) as gateway:
        make_real_time(gateway)
        alice, bob = await asyncio.gather(*(token_data(gateway, person=person) for person in ("alice", "bob")))
        assert (alice["token_type"], alice["expires_in"]) == ("Bearer", 3600)
        assert "mail.read" in alice["scope"].split()
        principals = [await gateway.auths["mail"].authenticate(data["access_token"]) for data in (alice, bob)]
    assert [principal.subject for principal in principals] == ["alice", "bob"]
    assert {principal.issuer for principal in principals} == {oidc_provider.issuer}


async def test_a_rotating_refresh_token_works_once_and_the_person_stays_the_same(oidc_provider: OidcProvider) -> None:
    async with login_gateway({"mail": block_for(oidc_provider)}) as gateway, gateway.browser() as browser:
        make_real_time(gateway)
        data = await token_data(gateway, person="alice")
        body = {"refresh_token": data["refresh_token"]}
        fresh = (await browser.post("/mail/auth/refresh", json=body)).json()["token_data"]
        assert fresh["refresh_token"] not in (None, data["refresh_token"])
        assert (await gateway.auths["mail"].authenticate(fresh["access_token"])).subject == "alice"
        again = await browser.post("/mail/auth/refresh", json=body)
        assert (again.status_code, again.json()["hint"]) == (400, "Log in again.")


@pytest.mark.promise(119)
async def test_after_a_restart_introspection_still_knows_the_person_and_refreshing_works(
    oidc_provider: OidcProvider,
) -> None:
    plain = block_for(oidc_provider)
    asking = block_for(oidc_provider, introspection_url=oidc_provider.introspection_url)
    async with login_gateway({"mail": plain}) as gateway:
        make_real_time(gateway)
        data = await token_data(gateway, person="alice")
    async with login_gateway({"mail": plain, "asking": asking}) as restarted, restarted.browser() as browser:
        make_real_time(restarted)
        with pytest.raises(UnauthorizedError):
            await restarted.auths["mail"].authenticate(data["access_token"])
        principal = await restarted.auths["asking"].authenticate(data["access_token"])
        assert (principal.subject, principal.client_id) == ("alice", CLIENT_ID)
        with pytest.raises(UnauthorizedError):
            await restarted.auths["asking"].authenticate(data["refresh_token"])
        fresh = await browser.post("/mail/auth/refresh", json={"refresh_token": data["refresh_token"]})
        token = fresh.json()["token_data"]["access_token"]
        assert (await restarted.auths["mail"].authenticate(token)).subject == "alice"


@pytest.mark.threat("B38")
async def test_b38_a_token_of_another_app_at_the_same_provider_is_refused(oidc_provider: OidcProvider) -> None:
    other_block = block_for(oidc_provider, token_endpoint_auth_method="post")
    ours = block_for(oidc_provider, introspection_url=oidc_provider.introspection_url)
    async with login_gateway({"mail": other_block}, environ=OTHER_ENVIRON) as other_app:
        make_real_time(other_app)
        data = await token_data(other_app, person="alice")
    async with login_gateway({"mail": ours}) as gateway:
        make_real_time(gateway)
        with pytest.raises(UnauthorizedError):
            await gateway.auths["mail"].authenticate(data["access_token"])


async def test_a_revoked_token_is_refused_when_the_positive_answer_has_aged(oidc_provider: OidcProvider) -> None:
    block = block_for(oidc_provider, introspection_url=oidc_provider.introspection_url)
    async with login_gateway({"mail": block}) as first, login_gateway({"mail": block}) as gateway:
        make_real_time(first)
        make_real_time(gateway)
        token = (await token_data(first, person="alice"))["access_token"]
        assert await gateway.auths["mail"].authenticate(token)
        async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
            form = {"token": token, "client_id": OTHER_CLIENT_ID, "client_secret": CLIENT_SECRET}
            await client.post(oidc_provider.revocation_url, data=form)
        gateway.clock.time += 60
        assert await gateway.auths["mail"].authenticate(token), "only its own client may revoke a token"
        async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
            auth = (quote_plus(CLIENT_ID), quote_plus(CLIENT_SECRET))
            revoked = await client.post(oidc_provider.revocation_url, data={"token": token}, auth=auth)
        assert revoked.status_code == 200
        gateway.clock.time += 60
        with pytest.raises(UnauthorizedError):
            await gateway.auths["mail"].authenticate(token)


@pytest.mark.threat("B09")
async def test_b09_a_code_of_somebody_elses_login_is_not_redeemed(oidc_provider: OidcProvider) -> None:
    async with login_gateway({"mail": block_for(oidc_provider)}) as gateway:
        make_real_time(gateway)
        async with gateway.browser() as attacker, gateway.browser() as victim:
            stolen = await log_in((await victim.get("/mail/auth/login")).headers["location"], person="alice")
            own = await log_in((await attacker.get("/mail/auth/login")).headers["location"], person="mallory")
            code = httpx2.URL(stolen).params["code"]
            response = await attacker.get(str(httpx2.URL(own).copy_set_param("code", code)))
    assert response.status_code == 400
    assert "access_token" not in response.text


@pytest.mark.promise(82)
async def test_domains_are_taken_from_verified_addresses_only(oidc_provider: OidcProvider) -> None:
    block = block_for(
        oidc_provider, allowed_domains=("example.org",), introspection_url=oidc_provider.introspection_url
    )
    async with login_gateway({"mail": block}) as gateway:
        make_real_time(gateway)
        allowed = await finish(gateway, person="alice")
        refused = await finish(gateway, person="mallory")
    assert (allowed.status_code, refused.status_code) == (200, 403)


async def test_a_wrong_client_secret_names_what_to_check(oidc_provider: OidcProvider) -> None:
    environ = {"MAIL_CLIENT_ID": CLIENT_ID, "MAIL_CLIENT_SECRET": "canary"}
    async with login_gateway({"mail": block_for(oidc_provider)}, environ=environ) as gateway:
        make_real_time(gateway)
        response = await finish(gateway, person="alice")
    assert response.status_code == 502
    assert "client secret" in response.json()["hint"]
    assert "canary" not in response.text
