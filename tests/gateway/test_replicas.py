"""Two gateways with one real Redis: what begins at one goes on at the other, and what happens when Redis does not."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from fluidmcp.errors import ConfigurationError
from tests.gateway.client_login import ENVIRON, KEYS, Browser, McpClient, Stage, bearer, client_logins
from tests.gateway.running import LIMIT_SECONDS, RunningGateway, running_gateway
from tests.gateway.test_client_renewals import INVALID, Rotating, status_of
from tests.gateway.test_sessions import BOTH, initialize_params
from tests.providers.fault_making import query_of
from tests.store.running_redis import RunningRedis, running_redis

pytestmark = pytest.mark.needs("redis-server")


@dataclass
class Replicas:
    """`stage` has the first gateway; `other` is the second one, with the public address of the first."""

    stage: Stage
    other: RunningGateway
    redis: RunningRedis

    def there(self, client: McpClient) -> McpClient:
        """The same client, at the second gateway."""
        return AtAnotherDoor(
            self.other.url, client.package, client.client_id, client.redirect_uri, client.code_verifier, client.state
        )


class AtAnotherDoor(McpClient):
    """A client whose requests a balancer sends to the second gateway; the address that it knows is the first one's."""

    def code_form(self, code: str, /, **changes: str) -> dict[str, str]:
        return without_resource(super().code_form(code, **changes))

    def refresh_form(self, refresh_token: str, /, **changes: str) -> dict[str, str]:
        return without_resource(super().refresh_form(refresh_token, **changes))


def without_resource(form: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in form.items() if name != "resource"}


@asynccontextmanager
async def two_gateways(redis: RunningRedis) -> AsyncGenerator[Replicas]:
    async with client_logins(redis_url=redis.url) as stage:
        entries = stage.running.gateway.parts.entries
        options: dict[str, Any] = {"seal_keys": KEYS, "public_url": stage.url, "redis_url": redis.url}
        async with running_gateway(entries, ENVIRON, **options) as other:
            yield Replicas(stage, other, redis)


@pytest.fixture
async def replicas(tmp_path: Path) -> AsyncIterator[Replicas]:
    with running_redis(tmp_path) as redis:
        async with two_gateways(redis) as replicas:
            yield replicas


async def code_of_login(replicas: Replicas, client: McpClient) -> str:
    """The code of a login that begins at the first gateway and ends at the second."""
    async with replicas.stage.browser() as browser:
        location = await browser.allow(client.authorization_url())
        answer = await browser.come_back(location, path=f"{replicas.other.url}/mail/auth/callback")
        return query_of(answer)["code"]


@pytest.mark.threat("B24")
async def test_b24_a_login_that_begins_at_one_gateway_ends_at_the_other_once(replicas: Replicas) -> None:
    client = await replicas.stage.client()
    async with replicas.stage.browser() as browser:
        location = await browser.allow(client.authorization_url())
        path = f"{replicas.other.url}/mail/auth/callback"
        answer = query_of(await browser.come_back(location, path=path))
        again = await browser.get("/mail/auth/callback", params={"code": "x", "state": query_of(location)["state"]})
        assert again.status_code == 400
    tokens = await client.redeem(answer)
    assert await replicas.other.call("mail", "echo", {"text": "there"}, **bearer(tokens)) == "there"
    assert await replicas.stage.running.call("mail", "echo", {"text": "here"}, **bearer(tokens)) == "here"


async def test_a_code_that_comes_to_both_at_once_is_redeemed_once(replicas: Replicas) -> None:
    client = await replicas.stage.client()
    there = replicas.there(client)
    code = await code_of_login(replicas, client)
    answers = await asyncio.gather(*(one.ask_token(one.code_form(code)) for one in (client, there) * 3))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 5
    assert await status_of(await there.ask_token(there.code_form(code))) == INVALID


@pytest.mark.threat("D14")
async def test_d14_a_renewal_at_both_at_once_asks_the_provider_once(replicas: Replicas) -> None:
    replicas.stage.provider.answer_token = Rotating()
    client = await replicas.stage.client()
    there = replicas.there(client)
    tokens = await replicas.stage.log_in(client)
    for _ in range(3):
        token = tokens["refresh_token"]
        answers = await asyncio.gather(*(one.refresh(token) for one in (client, there) * 4))
        assert [answer.status_code for answer in answers] == [200] * 8, [answer.text for answer in answers]
        assert len({answer.text for answer in answers}) == 1
        tokens = answers[0].json()
    asked = [form["grant_type"] for form in replicas.stage.provider.token_requests]
    assert asked.count("refresh_token") == 3


async def test_a_revocation_at_one_gateway_reaches_the_other(replicas: Replicas) -> None:
    client = await replicas.stage.client()
    tokens = await replicas.stage.log_in(client)
    assert (await replicas.other.rpc("mail", "tools/list", **bearer(tokens))).status_code == 200
    form = {"token": tokens["refresh_token"], "client_id": client.client_id}
    assert (await client.post("revoke", data=form)).status_code == 200
    assert (await replicas.stage.running.rpc("mail", "tools/list", **bearer(tokens))).status_code == 401
    async with asyncio.timeout(LIMIT_SECONDS):
        while (await replicas.other.rpc("mail", "tools/list", **bearer(tokens))).status_code == 200:
            pass
    assert await status_of(await replicas.there(client).refresh(tokens["refresh_token"])) == INVALID


async def test_a_token_that_one_gateway_handed_out_is_good_at_the_other(replicas: Replicas) -> None:
    async with replicas.stage.browser() as browser:
        begun = await browser.get("/mail/auth/login")
        parameters = {"code": "the-code", "state": query_of(begun.headers["location"])["state"]}
        finished = await browser.get(f"{replicas.other.url}/mail/auth/callback", params=parameters)
    assert finished.status_code == 200, finished.text
    token = replicas.stage.provider.handed_out[-1]["access_token"]
    for gateway in (replicas.stage.running, replicas.other):
        assert await gateway.call("mail", "echo", {"text": "x"}, **bearer(token)) == "x"
        assert (await gateway.rpc("mail", "tools/list", **bearer(token + "x"))).status_code == 401


@pytest.mark.threat("D16")
async def test_d16_nothing_in_redis_tells_a_token_or_a_person(replicas: Replicas) -> None:
    client = await replicas.stage.client()
    tokens = await replicas.stage.log_in(client)
    renewed = (await client.refresh(tokens["refresh_token"])).json()
    async with replicas.stage.browser() as browser, replicas.redis.client() as reader:
        begun = await browser.get("/mail/auth/login")
        state = query_of(begun.headers["location"])["state"]
        await browser.get("/mail/auth/callback", params={"code": "the-code", "state": state})
        names = await reader.keys("*")
        held = repr([names, [await reader.get(name) for name in names if await reader.type(name) == b"string"]])
    assert len(names) > 4
    handed_out = [one[name] for one in replicas.stage.provider.handed_out for name in ("access_token", "refresh_token")]
    secrets = [*handed_out, *tokens.values(), *renewed.values(), state, "127.0.0.1", "mail", client.client_id]
    assert not [text for text in secrets if isinstance(text, str) and len(text) > 3 and text in held]


@pytest.mark.threat("D16")
async def test_d16_a_grant_whose_entry_was_overwritten_counts_as_revoked(replicas: Replicas) -> None:
    client = await replicas.stage.client()
    tokens = (await client.refresh((await replicas.stage.log_in(client))["refresh_token"])).json()
    async with replicas.redis.client() as writer:
        for name in await writer.keys("fmcp1:{grants}:*"):
            await writer.set(name, "not revoked", keepttl=True)
    refused = await replicas.other.rpc("mail", "tools/list", **bearer(tokens))
    assert refused.status_code == 401
    assert await status_of(await replicas.there(client).refresh(tokens["refresh_token"])) == INVALID


def is_unavailable(response: httpx2.Response) -> bool:
    return response.status_code == 503 and int(response.headers["retry-after"]) > 0


@pytest.mark.threat("E16")
async def test_e16_without_redis_nobody_gets_through_and_all_goes_on_when_it_is_back(replicas: Replicas) -> None:
    stage, other = replicas.stage, replicas.other
    client = await stage.client()
    tokens = await stage.log_in(client)
    async with stage.browser() as browser:
        location = await browser.allow(client.authorization_url())
        consent = await browser.open_consent(client.authorization_url(state="x"))
        replicas.redis.kill()
        refused = await other.rpc("mail", "tools/list", **bearer(tokens))
        assert is_unavailable(refused) and refused.json()["error"] == "store_unavailable"
        assert is_unavailable(await other.rpc("mail", "tools/list", **bearer("a-provider-token")))
        renewal = await client.refresh(tokens["refresh_token"])
        assert is_unavailable(renewal) and renewal.json()["error"] == "temporarily_unavailable"
        assert is_unavailable(await client.post("register", json={"redirect_uris": ["http://localhost:1/x"]}))
        assert is_unavailable(await browser.get("/mail/auth/login"))
        assert is_unavailable(await browser.answer(consent))
        parameters = {"code": "the-code", "state": query_of(location)["state"]}
        lost = await browser.get("/mail/auth/callback", params=parameters)
        assert is_unavailable(lost) and "set-cookie" not in lost.headers
        assert is_unavailable(await client.post("revoke", data={"token": tokens["access_token"]}))
        assert await other.call("open", "echo", {"text": "no login"}) == "no login"
        replicas.redis.start()
        assert await other.call("mail", "echo", {"text": "back"}, **bearer(tokens)) == "back"
        assert (await client.refresh(tokens["refresh_token"])).status_code == 200
        # It was restarted empty: what waited there begins again.
        assert (await browser.get("/mail/auth/callback", params=parameters)).status_code == 400
    assert "access_token" in await stage.log_in(client)


@pytest.mark.threat("E16")
async def test_e16_a_full_redis_takes_no_login_and_loses_none(replicas: Replicas) -> None:
    stage = replicas.stage
    client = await stage.client()
    tokens = await stage.log_in(client)
    async with replicas.redis.client() as operator, Browser(stage.url) as browser:
        await operator.config_set("maxmemory", "1")
        assert is_unavailable(await browser.get("/mail/auth/login"))
        assert (await replicas.other.rpc("mail", "tools/list", **bearer(tokens))).status_code == 200
        refused = await client.refresh(tokens["refresh_token"])
        assert refused.json()["error"] == "temporarily_unavailable"
        await operator.config_set("maxmemory", "0")
        assert (await client.refresh(tokens["refresh_token"])).status_code == 200


async def test_each_gateway_makes_itself_a_name_where_it_has_none(replicas: Replicas) -> None:
    names: set[str] = set()
    for running in (replicas.stage.running, replicas.other):
        session = await running.rpc("open", "initialize", initialize_params(), accept=BOTH)
        names.add(session.headers["mcp-session-id"].partition(".")[0])
    assert len(names) == 2
    assert all(re.fullmatch("gateway-[0-9a-f]{8}", name) for name in names)


@pytest.mark.threat("E16")
async def test_e16_a_gateway_does_not_start_without_its_redis(tmp_path: Path) -> None:
    redis = RunningRedis(tmp_path)
    with pytest.raises(ConfigurationError, match="cannot be reached"):
        async with running_gateway([], seal_keys=KEYS, redis_url=redis.url):
            raise AssertionError("it started")


@pytest.mark.threat("E16")
async def test_e16_the_operator_hears_of_health_why_redis_does_not_answer(replicas: Replicas) -> None:
    detail = "/health?detail=1"
    place = f"127.0.0.1:{replicas.redis.port}"
    assert (await replicas.other.client.get(detail)).json()["redis"] == {"place": place, "fault": ""}
    replicas.redis.kill()
    assert (await replicas.other.client.get("/mail/auth/login")).status_code == 503
    assert (await replicas.other.client.get(detail)).json()["redis"]["fault"] == "Nothing listens there."
    assert (await replicas.other.client.get("/ready")).status_code == 200, "who needs no login is served"
    replicas.redis.start()
    assert (await replicas.other.client.get("/mail/auth/login")).status_code == 302
    assert (await replicas.other.client.get(detail)).json()["redis"]["fault"] == ""
