"""`/health`: everybody hears that the gateway runs, and its operator alone what isolates the server processes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fluidmcp.config.isolation import IsolationLevel
from fluidmcp.config.secret import Secret
from fluidmcp.guards.gateway_auth import StaticTokenAuth
from tests.gateway.running import VISIBLE, RunningGateway, running_gateway, stdlib_entry
from tests.gateway.test_persons import bearer, token
from tests.gateway.test_real_guards import OWN, guarded_by_oauth

DETAIL = "/health?detail=1"
OPEN_ENTRIES = [stdlib_entry("echo"), replace(stdlib_entry("bare"), isolation="none")]


async def ask(running: RunningGateway, path: str = DETAIL, **headers: str) -> tuple[int, dict[str, Any]]:
    answer = await running.client.get(path, headers=headers)
    assert answer.headers["content-type"] == "application/json"
    return answer.status_code, answer.json()


async def check_plain(running: RunningGateway) -> None:
    for path in ("/health", "/health?detail=0", "/health?detail=false", "/health?other=1"):
        for headers in ({}, bearer("wrong"), bearer(OWN)):
            assert await ask(running, path, **headers) == (200, {"status": "ok"})


async def test_a_query_without_its_value_is_told_what_to_write() -> None:
    async with running_gateway([stdlib_entry("echo")]) as running:
        for path in ("/health?detail", "/ready?detail="):
            status, told = await ask(running, path)
            assert (status, told["message"]) == (422, "The value of detail is not understood.")
            assert "?detail=1" in told["hint"]


def is_refusal(told: tuple[int, dict[str, Any]], status: int) -> bool:
    """Nothing of the packages is said."""
    return told[0] == status and not any(name in str(told[1]) for name in ("echo", "bare", "landlock", "packages"))


async def test_on_this_machine_whoever_asks_hears_what_isolates_each_package() -> None:
    async with running_gateway(OPEN_ENTRIES) as running:
        await check_plain(running)
        status, told = await ask(running)
        assert (status, told.keys()) == (200, {"status", "processes", "packages"})
        assert told["processes"] == 0
        assert told["packages"].keys() == {"echo", "bare"}
        assert told["packages"]["echo"]["isolation"] == VISIBLE
        assert told["packages"]["bare"] == {"isolation": "none", "lacks": "", "state": "ok"}
        await running.call("echo", "count")
        assert (await ask(running))[1]["processes"] == 1


@pytest.mark.parametrize("settings", [{"public_url": "https://mcp.example.com"}, {"host": "0.0.0.0"}], ids=str)
async def test_strangers_hear_nothing_of_a_gateway_that_nothing_guards(settings: dict[str, Any]) -> None:
    async with running_gateway([stdlib_entry("echo")], allow_insecure=True, **settings) as running:
        await check_plain(running)
        told = await ask(running)
        assert is_refusal(told, 403)
        assert "--oauth or --secure" in str(told[1])
        assert is_refusal(await ask(running, **bearer(OWN)), 403)


async def test_under_secure_the_token_is_the_operators() -> None:
    guard = StaticTokenAuth(Secret(OWN), digest_key=b"k" * 32)
    async with running_gateway([stdlib_entry("echo")], guard=guard) as running:
        await check_plain(running)
        status, told = await ask(running, **bearer(OWN))
        assert (status, told["packages"]["echo"]["isolation"]) == (200, VISIBLE)
        for headers in ({}, bearer(OWN + "x"), bearer("fmcp1.sealed"), {"authorization": OWN}):
            assert is_refusal(await ask(running, **headers), 401)
        # Where a token stands in the address it is in every log.
        assert is_refusal(await ask(running, f"{DETAIL}&access_token={OWN}"), 401)


async def test_under_oauth_the_operator_hears_it_and_another_person_who_may_come_in_does_not(tmp_path: Path) -> None:
    async with guarded_by_oauth(tmp_path, allowed_subjects=("ada",)) as guarded:
        running = guarded.running
        await check_plain(running)
        status, told = await ask(running, **bearer(OWN))
        assert (status, told["packages"].keys()) == (200, {"tools"})
        assert (await running.rpc("tools", "ping", **bearer(token("ada")))).status_code == 200
        assert is_refusal(await ask(running, **bearer(token("ada"))), 403)
        assert is_refusal(await ask(running, **bearer(token("mallory"))), 403)
        assert is_refusal(await ask(running), 401)
        assert is_refusal(await ask(running, **bearer("wrong")), 401)


@pytest.mark.parametrize("level", ["landlock", "none"])
async def test_what_is_told_is_what_is_in_force(level: IsolationLevel) -> None:
    if VISIBLE == "none" and level != "none":
        pytest.skip("there is no Landlock on this machine")
    async with running_gateway([replace(stdlib_entry("echo"), isolation=level)]) as running:
        assert (await ask(running))[1]["packages"]["echo"]["isolation"] == level
        assert running.gateway.walls["echo"].describe() == level
