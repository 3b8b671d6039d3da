"""A process per person: what a token opens, and what it never does. The provider's introspection says whose it is."""

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psutil
import pytest
from starlette.responses import JSONResponse, Response

from fluidmcp.config.entries import AuthBlock, EnvVariable, ServerEntry
from fluidmcp.config.settings import ProcessLimits
from tests.gateway.running import RunningGateway, running_gateway, stdlib_entry, wait_ended
from tests.providers.fault_making import FaultMakingProvider
from tests.providers.serving import serve
from tests.timing import limit_of_running_time

Json = dict[str, Any]

CLIENT_ID = "our-client"
INITIALIZE: Json = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}


def introspect(form: dict[str, str]) -> Response:
    """Tokens of these tests read `good.<person>.<number>.<scope>[.<client>]`; everything else is unknown."""
    kind, *parts = form["token"].split(".")
    if kind != "good":
        return JSONResponse({"active": False})
    person, _, scope = parts[:3]
    client = parts[3] if len(parts) > 3 else CLIENT_ID
    claims = {"sub": person, "client_id": client, "scope": scope.replace("+", " ")}
    return JSONResponse({"active": True, "token_type": "Bearer", **claims})


def token(person: str, number: int = 1, scope: str = "mail", *more: str) -> str:
    return ".".join(["good", person, str(number), scope, *more])


def bearer(value: str) -> dict[str, str]:
    return {"authorization": f"Bearer {value}"}


def digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


@asynccontextmanager
async def running_mail(
    *, limits: ProcessLimits | None = None, **settings: Any
) -> AsyncGenerator[tuple[RunningGateway, FaultMakingProvider]]:
    provider = FaultMakingProvider()
    provider.answer_introspection = introspect
    async with serve(provider.app) as address:
        block = AuthBlock(
            authorization_url=f"{address}/authorize",
            token_url=f"{address}/token",
            introspection_url=f"{address}/introspect",
            env_var_name="GMAIL_ACCESS_TOKEN",
            scopes=("mail",),
            client_id_env="MAIL_CLIENT_ID",
            client_secret_env="MAIL_CLIENT_SECRET",
        )
        entries = [stdlib_entry("mail", auth=block), stdlib_entry("open")]
        environ = {
            "MAIL_CLIENT_ID": CLIENT_ID,
            "MAIL_CLIENT_SECRET": "client-secret",
            "OTHER_CLIENT_SECRET": "of another package",
            "FMCP_SEAL_KEYS": "the gateway's own",
        }
        async with running_gateway(entries, environ, limits=limits, **settings) as running:
            yield running, provider


@pytest.fixture
async def mail() -> AsyncIterator[tuple[RunningGateway, FaultMakingProvider]]:
    async with running_mail() as pair:
        yield pair


async def open_session(running: RunningGateway, value: str) -> dict[str, str]:
    response = await running.rpc("mail", "initialize", INITIALIZE, **bearer(value))
    assert response.status_code == 200, response.text
    return {"mcp-session-id": response.headers["mcp-session-id"], **bearer(value)}


@pytest.mark.promise(76, 84, 107, 122)
async def test_the_token_reaches_the_persons_own_process(mail: tuple[RunningGateway, FaultMakingProvider]) -> None:
    running, _ = mail
    assert await running.call("mail", "whoami", **bearer(token("ada"))) == digest(token("ada"))
    assert await running.call("mail", "whoami", **bearer(token("grace"))) == digest(token("grace"))
    assert running.gateway.process_count == 2
    assert await running.call("open", "whoami", **bearer(token("ada"))) == digest("")


@pytest.mark.promise(109)
async def test_the_stream_endpoint_takes_the_token_too(mail: tuple[RunningGateway, FaultMakingProvider]) -> None:
    running, _ = mail
    message: Json = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "whoami"}}
    response = await running.client.post("/mail/sse", json=message, headers=bearer(token("ada")))
    assert digest(token("ada")) in response.text
    assert (await running.client.post("/mail/sse", json=message)).status_code == 401


@pytest.mark.threat("B33")
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer"},
        {"authorization": "Basic Z29vZDphZGE="},
        bearer("garbage"),
        bearer("x" * 100_000),
        {"authorization": "Bearer t\u00f6ken"},
        {"x-fluidmcp-authorization": "Bearer good.ada.1.mail"},
    ],
)
async def test_b33_without_a_good_token_nothing_starts_and_nothing_is_learnt(
    mail: tuple[RunningGateway, FaultMakingProvider], headers: dict[str, str]
) -> None:
    running, _ = mail
    for method, path in (("POST", "/mail/mcp"), ("POST", "/mail/sse"), ("DELETE", "/mail/mcp"), ("GET", "/mail/mcp")):
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        response = await running.client.request(method, path, headers=raw, content=b"not even json")
        if len(headers.get("authorization", "")) > 60_000 and response.status_code == 400:
            continue  # the HTTP server's own limit came first
        assert response.status_code == 401
        assert response.headers["www-authenticate"].startswith("Bearer")
        assert response.json()["login_url"].endswith("/mail/auth/login")
    assert running.gateway.process_count == 0


async def test_a_token_in_the_query_is_never_looked_at(mail: tuple[RunningGateway, FaultMakingProvider]) -> None:
    running, _ = mail
    response = await running.client.post(
        f"/mail/mcp?access_token={token('ada')}", json={"jsonrpc": "2.0", "id": 1, "method": "ping"}
    )
    assert response.status_code == 401
    assert 'error="' not in response.headers["www-authenticate"]


@pytest.mark.threat("B30")
async def test_b30_interleaved_calls_of_two_persons_never_mix(
    mail: tuple[RunningGateway, FaultMakingProvider],
) -> None:
    running, _ = mail
    persons = ["ada", "grace"] * 200
    answers = await asyncio.gather(*(running.call("mail", "whoami", **bearer(token(name))) for name in persons))
    assert answers == [digest(token(name)) for name in persons]
    assert running.gateway.process_count == 2


@pytest.mark.threat("D07")
async def test_d07_two_live_tokens_of_a_person_have_two_processes_and_no_restarts(
    mail: tuple[RunningGateway, FaultMakingProvider],
) -> None:
    running, _ = mail
    seen: dict[str, set[str]] = {token("ada", 1): set(), token("ada", 2): set()}
    for value in list(seen) * 5:
        seen[value].add(await running.call("mail", "pid", **bearer(value)))
    assert [len(pids) for pids in seen.values()] == [1, 1]
    assert seen[token("ada", 1)].isdisjoint(seen[token("ada", 2)])


@pytest.mark.threat("B31")
async def test_b31_tokens_that_differ_in_one_character_have_different_processes(
    mail: tuple[RunningGateway, FaultMakingProvider],
) -> None:
    running, _ = mail
    values = [token("ada", scope=scope) for scope in ("m" * 500, "m" * 499 + "n", "n" + "m" * 499)]
    pids = {await running.call("mail", "pid", **bearer(value)) for value in values}
    assert len(pids) == 3


@pytest.mark.threat("B32")
async def test_b32_a_session_is_404_for_everybody_but_its_owner(
    mail: tuple[RunningGateway, FaultMakingProvider],
) -> None:
    running, _ = mail
    session = await open_session(running, token("ada"))
    stolen = {**session, **bearer(token("grace"))}
    assert (await running.rpc("mail", "tools/list", **stolen)).status_code == 404
    assert (await running.client.delete("/mail/mcp", headers=stolen)).status_code == 404
    nobody = {"mcp-session-id": session["mcp-session-id"]}
    assert (await running.rpc("mail", "tools/list", **nobody)).status_code == 401
    assert (await running.rpc("open", "tools/list", **nobody)).status_code == 404
    assert (await running.rpc("mail", "tools/list", **session)).status_code == 200


@pytest.mark.threat("D06")
async def test_d06_a_narrower_token_never_reaches_the_stronger_session(
    mail: tuple[RunningGateway, FaultMakingProvider],
) -> None:
    running, _ = mail
    session = await open_session(running, token("ada", scope="mail+send"))
    narrow = {**session, **bearer(token("ada", scope="mail"))}
    assert (await running.rpc("mail", "tools/list", **narrow)).status_code == 404
    wide = {**session, **bearer(token("ada", scope="mail+send+admin"))}
    assert (await running.rpc("mail", "tools/list", **wide)).status_code == 200


async def test_a_refreshed_token_keeps_the_session_in_a_process_of_its_own(
    mail: tuple[RunningGateway, FaultMakingProvider],
) -> None:
    running, _ = mail
    session = await open_session(running, token("ada", 1))
    assert await running.call("mail", "whoami", **session) == digest(token("ada", 1))
    old = psutil.Process(int(await running.call("mail", "pid", **session)))
    hanging = asyncio.create_task(
        running.client.post(
            "/mail/mcp",
            json={"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": {"name": "hang", "arguments": {}}},
            headers=session,
        )
    )
    await running.wait_hanging("mail", **session)
    refreshed = {**session, **bearer(token("ada", 2))}
    assert await running.call("mail", "whoami", **refreshed) == digest(token("ada", 2))
    assert old.is_running(), "the old process finishes its calls first"
    cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 9}}
    await running.client.post("/mail/mcp", json=cancel, headers=session)
    async with asyncio.timeout(60):
        await hanging
    await wait_ended(old.pid)


@pytest.mark.threat("D12")
async def test_d12_500_sessions_of_one_person_do_not_keep_others_out() -> None:
    async with running_mail(max_sessions_per_principal=3, limits=ProcessLimits(max_processes_per_principal=3)) as (
        running,
        _,
    ):
        statuses: list[int] = []
        for _number in range(20):
            response = await running.rpc("mail", "initialize", INITIALIZE, **bearer(token("ada")))
            statuses.append(response.status_code)
            if response.status_code == 429:
                assert int(response.headers["retry-after"]) > 0
        assert statuses == [200] * 3 + [429] * 17
        assert await running.call("mail", "whoami", **bearer(token("grace"))) == digest(token("grace"))


@pytest.mark.threat("B34")
async def test_b34_garbage_tokens_start_nothing(mail: tuple[RunningGateway, FaultMakingProvider]) -> None:
    running, _ = mail
    good = token("ada")
    assert await running.call("mail", "whoami", **bearer(good)) == digest(good)
    for start in range(0, 200, 50):
        requests = (running.rpc("mail", "tools/list", **bearer(f"bad.{n}")) for n in range(start, start + 50))
        responses = await asyncio.gather(*requests)
        # 503: unknown tokens have used up what the provider may be asked about them for now.
        assert {response.status_code for response in responses} <= {401, 503}
    assert running.gateway.process_count == 1
    assert await running.call("mail", "whoami", **bearer(good)) == digest(good)


@pytest.mark.threat("B34")
async def test_b34_good_tokens_of_one_person_have_a_bounded_number_of_processes() -> None:
    async with running_mail(limits=ProcessLimits(max_processes_per_principal=2)) as (running, _):
        for number in range(6):
            value = token("ada", number)
            assert await running.call("mail", "whoami", **bearer(value)) == digest(value)
        assert running.gateway.process_count <= 2


@pytest.mark.threat("B36")
async def test_b36_the_process_sees_neither_the_gateways_environment_nor_other_secrets(
    mail: tuple[RunningGateway, FaultMakingProvider],
) -> None:
    running, _ = mail
    names = json.loads(await running.call("mail", "env", **bearer(token("ada"))))
    assert "GMAIL_ACCESS_TOKEN" in names
    assert not [name for name in names if name.startswith(("FMCP_", "MAIL_", "OTHER_"))]


async def test_a_known_person_has_a_private_home_that_ends_with_the_process(
    mail: tuple[RunningGateway, FaultMakingProvider],
) -> None:
    running, _ = mail
    home, mode = json.loads(await running.call("mail", "home", **bearer(token("ada"))))
    other, _ = json.loads(await running.call("mail", "home", **bearer(token("grace"))))
    assert home != other
    assert mode == "0o700"


@pytest.mark.threat("B29")
async def test_b29_no_command_line_holds_a_token(mail: tuple[RunningGateway, FaultMakingProvider]) -> None:
    running, _ = mail
    process = psutil.Process(int(await running.call("mail", "pid", **bearer(token("ada")))))
    for each in (process, *process.parents()):
        assert token("ada") not in " ".join(each.cmdline())
        assert "client-secret" not in " ".join(each.cmdline())


async def test_stderr_is_shown_only_to_the_owner_of_the_process_and_without_secrets() -> None:
    provider = FaultMakingProvider()
    provider.answer_introspection = introspect
    async with serve(provider.app) as address:
        block = AuthBlock(
            authorization_url=f"{address}/authorize",
            token_url=f"{address}/token",
            introspection_url=f"{address}/introspect",
            env_var_name="GMAIL_ACCESS_TOKEN",
            client_id=CLIENT_ID,
        )
        talkative = ServerEntry(
            name="dead",
            command="sh",
            args=("-c", 'echo "key $MAIL_API_KEY, token $GMAIL_ACCESS_TOKEN, mode $MODE" >&2; exit 3'),
            env=(("MAIL_API_KEY", EnvVariable(value="key-4711")), ("MODE", EnvVariable(value="fast-mode"))),
            auth=block,
        )
        async with running_gateway([talkative]) as running:
            response = await running.rpc("dead", "tools/list", **bearer(token("ada")))
            assert response.status_code == 502
            assert response.json()["error"]["data"]["stderr"] == ["key ***, token ***, mode fast-mode"]


async def test_fifty_persons_at_once_are_served_and_leave_nothing_when_idle() -> None:
    limits = ProcessLimits(idle_timeout_seconds=0.2, max_concurrent_starts=4)
    async with running_mail(limits=limits) as (running, _):
        persons = [f"person{number}" for number in range(50)]
        pids = await asyncio.gather(*(running.call("mail", "pid", **bearer(token(name))) for name in persons))
        assert len(set(pids)) == 50
        for pid in pids:
            await wait_ended(int(pid))
        async with asyncio.timeout(60):
            while running.gateway.process_count:  # the last processes are being counted out by the event loop
                await running.client.get("/health")


async def test_a_killed_process_fails_its_call_within_a_second_and_the_next_call_works(
    mail: tuple[RunningGateway, FaultMakingProvider],
) -> None:
    running, _ = mail
    process = psutil.Process(int(await running.call("mail", "pid", **bearer(token("ada")))))
    hang = running.rpc("mail", "tools/call", {"name": "hang", "arguments": {}}, **bearer(token("ada")))
    hanging = asyncio.create_task(hang)
    await running.wait_hanging("mail", **bearer(token("ada")))
    process.kill()
    async with limit_of_running_time(1):
        response = await hanging
    assert "killed by SIGKILL" in response.json()["error"]["message"]
    assert await running.call("mail", "whoami", **bearer(token("ada"))) == digest(token("ada"))
