"""A guard in front of all packages: which header carries which token, who is told what, and whose process answers."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest

from fluidmcp.config.entries import AuthBlock
from fluidmcp.config.settings import ProcessLimits
from tests.gateway.guards import SCOPE_NEEDED, KnownTokens, gate_token
from tests.gateway.running import RunningGateway, running_gateway, stdlib_entry
from tests.gateway.test_persons import CLIENT_ID, INITIALIZE, introspect, token
from tests.providers.fault_making import FaultMakingProvider
from tests.providers.serving import serve
from tests.timing import limit_of_processor_time, limit_of_running_time

GATE = "x-fluidmcp-authorization"
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


def bearer(value: str, header: str = "authorization") -> dict[str, str]:
    return {header: f"Bearer {value}"}


def digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


@dataclass
class Guarded:
    """A guarded gateway with `open` (no login of its own), `common` (shared) and `mail` (its own provider)."""

    running: RunningGateway
    guard: KnownTokens
    provider: FaultMakingProvider


@pytest.fixture
async def guarded() -> AsyncIterator[Guarded]:
    provider = FaultMakingProvider()
    provider.answer_introspection = introspect
    guard = KnownTokens()
    async with serve(provider.app) as address:
        block = AuthBlock(
            authorization_url=f"{address}/authorize",
            token_url=f"{address}/token",
            introspection_url=f"{address}/introspect",
            env_var_name="GMAIL_ACCESS_TOKEN",
            client_id_env="MAIL_CLIENT_ID",
        )
        entries = [
            stdlib_entry("open"),
            replace(stdlib_entry("common"), shared=True),
            stdlib_entry("mail", auth=block),
        ]
        environ = {
            "MAIL_CLIENT_ID": CLIENT_ID,
            "FMCP_OAUTH_ACCESS_TOKEN": gate_token("ada"),
            "FMCP_SECURE_TOKEN": gate_token("ada"),
        }
        async with running_gateway(entries, environ, guard=guard) as running:
            yield Guarded(running, guard, provider)


# Which tokens open the endpoint


@pytest.mark.promise(24, 29)
async def test_a_good_token_opens_every_endpoint(guarded: Guarded) -> None:
    for header in ("authorization", GATE):
        headers = bearer(gate_token("ada"), header)
        assert (await guarded.running.rpc("open", "tools/list", **headers)).json()["result"]["tools"]
        stream = await guarded.running.client.post("/open/sse", json=PING, headers=headers)
        assert stream.text.startswith("data: ")
        assert (await guarded.running.client.get("/docs", headers=headers)).status_code == 200


@pytest.mark.promise(25)
@pytest.mark.threat("V01")
@pytest.mark.parametrize(
    "value", ["aaaaaaaaaa", "a" * 2000, "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2ln", "eyJhbGciOiJub25lIn0.e30."]
)
async def test_v01_a_text_that_is_no_token_of_ours_is_refused(guarded: Guarded, value: str) -> None:
    for path in ("/open/mcp", "/open/sse", "/unknown/mcp", "/docs", "/open/auth/refresh"):
        response = await guarded.running.client.post(path, json=PING, headers=bearer(value))
        assert response.status_code == 401
        assert response.headers["www-authenticate"].startswith('Bearer realm="fluidmcp", error="invalid_token"')
        assert value not in response.text
    assert guarded.running.gateway.process_count == 0


@pytest.mark.threat("V02")
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": gate_token("ada")},
        {"authorization": "Basic Z2F0ZS1hZGEtMTo="},
        {"authorization": f"Token {gate_token('ada')}"},
        {GATE: "", "authorization": f"Bearer {gate_token('ada')}"},
        {"cookie": f"access_token={gate_token('ada')}"},
    ],
)
async def test_v02_a_request_without_a_bearer_token_is_told_that_it_needs_one(
    guarded: Guarded, headers: dict[str, str]
) -> None:
    response = await guarded.running.rpc("open", "ping", **headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == 'Bearer realm="fluidmcp"'
    assert response.json()["hint"] == "Send it as Authorization: Bearer <token>."
    assert guarded.guard.asked == []


@pytest.mark.threat("V02")
async def test_v02_a_token_in_the_address_or_in_the_body_is_never_looked_at(guarded: Guarded) -> None:
    value = gate_token("ada")
    post = guarded.running.client.post
    assert (await post(f"/open/mcp?access_token={value}", json=PING)).status_code == 401
    assert (await post("/open/mcp", json={**PING, "access_token": value})).status_code == 401
    assert (await post("/open/mcp", data={"access_token": value})).status_code == 401
    assert guarded.guard.asked == []


@pytest.mark.threat("V02")
@pytest.mark.parametrize("header", ["Authorization", "X-FluidMCP-Authorization"])
async def test_v02_a_token_header_that_occurs_twice_is_refused(guarded: Guarded, header: str) -> None:
    headers = [(header, f"Bearer {gate_token('ada')}"), (header.upper(), f"Bearer {gate_token('grace')}")]
    for path in ("/open/mcp", "/mail/mcp", "/docs"):
        assert (await guarded.running.client.post(path, json=PING, headers=headers)).status_code == 400
    assert guarded.guard.asked == []


@pytest.mark.threat("V16")
@pytest.mark.parametrize("size", [10_000, 60_000, 1_000_000])
async def test_v16_a_large_token_is_refused_at_once(guarded: Guarded, size: int) -> None:
    host, _, port = guarded.running.url.removeprefix("http://").partition(":")
    for name in ("Authorization", "X-FluidMCP-Authorization"):
        head = f"POST /open/mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n{name}: Bearer {'a' * size}\r\n\r\n"
        # Fifty milliseconds on a quiet machine, and the test's own work is among them.
        async with limit_of_running_time(1):
            reader, writer = await asyncio.open_connection(host, int(port))
            with limit_of_processor_time(0.5):
                writer.write(head.encode())
                status = await reader.readline()
            writer.close()
        assert status.split()[1] in (b"401", b"400", b"431")
    assert guarded.guard.asked == []


@pytest.mark.threat("V17")
@pytest.mark.parametrize("value", ["tök€n", "\u200bgate-ada-1", "gate-ada-1\u00a0", "gate-ada-1 x", "gate-ada-1, b"])
async def test_v17_a_token_that_is_not_ascii_is_refused_and_breaks_nothing(guarded: Guarded, value: str) -> None:
    for name in (b"authorization", GATE.encode()):
        headers = [(name, b"Bearer " + value.encode())]
        for path in ("/open/mcp", "/docs"):
            response = await guarded.running.client.post(path, json=PING, headers=headers)
            assert response.status_code == 401
            assert 'error="invalid_token"' in response.headers["www-authenticate"]
    assert guarded.guard.asked == []


@pytest.mark.threat("V15")
async def test_v15_a_token_with_too_narrow_a_scope_is_told_which_one_is_needed(guarded: Guarded) -> None:
    for path in ("/open/mcp", "/docs"):
        response = await guarded.running.client.post(path, json=PING, headers=bearer("narrow"))
        assert response.status_code == 403
        challenge = response.headers["www-authenticate"]
        assert 'error="insufficient_scope"' in challenge
        assert f'scope="{SCOPE_NEEDED}"' in challenge
    assert guarded.running.gateway.process_count == 0


@pytest.mark.threat("D03")
async def test_d03_a_stranger_with_a_good_token_is_not_let_in(guarded: Guarded) -> None:
    for path in ("/open/mcp", "/unknown/mcp", "/docs"):
        response = await guarded.running.client.post(path, json=PING, headers=bearer("stranger"))
        assert response.status_code == 403
        assert "www-authenticate" not in response.headers
    assert guarded.running.gateway.process_count == 0


@pytest.mark.threat("V14")
async def test_v14_while_the_provider_is_down_nobody_comes_in(guarded: Guarded) -> None:
    for path in ("/open/mcp", "/docs"):
        assert (await guarded.running.client.post(path, json=PING, headers=bearer("down"))).status_code == 503
    assert guarded.running.gateway.process_count == 0


async def test_host_and_origin_are_looked_at_before_the_token(guarded: Guarded) -> None:
    headers = bearer(gate_token("ada"))
    post = guarded.running.client.post
    assert (await post("/open/mcp", json=PING, headers=headers | {"host": "evil.example"})).status_code == 421
    assert (await post("/open/mcp", json=PING, headers=headers | {"origin": "http://evil.example"})).status_code == 403
    assert (await post("/open/mcp", json=PING, headers={"host": "evil.example"})).status_code == 421
    assert guarded.guard.asked == []


# Both tokens at once


async def test_a_package_with_a_login_needs_both_tokens_each_in_its_header(guarded: Guarded) -> None:
    call = guarded.running.call
    both = bearer(token("ada")) | bearer(gate_token("ada"), GATE)
    assert await call("mail", "whoami", **both) == digest(token("ada"))
    assert set(guarded.guard.asked) == {gate_token("ada")}
    assert [form["token"] for form in guarded.provider.introspections] == [token("ada")]


async def test_the_answer_says_which_of_the_two_tokens_is_missing(guarded: Guarded) -> None:
    rpc = guarded.running.rpc
    gateway_is_missing = await rpc("mail", "ping", **bearer(token("ada")))
    assert gateway_is_missing.status_code == 401
    assert gateway_is_missing.headers["www-authenticate"] == 'Bearer realm="fluidmcp"'
    assert "X-FluidMCP-Authorization" in gateway_is_missing.json()["hint"]
    package_is_missing = await rpc("mail", "ping", **bearer(gate_token("ada"), GATE))
    assert package_is_missing.status_code == 401
    assert package_is_missing.json()["message"] == "This package needs an access token."
    assert package_is_missing.json()["login_url"].endswith("/mail/auth/login")
    package_is_wrong = await rpc("mail", "ping", **bearer("wrong"), **bearer(gate_token("ada"), GATE))
    assert 'error="invalid_token"' in package_is_wrong.headers["www-authenticate"]
    gateway_is_wrong = await rpc("mail", "ping", **bearer(token("ada")), **bearer("wrong", GATE))
    assert 'error="invalid_token"' in gateway_is_wrong.headers["www-authenticate"]
    assert "login_url" not in gateway_is_wrong.json()
    assert guarded.running.gateway.process_count == 0


async def test_neither_provider_sees_the_token_of_the_other(guarded: Guarded) -> None:
    """A token in the wrong header is refused without showing it to a provider whom it does not concern."""
    rpc = guarded.running.rpc
    gate = gate_token("ada")
    assert (await rpc("mail", "ping", **bearer(gate))).status_code == 401
    assert (await rpc("mail", "ping", **bearer(gate), **bearer(gate, GATE))).status_code == 401
    for path in ("/mail/sse", "/mail/auth/refresh", "/mail/mcp/", "//mail/mcp", "/mail/other"):
        address = f"{guarded.running.url}{path}"
        response = await guarded.running.client.post(address, json=PING, headers=bearer(token("ada")))
        assert response.status_code == 401
    assert guarded.provider.introspections == []
    assert token("ada") not in guarded.guard.asked


async def test_a_refresh_needs_the_gateways_token_and_a_login_does_not(guarded: Guarded) -> None:
    client = guarded.running.client
    body = {"refresh_token": "rt-1"}
    assert (await client.post("/mail/auth/refresh", json=body)).status_code == 401
    assert guarded.provider.token_requests == []
    with_token = await client.post("/mail/auth/refresh", json=body, headers=bearer(gate_token("ada"), GATE))
    assert with_token.status_code == 200
    assert (await client.get("/mail/auth/login")).status_code == 302


# Whose process it is


@pytest.mark.threat("D05")
async def test_d05_each_person_has_a_process_of_a_package_without_a_login(guarded: Guarded) -> None:
    call = guarded.running.call
    ada, grace, phone = bearer(gate_token("ada")), bearer(gate_token("grace")), bearer(gate_token("ada", 2))
    assert [await call("open", "count", **ada) for _ in range(3)] == ["1", "2", "3"]
    assert await call("open", "count", **grace) == "1"
    assert await call("open", "count", **phone) == "1", "another token of the same person has its own process"
    assert await call("open", "count", **ada) == "4"
    assert guarded.running.gateway.process_count == 3
    homes = {await call("open", "home", **headers) for headers in (ada, grace, phone)}
    assert len(homes) == 3
    assert all(json.loads(home)[1] == "0o700" for home in homes)


@pytest.mark.threat("D05")
async def test_d05_a_package_that_says_so_is_shared(guarded: Guarded) -> None:
    call = guarded.running.call
    assert await call("common", "count", **bearer(gate_token("ada"))) == "1"
    assert await call("common", "count", **bearer(gate_token("grace"))) == "2"
    assert guarded.running.gateway.process_count == 1


async def test_a_session_belongs_to_the_person_who_opened_it(guarded: Guarded) -> None:
    rpc = guarded.running.rpc
    opened = await rpc("open", "initialize", INITIALIZE, **bearer(gate_token("ada")))
    session = {"mcp-session-id": opened.headers["mcp-session-id"]}
    assert (await rpc("open", "ping", **session, **bearer(gate_token("grace")))).status_code == 404
    assert (await rpc("open", "ping", **session, **bearer(gate_token("ada", 2)))).status_code == 200
    assert (await rpc("open", "ping", **session)).status_code == 401


async def test_the_gateways_token_reaches_no_process(guarded: Guarded) -> None:
    call = guarded.running.call
    for package, headers in (
        ("open", bearer(gate_token("ada"))),
        ("common", bearer(gate_token("ada"))),
        ("mail", bearer(token("ada")) | bearer(gate_token("ada"), GATE)),
    ):
        names = json.loads(await call(package, "env", **headers))
        assert not [name for name in names if name.startswith("FMCP_")]
        assert ("GMAIL_ACCESS_TOKEN" in names) == (package == "mail")
    assert await call("open", "whoami", **bearer(gate_token("ada"))) == digest("")


async def test_processes_of_shared_packages_count_as_nobodys() -> None:
    guard = KnownTokens()
    entries = [replace(stdlib_entry(name), shared=True) for name in ("one", "two")] + [stdlib_entry("own")]
    limits = ProcessLimits(max_processes_per_principal=1)
    async with running_gateway(entries, guard=guard, limits=limits) as running:
        for name in ("one", "two", "own", "one", "two"):
            await running.call(name, "count", **bearer(gate_token("ada")))
        assert running.gateway.process_count == 3
        assert await running.call("one", "count", **bearer(gate_token("ada"))) == "3"


async def test_the_check_at_start_leaves_no_process_that_nobody_will_use(guarded: Guarded) -> None:
    await guarded.running.gateway.check_server("open")
    assert guarded.running.gateway.process_count == 0
    await guarded.running.gateway.check_server("common")
    assert guarded.running.gateway.process_count == 1


async def test_only_a_persons_own_process_shows_why_it_did_not_start() -> None:
    entries = [stdlib_entry("own", "--die-at-start"), replace(stdlib_entry("common", "--die-at-start"), shared=True)]
    async with running_gateway(entries, guard=KnownTokens()) as running:
        own = await running.rpc("own", "ping", **bearer(gate_token("ada")))
        assert "cannot find my configuration" in own.text
        common = await running.rpc("common", "ping", **bearer(gate_token("ada")))
        assert common.status_code == 502
        assert "cannot find my configuration" not in common.text


# What runs beside it


async def test_the_background_task_runs_as_long_as_the_gateway() -> None:
    events: list[str] = []
    has_begun = asyncio.Event()

    async def keep_fresh() -> None:
        events.append("begun")
        has_begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            events.append("ended")

    async with running_gateway([stdlib_entry()], background=keep_fresh):
        async with asyncio.timeout(60):
            await has_begun.wait()
        assert events == ["begun"]
    assert events == ["begun", "ended"]


async def test_a_background_task_that_fails_is_logged_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise LookupError

    async with running_gateway([stdlib_entry()], background=fail) as running:
        assert (await running.rpc("echo", "ping")).status_code == 200
    assert "the gateway's background task failed" in caplog.text
