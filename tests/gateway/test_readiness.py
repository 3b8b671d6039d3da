"""`/ready?detail=1`: how far each package is, who hears of which; a load balancer hears what it always heard."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fluidmcp.config.secret import Secret
from fluidmcp.guards.gateway_auth import StaticTokenAuth
from tests.gateway.guards import KnownTokens, gate_token
from tests.gateway.running import LIMIT_SECONDS, RunningGateway, running_gateway, stdlib_entry
from tests.gateway.test_persons import bearer, token
from tests.gateway.test_real_guards import OWN, guarded_by_oauth
from tests.gateway.test_routes import BLOCK
from tests.gateway.test_slow_starts import SLOW_SERVER

DETAIL = "/ready?detail=1"
EXPOSED: Mapping[str, Any] = {"public_url": "https://gateway.example", "allowed_hosts": frozenset({"127.0.0.1"})}
MAIL = {"MAIL_CLIENT_ID": "id-1"}
DIES = stdlib_entry("broken", "--die-at-start")
HOSTILE = "a\n\x1b[2J<img src=x>\u2028" + "x" * 100_000


async def ask(running: RunningGateway, path: str = DETAIL, **headers: str) -> tuple[int, dict[str, Any]]:
    answer = await running.client.get(path, headers=headers)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    return answer.status_code, answer.json()


async def states(running: RunningGateway, **headers: str) -> dict[str, str]:
    status, told = await ask(running, **headers)
    assert (status, told["status"]) == (200, "ready")
    return {name: package["state"] for name, package in told["packages"].items()}


async def test_each_package_says_how_far_it_is_and_none_starts_for_that(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    slow = replace(stdlib_entry("slow"), args=("-I", str(SLOW_SERVER), str(gate)))
    entries = [stdlib_entry("echo"), stdlib_entry("mail", auth=BLOCK), DIES, slow]
    async with running_gateway(entries, MAIL) as running:
        assert await states(running) == {
            "echo": "ready",
            "mail": "needs_login",
            "broken": "ready",
            "slow": "ready",
        }
        assert running.gateway.process_count == 0
        assert (await running.rpc("broken", "ping")).status_code == 502
        call = asyncio.create_task(running.rpc("slow", "ping"))
        async with asyncio.timeout(LIMIT_SECONDS):
            while (await states(running))["slow"] != "starting":
                pass
        gate.touch()
        await call
        assert await states(running) == {
            "echo": "ready",
            "mail": "needs_login",
            "broken": "failing",
            "slow": "ready",
        }
        _, told = await ask(running)
        assert "ended before it answered" in told["packages"]["broken"]["reason"]
        assert told["packages"]["echo"] == {"state": "ready"}


async def test_one_that_fails_takes_the_gateway_out_of_no_balancer() -> None:
    async with running_gateway([DIES, stdlib_entry("mail", auth=BLOCK)]) as running:
        assert (await running.rpc("broken", "ping")).status_code == 502
        assert await states(running) == {"broken": "failing", "mail": "failing"}
        _, told = await ask(running)
        assert "MAIL_CLIENT_ID is exported" in told["packages"]["mail"]["reason"]
        for path in ("/ready", "/ready?detail=0", "/ready?probe=1"):
            assert await ask(running, path) == (200, {"status": "ready"})
        running.gateway.leave()
        assert await ask(running, "/ready") == (503, {"status": "not ready"})
        status, told = await ask(running)
        assert (status, told["status"], told["packages"]["broken"]["state"]) == (503, "not ready", "failing")


@pytest.mark.threat("E18")
async def test_a_guarded_gateway_tells_strangers_no_name_and_persons_no_reason(tmp_path: Path) -> None:
    async with running_gateway([DIES, stdlib_entry("echo")], guard=KnownTokens()) as running:
        ada = bearer(gate_token("ada"))
        assert (await running.rpc("broken", "ping", **ada)).status_code == 502
        for headers in ({}, bearer("wrong"), bearer("fmcp1.sealed"), {"authorization": OWN}):
            status, told = await ask(running, **headers)
            assert status == 401
            assert "broken" not in str(told)
            assert await ask(running, "/ready", **headers) == (200, {"status": "ready"})
        status, told = await ask(running, **bearer("stranger"))
        assert (status, "broken" in str(told)) == (403, False)
        status, told = await ask(running, **ada)
        assert (status, told["packages"]) == (200, {"broken": {"state": "failing"}, "echo": {"state": "ready"}})


async def test_the_operators_token_shows_why_a_persons_server_does_not_start(tmp_path: Path) -> None:
    guard = StaticTokenAuth(Secret(OWN), digest_key=b"k" * 32)
    async with running_gateway([DIES], guard=guard) as running:
        assert (await running.rpc("broken", "ping", **bearer(OWN))).status_code == 502
        _, told = await ask(running, **bearer(OWN))
        assert "ended before it answered" in told["packages"]["broken"]["reason"]
    async with guarded_by_oauth(tmp_path, allowed_subjects=("ada",)) as guarded:
        assert await states(guarded.running, **bearer(OWN)) == {"tools": "ready"}
        assert await states(guarded.running, **bearer(token("ada"))) == {"tools": "ready"}
        assert (await ask(guarded.running, **bearer(token("mallory"))))[0] == 403


@pytest.mark.threat("E18")
async def test_off_this_machine_names_are_told_only_where_nobody_logs_in_and_never_a_reason() -> None:
    async with running_gateway([DIES], allow_insecure=True, **EXPOSED) as running:
        assert (await running.rpc("broken", "ping")).status_code == 502
        assert await ask(running) == (200, {"status": "ready", "packages": {"broken": {"state": "failing"}}})
    entries = [DIES, stdlib_entry("mail", auth=BLOCK)]
    async with running_gateway(entries, MAIL, allow_insecure=True, **EXPOSED) as running:
        status, told = await ask(running)
        assert (status, "broken" in str(told)) == (403, False)
        assert await ask(running, "/ready") == (200, {"status": "ready"})


@pytest.mark.threat("E18")
async def test_a_reason_is_one_short_line() -> None:
    async with running_gateway([DIES]) as running:
        assert (await running.rpc("broken", "ping")).status_code == 502
        failures = running.gateway.parts.processes.servers["broken"].failures
        failures.append(replace(failures[-1], why=HOSTILE))
        reason = (await ask(running))[1]["packages"]["broken"]["reason"]
        assert reason.isprintable()
        assert len(reason) < 1100
        assert "<img src=x>" in reason
        failures.append(replace(failures[-1], is_personal=True))
        assert "reason" not in (await ask(running))[1]["packages"]["broken"]


async def test_the_document_of_the_endpoints_says_so() -> None:
    async with running_gateway([stdlib_entry()]) as running:
        document = (await running.client.get("/openapi.json")).json()["paths"]["/ready"]["get"]
    assert "needs_login" in document["description"]
    assert [parameter["name"] for parameter in document["parameters"]] == ["detail"]
    assert document["responses"].keys() >= {"200", "401", "403", "503"}
