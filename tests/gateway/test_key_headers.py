"""Keys in headers of each request: whose they are, what is refused, and what a package says that takes nothing else."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from tests.acceptance.keys import ADA, BO, block, log_in
from tests.gateway.client_login import KEYS, bearer
from tests.gateway.guards import KnownTokens, gate_token
from tests.gateway.running import RunningGateway, running_gateway
from tests.gateway.test_keys_page import probe

CALL: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "report"}}
BOTH = ["page", "header"]


@asynccontextmanager
async def serving(*sources: str, **options: Any) -> AsyncGenerator[RunningGateway]:
    entries = [probe("dog", block(keys_from=list(sources)))]
    async with running_gateway(entries, seal_keys=KEYS, **options) as running:
        yield running


def headers_of(keys: dict[str, str]) -> list[tuple[str, bytes]]:
    return [(f"X-FMCP-Key-{name.replace('_', '-')}", key.encode()) for name, key in keys.items()]


async def send(running: RunningGateway, *headers: tuple[str, bytes]) -> httpx2.Response:
    return await running.client.post("/dog/mcp", json=CALL, headers=[(name.encode(), value) for name, value in headers])


def told(answer: httpx2.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    return json.loads(answer.json()["result"]["content"][0]["text"])["env"]


@pytest.mark.threat("E11")
async def test_on_one_connection_each_request_is_answered_by_the_process_of_its_own_keys() -> None:
    strange = {**ADA, "api_key": "short"}
    async with serving(*BOTH) as running:
        homes: set[tuple[str, str]] = set()
        for keys in (ADA, ADA, BO, BO, ADA, BO):
            env = told(await send(running, *headers_of(keys)))
            assert env["MAIL_API_KEY"] == keys["api_key"]
            homes.add((keys["api_key"], env["HOME"]))
            assert (await send(running, *headers_of(strange))).status_code == 401
            assert (await send(running)).status_code == 401
    assert len(homes) == len({home for _, home in homes}) == 2


@pytest.mark.threat("E11")
async def test_a_key_that_comes_twice_is_nobodys() -> None:
    async with serving(*BOTH) as running:
        answer = await send(running, *headers_of(ADA), ("x-fmcp-key-APP-key", b"another"))
    assert answer.status_code == 400
    assert "x-fmcp-key-app-key occurs twice" in answer.text


async def test_a_key_is_the_same_on_the_page_and_in_a_header_whatever_its_letters() -> None:
    keys = {**ADA, "app_key": "schlüssel €"}
    async with serving(*BOTH) as running:
        async with httpx2.AsyncClient(trust_env=False, timeout=60) as browser:
            tokens = await log_in(browser, running.url, "dog", keys)
        typed = json.loads(await running.call("dog", "report", **bearer(tokens)))["env"]
        sent = told(await send(running, *headers_of(keys)))
        assert json.loads(sent["BOTH"]) == json.loads(typed["BOTH"]) == {"keys": [*keys.values()]}
        latin = await send(running, *headers_of(ADA)[:1], ("X-FMCP-Key-app-key", "schlüssel".encode("latin-1")))
    assert latin.status_code == 401
    assert "not in UTF-8" in latin.text


async def test_a_sealed_token_counts_and_not_the_headers_beside_it() -> None:
    async with serving(*BOTH) as running:
        async with httpx2.AsyncClient(trust_env=False, timeout=60) as browser:
            tokens = await log_in(browser, running.url, "dog", BO)
        beside = headers_of(ADA)
        token = ("Authorization", bearer(tokens)["authorization"].encode())
        assert told(await send(running, token, *beside))["MAIL_API_KEY"] == BO["api_key"]
        # One that is none of ours is not made good by keys, and one of elsewhere does not matter beside them.
        assert (await send(running, ("Authorization", b"Bearer fmcp1.AAAA"), *beside)).status_code == 401
        assert told(await send(running, ("Authorization", b"Bearer other"), *beside))["MAIL_API_KEY"] == ADA["api_key"]


async def test_a_package_without_a_page_asks_for_its_headers_and_names_no_page() -> None:
    async with serving("header") as running:
        for headers in ((), (("Authorization", b"Bearer something"),)):
            answer = await send(running, *headers)
            assert answer.status_code == 401
            assert answer.json()["message"] == "This package needs keys in headers."
            assert answer.json()["hint"] == "Send x-fmcp-key-api-key, x-fmcp-key-app-key."
            assert "login_url" not in answer.json()
        assert "login_url" not in (await send(running, *headers_of({**ADA, "api_key": "x"}))).json()
        page = await running.client.get("/dog/auth/login")
        assert (page.status_code, page.json()["error"]) == (404, "This package has no login page")
        assert told(await send(running, *headers_of(ADA)))["MAIL_API_KEY"] == ADA["api_key"]


async def test_a_package_with_a_page_says_where_its_keys_may_stand() -> None:
    async with serving(*BOTH) as running:
        answer = (await send(running)).json()
        assert answer["message"] == "This package needs an access token, or keys in headers."
        assert "Send x-fmcp-key-api-key, x-fmcp-key-app-key." in answer["hint"] and "login_url" in answer
        wrong = (await send(running, *headers_of({**ADA, "api_key": "x"}))).json()
        assert "x-fmcp-key-api-key: It does not look like one" in str(wrong) and "Send x-fmcp" not in str(wrong)
        missing = (await send(running, *headers_of(ADA)[:1])).json()
        assert "x-fmcp-key-app-key: It is missing." in str(missing)
    async with serving("page") as running:
        answer = (await send(running, *headers_of(ADA))).json()
        assert "It takes no keys in headers." in str(answer) and "login_url" in answer
        assert "keys in headers" not in str((await send(running)).json())


async def test_a_guarded_gateway_wants_its_own_token_beside_the_keys() -> None:
    async with serving("header", guard=KnownTokens()) as running:
        assert (await send(running, *headers_of(ADA))).status_code == 401
        # Authorization is the package's here, whatever it holds.
        wrong = await send(running, ("Authorization", f"Bearer {gate_token('ada')}".encode()), *headers_of(ADA))
        assert wrong.status_code == 401
        gate = ("X-FluidMCP-Authorization", f"Bearer {gate_token('ada')}".encode())
        assert told(await send(running, gate, *headers_of(ADA)))["MAIL_API_KEY"] == ADA["api_key"]
        assert (await send(running, gate)).json()["message"] == "This package needs keys in headers."
