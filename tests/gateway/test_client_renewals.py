"""Refresh tokens of MCP clients: they rotate, once at the provider however many ask, and a thief ends the grant."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from fluidmcp.authorization_server.grant_states import RENEWAL_SECONDS
from fluidmcp.config.logins.read import MAX_LOGINS
from fluidmcp.store.memory import Fence, LockLostError, MemoryStore, busy
from tests.gateway.client_login import ENVIRON, KEYS, McpClient, Stage, bearer, client_logins
from tests.gateway.events import open_events
from tests.gateway.running import LIMIT_SECONDS, running_gateway, wait_ended
from tests.providers.fault_making import token_document

INVALID = (400, "invalid_grant")


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with client_logins() as stage:
        yield stage


class Rotating:
    """A provider such as Atlassian: each refresh token is good once, and one that comes again ends the family."""

    def __init__(self) -> None:
        self.number = 0
        self.is_revoked = False

    def __call__(self, form: dict[str, str]) -> Response:
        if form["grant_type"] == "refresh_token" and form["refresh_token"] != f"rt-{self.number}":
            self.is_revoked = True
        if self.is_revoked:
            return JSONResponse({"error": "invalid_grant"}, status_code=400)
        self.number += 1
        return JSONResponse(token_document(access_token=f"at-{self.number}", refresh_token=f"rt-{self.number}"))


async def status_of(response: Any) -> tuple[int, str]:
    return response.status_code, response.json().get("error", "")


async def test_each_refresh_replaces_both_tokens_and_the_old_access_token_stays_good(stage: Stage) -> None:
    stage.provider.answer_token = Rotating()
    client = await stage.client()
    tokens = await stage.log_in(client)
    seen = [tokens]
    for _ in range(3):
        response = await client.refresh(seen[-1]["refresh_token"])
        assert response.status_code == 200, response.text
        assert response.headers["cache-control"] == "no-store"
        seen.append(response.json())
    assert len({one["refresh_token"] for one in seen}) == len({one["access_token"] for one in seen}) == 4
    for one in seen:
        assert await stage.running.call("mail", "echo", {"text": "x"}, **bearer(one)) == "x"


async def test_parallel_clients_get_one_answer_and_the_provider_one_request(stage: Stage) -> None:
    stage.provider.answer_token = Rotating()
    client = await stage.client()
    tokens = await stage.log_in(client)
    responses = await asyncio.gather(*(client.refresh(tokens["refresh_token"]) for _ in range(12)))
    assert [response.status_code for response in responses] == [200] * 12
    assert len({response.json()["refresh_token"] for response in responses}) == 1
    assert [form["grant_type"] for form in stage.provider.token_requests].count("refresh_token") == 1


@pytest.mark.threat("D14")
async def test_d14_a_replaced_refresh_token_is_answered_again_for_ten_seconds_and_then_ends_the_grant() -> None:
    async with client_logins() as stage:
        stage.provider.answer_token = Rotating()
        client = await stage.client()
        tokens = await stage.log_in(client)
        first = (await client.refresh(tokens["refresh_token"])).json()
        again = (await client.refresh(tokens["refresh_token"])).json()
        assert again == first
        await forget_answers(stage, tokens["refresh_token"])
        replayed = await client.refresh(tokens["refresh_token"])
        assert await status_of(replayed) == INVALID
        assert await status_of(await client.refresh(first["refresh_token"])) == INVALID
        assert (await stage.running.rpc("mail", "tools/list", **bearer(first))).status_code == 401
        assert (await stage.running.rpc("mail", "tools/list", **bearer(tokens))).status_code == 401


async def forget_answers(stage: Stage, refresh_token: str) -> None:
    """As if the seconds of grace had passed."""
    authorization_server = stage.running.gateway.parts.logins.clients.authorization_servers["mail"]
    await authorization_server.states.drop_answer(refresh_token)


@pytest.mark.threat("D14")
async def test_d14_another_replica_with_the_same_store_and_keys_answers_the_same() -> None:
    async with client_logins() as stage:
        stage.provider.answer_token = Rotating()
        client = await stage.client()
        tokens = await stage.log_in(client)
        gateway, url = stage.running.gateway, stage.url
        replica = running_gateway(
            [gateway.parts.entries[0]],
            {"MAIL_CLIENT_ID": "gateway"},
            seal_keys=KEYS,
            public_url=url,
            grants=gateway.parts.logins.services.grants,
        )
        async with replica as other:
            first = (await client.refresh(tokens["refresh_token"])).json()
            there = McpClient(other.url, client_id=client.client_id)
            form = there.refresh_form(tokens["refresh_token"], resource=f"{url}/mail/mcp")
            assert (await there.ask_token(form)).json() == first
            await forget_answers(stage, tokens["refresh_token"])
            assert await status_of(await there.ask_token(form)) == INVALID
            assert await status_of(await client.refresh(first["refresh_token"])) == INVALID


async def test_a_provider_that_cannot_be_reached_costs_nobody_the_login(stage: Stage) -> None:
    rotating = stage.provider.answer_token = Rotating()
    client = await stage.client()
    tokens = await stage.log_in(client)
    stage.provider.answer_token = lambda _form: Response(status_code=500)
    failed = await client.refresh(tokens["refresh_token"])
    assert await status_of(failed) == (503, "temporarily_unavailable")
    stage.provider.answer_token = rotating
    assert (await client.refresh(tokens["refresh_token"])).status_code == 200


async def test_a_provider_that_ended_the_login_ends_the_grant(stage: Stage) -> None:
    client = await stage.client()
    tokens = await stage.log_in(client)
    stage.provider.answer_token = stage.provider.refuse_with("invalid_grant")
    assert await status_of(await client.refresh(tokens["refresh_token"])) == INVALID
    assert (await stage.running.rpc("mail", "tools/list", **bearer(tokens))).status_code == 401


async def test_a_wrong_secret_at_the_provider_is_the_operators_fault_and_ends_nothing(stage: Stage) -> None:
    client = await stage.client()
    tokens = await stage.log_in(client)
    stage.provider.answer_token = stage.provider.refuse_with("invalid_client")
    assert await status_of(await client.refresh(tokens["refresh_token"])) == (502, "server_error")
    assert (await stage.running.rpc("mail", "tools/list", **bearer(tokens))).status_code == 200


async def test_a_token_without_end_and_without_refresh_is_renewed_by_asking_whether_it_is_good() -> None:
    """GitHub's OAuth apps: their tokens do not expire, and there is nothing to refresh."""
    async with client_logins() as probe:
        block = {"introspection_url": f"{probe.provider_url}/introspect"}
        async with client_logins(block=block) as stage:
            endless = token_document(expires_in=None, refresh_token=None)
            stage.provider.answer_token = lambda _form: JSONResponse(endless)

            def introspect(_form: dict[str, str]) -> Response:
                claims = {"sub": "ada", "client_id": "gateway", "token_type": "Bearer", "scope": "mail.read"}
                return JSONResponse({"active": is_good, **claims})

            is_good = True
            probe.provider.answer_introspection = introspect
            client = await stage.client()
            tokens = await stage.log_in(client)
            assert tokens["expires_in"] == 3570
            renewed = (await client.refresh(tokens["refresh_token"])).json()
            assert "access_token" in renewed, renewed
            assert len(stage.provider.token_requests) == 1, "there is nothing to refresh at the provider"
            is_good = False
            # A gateway that has not asked yet: a good answer is remembered for a minute.
            entry = stage.running.gateway.parts.entries[0]
            options: dict[str, Any] = {"seal_keys": KEYS, "public_url": stage.url}
            async with running_gateway([entry], ENVIRON, **options) as other:
                there = McpClient(other.url, client_id=client.client_id)
                form = there.refresh_form(renewed["refresh_token"], resource=f"{stage.url}/mail/mcp")
                assert await status_of(await there.ask_token(form)) == INVALID


async def test_without_anything_to_renew_there_is_no_refresh_token(stage: Stage) -> None:
    stage.provider.answer_token = lambda _form: JSONResponse(token_document(refresh_token=None))
    tokens = await stage.log_in(await stage.client())
    assert "refresh_token" not in tokens


async def test_a_refresh_asks_for_no_more_than_the_login_and_only_for_this_package(stage: Stage) -> None:
    client = await stage.client()
    tokens = await stage.log_in(client)

    async def ask(**changes: str) -> tuple[int, str]:
        return await status_of(await client.ask_token(client.refresh_form(tokens["refresh_token"], **changes)))

    assert await ask(scope="mail.read mail.send") == (400, "invalid_scope")
    assert await ask(resource=f"{stage.url}/jira/mcp") == (400, "invalid_target")
    assert await ask(client_id="https://other.example/client.json") == INVALID
    assert await ask(refresh_token=tokens["access_token"]) == INVALID
    assert await ask(refresh_token="fmcp1.garbage") == INVALID
    assert await ask(scope="mail.read") == (200, "")


async def test_a_revoked_login_is_over_for_all_its_tokens_and_given_back_to_the_provider() -> None:
    async with client_logins() as probe:
        block = {"revocation_url": f"{probe.provider_url}/introspect"}
        async with client_logins(block=block) as stage:
            client, other = await stage.client(), await stage.client(client_name="Another")
            tokens, others = await stage.log_in(client), await stage.log_in(other)
            renewed = (await client.refresh(tokens["refresh_token"])).json()
            foreign = await other.post("revoke", data={"token": renewed["refresh_token"], "client_id": other.client_id})
            assert foreign.status_code == 200
            assert (await stage.running.rpc("mail", "tools/list", **bearer(renewed))).status_code == 200
            form = {"token": renewed["refresh_token"], "client_id": client.client_id}
            assert (await client.post("revoke", data=form)).status_code == 200
            for one in (tokens, renewed):
                assert (await stage.running.rpc("mail", "tools/list", **bearer(one))).status_code == 401
                assert await status_of(await client.refresh(one["refresh_token"])) == INVALID
            (given_back,) = probe.provider.introspections
            assert given_back["token"] == stage.provider.handed_out[-1]["refresh_token"]
            assert (await stage.running.rpc("mail", "tools/list", **bearer(others))).status_code == 200
            by_access = {"token": others["access_token"], "client_id": other.client_id}
            assert (await other.post("revoke", data=by_access)).status_code == 200
            assert await status_of(await other.refresh(others["refresh_token"])) == INVALID
            for form in ({}, {"token": "garbage"}):
                assert (await other.post("revoke", data=form)).status_code == (400 if not form else 200)


async def test_a_login_that_is_revoked_while_it_is_renewed_stays_revoked(stage: Stage) -> None:
    rotating = stage.provider.answer_token = Rotating()
    client = await stage.client()
    tokens = await stage.log_in(client)
    revoking: list[asyncio.Task[Any]] = []

    def revoke_meanwhile(form: dict[str, str]) -> Response:
        form_of_client = {"token": tokens["refresh_token"], "client_id": client.client_id}
        revoking.append(asyncio.create_task(client.post("revoke", data=form_of_client)))
        return rotating(form)

    stage.provider.answer_token = revoke_meanwhile
    renewed = await client.refresh(tokens["refresh_token"])
    assert (await revoking[0]).status_code == 200
    for one in (tokens, *([renewed.json()] if renewed.status_code == 200 else [])):
        assert (await stage.running.rpc("mail", "tools/list", **bearer(one))).status_code == 401
        assert await status_of(await client.refresh(one["refresh_token"])) == INVALID


async def test_a_full_store_of_grants_costs_nobody_the_login() -> None:
    grants = MemoryStore(max_entries=1)
    async with client_logins(grants=grants) as stage:
        clients = [await stage.client(client_name=f"Client {number}") for number in range(3)]
        tokens: dict[str, Any] = {}
        for client in clients:
            renewed = await client.refresh((await stage.log_in(client))["refresh_token"])
            assert renewed.status_code == 200, "the provider has given new tokens: they must not be lost"
            tokens = renewed.json()
            assert (await stage.running.rpc("mail", "tools/list", **bearer(tokens))).status_code == 200
        assert len(grants) == 1
        form = {"token": tokens["refresh_token"], "client_id": clients[-1].client_id}
        refused = await clients[-1].post("revoke", data=form)
        assert await status_of(refused) == (503, "temporarily_unavailable")


class FadingStore(MemoryStore):
    """A store whose locks end too early when the test says so, and which does not answer then."""

    def __init__(self) -> None:
        super().__init__(max_entries=100)
        self.fades = False
        self._is_away = False
        self.waits: list[float] = []

    async def put(self, key: str, value: bytes, *, ttl_seconds: float, fence: Fence | None = None) -> None:
        if self.fades and fence is not None:
            self._is_away = True
            raise LockLostError
        await super().put(key, value, ttl_seconds=ttl_seconds, fence=fence)

    async def get(self, key: str) -> bytes | None:
        if self.fades and self._is_away:
            raise busy()
        return await super().get(key)

    @asynccontextmanager
    async def lock(self, key: str, *, ttl_seconds: float, wait_seconds: float) -> AsyncGenerator[Fence]:
        self.waits.append(wait_seconds)
        async with super().lock(key, ttl_seconds=ttl_seconds, wait_seconds=wait_seconds) as fence:
            yield fence


@pytest.mark.threat("E16")
async def test_e16_new_tokens_are_handed_out_though_the_lock_was_lost_and_the_store_is_away() -> None:
    grants = FadingStore()
    async with client_logins(grants=grants) as stage:
        stage.provider.answer_token = Rotating()
        client = await stage.client()
        tokens = await stage.log_in(client)
        grants.fades = True
        renewed = await client.refresh(tokens["refresh_token"])
        grants.fades = False
        assert renewed.status_code == 200, "the provider has given new tokens, and takes no others any more"
        assert (await client.refresh(renewed.json()["refresh_token"])).status_code == 200


async def test_a_revocation_waits_for_the_renewal_of_as_many_logins_as_there_may_be() -> None:
    grants = FadingStore()
    async with client_logins(grants=grants) as stage:
        client = await stage.client()
        tokens = await stage.log_in(client)
        form = {"token": tokens["refresh_token"], "client_id": client.client_id}
        assert (await client.post("revoke", data=form)).status_code == 200
    assert grants.waits == [(1 + MAX_LOGINS) * RENEWAL_SECONDS]


async def test_a_session_goes_on_with_the_refreshed_token(stage: Stage) -> None:
    client = await stage.client()
    tokens = await stage.log_in(client)
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    opened = await stage.running.rpc("mail", "initialize", hello, **bearer(tokens))
    session = {"mcp-session-id": opened.headers["mcp-session-id"]}
    renewed = (await client.refresh(tokens["refresh_token"])).json()
    listed = await stage.running.rpc("mail", "tools/list", **bearer(renewed), **session)
    assert listed.status_code == 200, listed.text
    stranger = await stage.log_in(await stage.client(client_name="Another"))
    assert (await stage.running.rpc("mail", "tools/list", **bearer(stranger), **session)).status_code == 404


async def test_a_call_in_flight_is_finished_by_the_process_of_the_token_before(stage: Stage) -> None:
    stage.provider.answer_token = Rotating()
    running, client = stage.running, await stage.client()
    tokens = await stage.log_in(client)
    hanging = asyncio.create_task(running.rpc("mail", "tools/call", {"name": "hang"}, **bearer(tokens)))
    await running.wait_hanging("mail", **bearer(tokens))
    old = await running.call("mail", "pid", **bearer(tokens))
    renewed = (await client.refresh(tokens["refresh_token"])).json()
    assert await running.call("mail", "whoami", **bearer(renewed)) == hashlib.sha256(b"at-2").hexdigest()
    assert await running.call("mail", "pid", **bearer(renewed)) != old
    assert not hanging.done()
    assert await running.call("mail", "release", **bearer(tokens)) == "done"
    async with asyncio.timeout(LIMIT_SECONDS):
        answer = (await hanging).json()
    assert answer["result"]["content"][0]["text"] == "released"


async def test_a_session_finishes_and_cancels_calls_of_the_token_before(stage: Stage) -> None:
    """Questions of the old process are answered, and its calls cancelled, by the client with the new token."""
    stage.provider.answer_token = Rotating()
    running, client = stage.running, await stage.client()
    tokens = await stage.log_in(client)
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    opened = await running.rpc("mail", "initialize", hello, **bearer(tokens))
    session = {"mcp-session-id": opened.headers["mcp-session-id"], "accept": "application/json, text/event-stream"}
    call = {"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": {"name": "hang"}}
    hanging = asyncio.create_task(running.client.post("/mail/mcp", json=call, headers={**session, **bearer(tokens)}))
    await running.wait_hanging("mail", **session, **bearer(tokens))
    old = int(await running.call("mail", "pid", **session, **bearer(tokens)))
    poll = {"jsonrpc": "2.0", "id": 10, "method": "tools/call", "params": {"name": "poll"}}
    async with open_events(
        running.client, "POST", "/mail/mcp", json=poll, headers={**session, **bearer(tokens)}
    ) as polling:
        question = await polling.message()
        renewed = (await client.refresh(tokens["refresh_token"])).json()
        new = {**session, **bearer(renewed)}
        assert await running.call("mail", "whoami", **new) == hashlib.sha256(b"at-2").hexdigest()
        assert int(await running.call("mail", "pid", **new)) != old
        cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 9}}
        await running.client.post("/mail/mcp", json=cancel, headers=new)
        answered: dict[str, object] = {"jsonrpc": "2.0", "id": question["id"], "result": {}}
        await running.client.post("/mail/mcp", json=answered, headers=new)
        answer = await polling.message()
    assert answer["result"]["content"][0]["text"] == "0", "the old process was told that the other call is cancelled"
    async with asyncio.timeout(LIMIT_SECONDS):
        await hanging
    await wait_ended(old)
