"""A hundred logins of MCP clients with marked tokens, at the real executable: no log, file, page or title holds one."""

import asyncio
import secrets
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
from starlette.responses import JSONResponse, Response

from tests.acceptance.harness import RunningGateway, start_fluidmcp
from tests.acceptance.test_canary import MARK, PACKAGE_SECRET, Seen, build_environ, install, look_around
from tests.gateway.client_login import LOOPBACK_REDIRECT, Browser, McpClient, bearer
from tests.providers.fault_making import FaultMakingProvider, query_of, token_document
from tests.providers.serving import serve

LOGINS: Final = 100
RENEWALS: Final = 10
CODE: Final = f"{MARK}-code"


def mark_tokens(_form: dict[str, str]) -> Response:
    marked = {f"{name}_token": f"{MARK}-{name}-{secrets.token_hex(8)}" for name in ("access", "refresh")}
    return JSONResponse(token_document(**marked, scope="openid"))


async def log_in(gateway: RunningGateway, client: McpClient, seen: Seen) -> dict[str, Any]:
    """A whole login; every page and address on its way is looked at, but the address that holds our own code."""
    async with Browser(gateway.url) as browser:
        page = await browser.get(client.authorization_url())
        seen.answer("consent page", page)
        location = await browser.allow(client.authorization_url())
        seen.add("to the provider", location)
        answer = query_of(await browser.come_back(location, code=CODE))
    return await client.redeem(answer)


async def go_wrong(
    gateway: RunningGateway, client: McpClient, tokens: dict[str, Any], provider_token: str, seen: Seen
) -> None:
    """Errors of all kinds about marked and sealed tokens."""
    forms = (
        client.code_form(CODE),
        client.refresh_form(f"{MARK}-refresh-1"),
        client.refresh_form(tokens["access_token"]),
        client.refresh_form(tokens["refresh_token"], client_id="other"),
        {"grant_type": "password", "client_id": client.client_id, "password": f"{MARK}-password"},
    )
    for form in forms:
        seen.answer("token endpoint", await client.ask_token(form))
    seen.answer("registration", await client.post("register", json={"redirect_uris": [f"javascript:{MARK}"]}))
    async with httpx2.AsyncClient(trust_env=False, timeout=60, base_url=gateway.url) as http:
        for path in (f"/mail/authorize?client_id={MARK}", f"/mail/auth/callback?state=x&code={CODE}"):
            seen.answer(path.partition("?")[0], await http.get(path))
        for tool in ("stderr", "die"):
            call = {"name": tool, "arguments": {"text": f"token {provider_token}"}}
            body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
            seen.answer(tool, await http.post("/mail/mcp", json=body, headers=bearer(tokens)))


@pytest.mark.threat("B37", "B29")
async def test_b37_a_hundred_logins_of_clients_leave_no_token_anywhere(tmp_path: Path) -> None:
    provider, seen = FaultMakingProvider(), Seen()
    provider.answer_token = mark_tokens
    held: list[str] = []
    tokens: dict[str, Any] = {}
    async with serve(provider.app) as address:
        env = build_environ(tmp_path, address)
        install(tmp_path, address)
        async with start_fluidmcp("run", "mypackage", "--start-server", env=env, cwd=tmp_path) as gateway:
            client = McpClient(gateway.url)
            await client.register(redirect_uri=LOOPBACK_REDIRECT)
            for first in range(0, LOGINS, 10):
                batch = await asyncio.gather(*(log_in(gateway, client, seen) for _ in range(first, first + 10)))
                held += [one[name] for one in batch for name in ("access_token", "refresh_token")]
                tokens = batch[-1]
            for _ in range(RENEWALS):
                tokens = (await client.refresh(tokens["refresh_token"])).json()
                held += [tokens["access_token"], tokens["refresh_token"]]
            await go_wrong(gateway, client, tokens, provider.handed_out[-1]["access_token"], seen)
            look_around(gateway, tmp_path, seen)
            assert await gateway.stop() == 0
            seen.add("gateway", gateway.report())
            assert " DEBUG " in gateway.stderr.text, "the level that was asked for is at work"
    verifiers = [form["code_verifier"] for form in provider.token_requests if "code_verifier" in form]
    assert len(verifiers) == LOGINS
    ours = [token.removeprefix("fmcp1.")[:30] for token in held]
    marked = [f"{MARK}-access", f"{MARK}-refresh", CODE, PACKAGE_SECRET]
    assert seen.find([*marked, *verifiers, client.code_verifier]) == []
    assert seen.find(ours) == []
