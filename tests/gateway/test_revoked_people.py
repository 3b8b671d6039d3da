"""`revoke` of a person at one gateway: what they have open at two of them, what they hold, and what they begin."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from fluidmcp.gateway.core import add_visitor
from tests.gateway.client_login import bearer
from tests.gateway.events import open_events
from tests.gateway.running import LIMIT_SECONDS, RunningGateway, running_gateway, stdlib_entry, wait_ended
from tests.gateway.test_client_renewals import INVALID, status_of
from tests.gateway.test_guarded_client_logins import OPERATORS_TOKEN, GuardedStage, guarded, log_in
from tests.gateway.test_replicas import Replicas, code_of_login, two_gateways
from tests.gateway.test_sessions import BOTH, call, initialize_params
from tests.providers.fault_making import query_of
from tests.store.running_redis import running_redis

REDIS = pytest.mark.needs("redis-server")
HEADERS = {"accept": BOTH}


@pytest.fixture
async def replicas(tmp_path: Path) -> AsyncIterator[Replicas]:
    """Two gateways with one Redis, where the provider says that everybody who logs in is Ada."""
    with running_redis(tmp_path) as redis:
        async with two_gateways(redis) as replicas:
            replicas.stage.provider.answer_token = replicas.stage.provider.name_person("ada")
            yield replicas


def deny_list(gateway: RunningGateway) -> Any:
    return gateway.gateway.parts.logins.services.deny_list


async def wait_refused(gateway: RunningGateway, headers: dict[str, str]) -> int:
    async with asyncio.timeout(LIMIT_SECONDS):
        while True:
            status = (await gateway.rpc("mail", "tools/list", **headers)).status_code
            if status != 200:
                return status


async def open_session(gateway: RunningGateway, headers: dict[str, str]) -> dict[str, str]:
    response = await gateway.rpc("mail", "initialize", initialize_params(), **headers, **HEADERS)
    assert response.status_code == 200, response.text
    return {**headers, **HEADERS, "mcp-session-id": response.headers["mcp-session-id"]}


@REDIS
@pytest.mark.threat("E21")
async def test_e21_tokens_are_refused_at_both_gateways_and_for_good(replicas: Replicas) -> None:
    client = await replicas.stage.client()
    there = replicas.there(client)
    tokens = await replicas.stage.log_in(client)
    here, other = replicas.stage.running, replicas.other
    for gateway in (here, other):
        assert (await gateway.rpc("mail", "tools/list", **bearer(tokens))).status_code == 200
    await deny_list(here).revoke("ada")
    assert await wait_refused(other, bearer(tokens)) == 403
    assert (await here.rpc("mail", "tools/list", **bearer(tokens))).status_code == 403
    assert await status_of(await there.refresh(tokens["refresh_token"])) == INVALID
    await deny_list(other).allow("ada")
    async with asyncio.timeout(LIMIT_SECONDS):
        while deny_list(here).people:
            await deny_list(here).refresh()
    for gateway in (here, other):
        assert (await gateway.rpc("mail", "tools/list", **bearer(tokens))).status_code == 401
    assert await status_of(await client.refresh(tokens["refresh_token"])) == INVALID
    again = await replicas.stage.log_in(await replicas.stage.client())
    assert (await other.rpc("mail", "tools/list", **bearer(again))).status_code == 200


@REDIS
@pytest.mark.threat("E21")
async def test_e21_a_stream_a_call_and_a_process_at_the_other_gateway_end(replicas: Replicas) -> None:
    tokens = await replicas.stage.log_in(await replicas.stage.client())
    other = replicas.other
    session = await open_session(other, bearer(tokens))
    pid = int(await other.call("mail", "pid", **bearer(tokens)))
    hanging = asyncio.create_task(other.rpc("mail", "tools/call", {"name": "hang", "arguments": {}}, **bearer(tokens)))
    await other.wait_hanging("mail", **bearer(tokens))
    stream = {**session, "accept": "text/event-stream"}
    async with open_events(other.client, "GET", "/mail/mcp", headers=stream) as events:
        await deny_list(replicas.stage.running).revoke("ada")
        with pytest.raises(EOFError):
            await events.next()
    assert "result" not in (await hanging).json()
    await wait_ended(pid)
    assert not list(other.gateway.parts.calls.sessions)
    refused = await other.client.post("/mail/mcp", json=call("echo"), headers=session)
    assert refused.status_code == 403


@REDIS
@pytest.mark.threat("E21")
async def test_e21_a_login_under_way_ends_nowhere(replicas: Replicas) -> None:
    client = await replicas.stage.client()
    code = await code_of_login(replicas, client)
    async with replicas.stage.browser() as browser:
        waiting = await replicas.stage.client()
        location = await browser.allow(waiting.authorization_url())
        await deny_list(replicas.other).revoke("ada")
        async with asyncio.timeout(LIMIT_SECONDS):
            while not deny_list(replicas.stage.running).has_active:
                await deny_list(replicas.stage.running).refresh()
        answer = query_of(await browser.come_back(location))
        assert answer["error"] == "access_denied"
        begun = await browser.get("/mail/auth/login")
        state = query_of(begun.headers["location"])["state"]
        refused = await browser.get("/mail/auth/callback", params={"code": "x", "state": state})
    assert refused.status_code == 403
    assert await status_of(await client.ask_token(client.code_form(code))) == INVALID


@pytest.mark.threat("E21")
async def test_e21_of_one_package_alone(tmp_path: Path) -> None:
    async with guarded(tmp_path) as stage:
        tokens, both = await log_in_fully(stage, "tools"), await log_in_fully(stage, "mail")
        await change(stage.running, "revoke", {"subject": "ada", "package": "mail"})
        assert (await stage.running.rpc("mail", "tools/list", **bearer(both))).status_code == 403
        assert (await stage.running.rpc("tools", "tools/list", **bearer(tokens))).status_code == 200


@pytest.mark.threat("E21")
async def test_e21_whom_the_company_shuts_out_is_out_at_packages_with_a_login_of_their_own(tmp_path: Path) -> None:
    async with guarded(tmp_path) as stage:
        both = await log_in_fully(stage, "mail")
        running = stage.running
        pid = int(await running.call("mail", "pid", **bearer(both)))
        session = await open_session(running, bearer(both))
        stream = {**session, "accept": "text/event-stream"}
        async with open_events(running.client, "GET", "/mail/mcp", headers=stream) as events:
            assert await change(running, "revoke", {"subject": "ada"}) == {"changed": True}
            with pytest.raises(EOFError):
                await events.next()
        await wait_ended(pid)
        assert (await running.rpc("mail", "tools/list", **bearer(both))).status_code == 403
        listed = await running.client.get("/deny-list", headers=bearer(OPERATORS_TOKEN))
        assert [one["subject"] for one in listed.json()["people"]] == ["ada"]
        assert await change(running, "allow", {"subject": "ada"}) == {"changed": True}
        assert (await running.rpc("mail", "tools/list", **bearer(both))).status_code == 401


async def test_only_the_operator_changes_the_list_and_only_of_a_guarded_gateway(tmp_path: Path) -> None:
    body = {"subject": "ada"}
    async with guarded(tmp_path) as stage:
        tokens = await log_in_fully(stage, "tools")
        client = stage.running.client
        for path in ("revoke", "allow"):
            assert (await client.post(f"/deny-list/{path}", json=body)).status_code == 401
            refused = await client.post(f"/deny-list/{path}", json=body, headers=bearer(tokens))
            assert refused.status_code == 401
        assert (await client.get("/deny-list")).status_code == 401
        own = bearer(OPERATORS_TOKEN)
        assert (await client.post("/deny-list/revoke", json={"who": "ada"}, headers=own)).status_code == 400
        assert (await client.post("/deny-list/revoke", json={"subject": " "}, headers=own)).status_code == 400
        form = {**own, "content-type": "text/plain"}
        assert (await client.post("/deny-list/revoke", content=b'{"subject":"a"}', headers=form)).status_code == 415
        assert (await client.get("/deny-list", headers=own)).json() == {"people": []}
    async with running_gateway([stdlib_entry()]) as running:
        assert (await running.client.post("/deny-list/revoke", json=body)).status_code == 403
        assert (await running.client.get("/deny-list")).status_code == 403


@pytest.mark.threat("E21")
async def test_e21_a_request_whose_body_comes_later_goes_no_further(tmp_path: Path) -> None:
    async with guarded(tmp_path) as stage:
        tokens = await log_in_fully(stage, "tools")
        running = stage.running
        assert (await running.rpc("tools", "tools/list", **bearer(tokens))).status_code == 200
        begun, goes_on = asyncio.Event(), asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            yield b'{"jsonrpc":"2.0","id":1,'
            begun.set()
            await goes_on.wait()
            yield b'"method":"tools/list"}'

        headers = {**bearer(tokens), "content-type": "application/json", "content-length": "46"}
        late = asyncio.create_task(running.client.post("/tools/mcp", content=body(), headers=headers))
        await begun.wait()
        await change(running, "revoke", {"subject": "ada"})
        goes_on.set()
        assert (await late).status_code == 403


async def change(running: RunningGateway, action: str, body: dict[str, str]) -> Any:
    answer = await running.client.post(f"/deny-list/{action}", json=body, headers=bearer(OPERATORS_TOKEN))
    assert answer.status_code == 200, answer.text
    return answer.json()


async def log_in_fully(stage: GuardedStage, package: str) -> dict[str, Any]:
    """The tokens of a client of Ada's at the company, and at the provider where the package has one."""
    client = await stage.client(package)
    return await client.redeem(await log_in(stage, client))


@pytest.mark.threat("E21")
async def test_e21_what_a_shared_process_answers_later_is_not_handed_out(tmp_path: Path) -> None:
    shared = replace(stdlib_entry("shared"), shared=True)
    async with guarded(tmp_path, entries=[shared]) as stage:
        tokens, running = await log_in_fully(stage, "shared"), stage.running
        hanging = asyncio.create_task(
            running.rpc("shared", "tools/call", {"name": "hang", "arguments": {}}, **bearer(tokens))
        )
        await running.wait_hanging("shared", **bearer(tokens))
        await change(running, "revoke", {"subject": "ada"})
        # Somebody else's call ends the wait of hers, in the process that both use.
        await running.call("shared", "release", authorization=f"Bearer {OPERATORS_TOKEN}")
        assert (await hanging).status_code == 403


@pytest.mark.threat("E21")
async def test_e21_the_gateways_person_counts_beside_a_sealed_token_too(tmp_path: Path) -> None:
    """Where the gateway has no login of its own, its token comes in a header of its own."""
    async with guarded(tmp_path) as stage:
        core = stage.running.gateway.parts.core
        package = core.packages["mail"]
        server = package.authorization_server
        assert server is not None
        both = await log_in_fully(stage, "mail")
        opened = await server.open(str(both["access_token"]))
        assert opened is not None
        principal = await server.admit(structs.replace(opened, gateway=None))
        assert principal is not None
        visitor = await server.admit_to_gateway(opened)
        assert visitor is not None
        assert set(add_visitor(principal, visitor).people) == {*principal.people, *visitor.people}
        assert add_visitor(principal, None) is principal
