"""Marked keys, tokens of two logins and what a provider says beside them, at the real executable with all its logs."""

import base64
import json
import secrets
import sys
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
from starlette.responses import JSONResponse, Response

from tests.acceptance.harness import RunningGateway, start_fluidmcp
from tests.acceptance.keys import running_key_api, send_keys
from tests.acceptance.test_canary import MARK, Seen, look_around
from tests.gateway.client_login import LOOPBACK_REDIRECT, Browser, McpClient, bearer
from tests.providers.fault_making import FaultMakingProvider, query_of, token_document
from tests.providers.serving import serve

SERVER: Final = Path(__file__).parents[1] / "servers" / "stdlib_server.py"
KEYS: Final = {"api_key": f"{MARK}-key-one", "app_key": f"{MARK}-key-two </script>"}
WRONG: Final = {"api_key": f"{MARK}-key-bad", "app_key": f"{MARK}-key-bad\0"}
CLIENT_SECRET: Final = f"{MARK}-client-secret"


def hand_out(_form: dict[str, str]) -> Response:
    marked = {f"{name}_token": f"{MARK}-{name}-{secrets.token_hex(8)}" for name in ("access", "refresh")}
    return JSONResponse(token_document(**marked, scope=None, secret_place=f"{MARK}-extra"))


def write_config(folder: Path, provider: str, api: str) -> Path:
    login = {
        "type": "oauth2",
        "flow": "pkce",
        "authorization_url": f"{provider}/authorize",
        "token_url": f"{provider}/token",
        "client_id_env": "MAIL_CLIENT_ID",
        "client_secret_env": "MAIL_CLIENT_SECRET",
    }
    typed: dict[str, Any] = {"type": "keys", "keys": {"api_key": {"pattern": f"{MARK}-key-[a-z]+"}, "app_key": {}}}
    check = {"url": f"{api}/validate", "headers": {"DD-API-KEY": "${keys.api_key}"}}
    command = {"command": sys.executable, "args": ["-I", str(SERVER)]}
    of_keys = {"A": "${keys.api_key}", "B": {"json": ["${keys.app_key|base64}"]}}
    tokens = {
        "env": {"GMAIL_ACCESS_TOKEN": "${auth.one.access_token}", "PLACE": "${auth.two.extra.secret_place}"},
        "files": {"~/two.json": {"json": ["${auth.two.access_token}", "${keys.api_key}", "${keys.app_key}"]}},
    }
    servers = {
        "all": {**command, **tokens, "auth": {"one": login, "two": login, "typed": typed}},
        "keys": {
            **command,
            "env": of_keys,
            "auth": {**typed, "keys_from": ["page", "header"], "verify": check},
        },
    }
    path = folder / "servers.json"
    path.write_text(json.dumps({"mcpServers": servers}), encoding="utf-8")
    return path


async def log_in(gateway: RunningGateway, client: McpClient, seen: Seen) -> dict[str, Any]:
    """Every page on the way is looked at, those about keys that are not good among them."""
    async with Browser(gateway.url) as browser:
        location = await browser.allow(client.authorization_url(), package=client.package)
        for name in ("one", "two") if client.package == "all" else ():
            seen.add("to the provider", location)
            location = await browser.come_back(location, path=f"/all/auth/callback/{name}")
        page = await browser.get(location)
        for keys in (WRONG, {"api_key": KEYS["api_key"], "app_key": f"{MARK}-key" * 400}, {"api_key": f"{MARK}-key"}):
            seen.answer("page of keys", page)
            page = await send_keys(browser, page, keys)
            assert page.status_code == 400
        seen.answer("page of keys", page)
        back = await send_keys(browser, page, KEYS)
    return await client.redeem(query_of(back.headers["location"]))


async def use(gateway: RunningGateway, package: str, headers: dict[str, str], seen: Seen) -> None:
    """A server that writes what it was given where it does not belong, and dies of it."""
    forms = [*KEYS.values(), *(base64.b64encode(key.encode()).decode() for key in KEYS.values()), f"{MARK}-extra"]
    async with httpx2.AsyncClient(trust_env=False, timeout=60, base_url=gateway.url) as http:
        for tool in ("stderr", "die"):
            call = {"name": tool, "arguments": {"text": " ".join(forms if package == "all" else forms[:4])}}
            body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
            seen.answer(tool, await http.post(f"/{package}/mcp", json=body, headers=headers))
        for keys in ({"api_key": f"{MARK}-key-bad"}, {"api_key": f"{MARK}-key-bad", "app_key": "x"}, {"app_key": MARK}):
            wrong = {f"x-fmcp-key-{name.replace('_', '-')}": key for name, key in keys.items()}
            seen.answer("headers", await http.post("/keys/mcp", json={}, headers=wrong))
        for path in ("/health?detail=1", "/docs", "/openapi.json", f"/keys/auth/keys?state={MARK}-key"):
            seen.answer(path, await http.get(path))


@pytest.mark.threat("B37", "B29", "E11")
async def test_b37_neither_keys_nor_tokens_of_several_logins_are_seen_anywhere(tmp_path: Path) -> None:
    provider, seen = FaultMakingProvider(), Seen()
    provider.answer_token = hand_out
    (tmp_path / "tmp").mkdir()
    env = {"HOME": str(tmp_path), "TMPDIR": str(tmp_path / "tmp"), "FMCP_LOG_LEVEL": "debug"}
    env |= {"MAIL_CLIENT_ID": "gateway", "MAIL_CLIENT_SECRET": CLIENT_SECRET}
    async with serve(provider.app) as address, running_key_api() as (api, api_address):
        api.good = {KEYS["api_key"]}
        config = write_config(tmp_path, address, api_address)
        async with start_fluidmcp("run", str(config), "--start-server", env=env, cwd=tmp_path) as gateway:
            for package in ("all", "keys"):
                client = McpClient(gateway.url, package)
                await client.register(redirect_uri=LOOPBACK_REDIRECT)
                tokens = await log_in(gateway, client, seen)
                await use(gateway, package, bearer(tokens), seen)
                renewed = (await client.refresh(tokens["refresh_token"])).json()
                await use(gateway, package, bearer(renewed), seen)
                seen.answer("replayed", await client.refresh(tokens["refresh_token"] + "A"))
            look_around(gateway, tmp_path, seen)
            assert await gateway.stop() == 0
            seen.add("gateway", gateway.report())
            assert " DEBUG " in gateway.stderr.text
            assert "***" in gateway.stderr.text
    encoded = base64.b64encode(KEYS["app_key"].encode()).decode()
    parts = ("access", "refresh", "extra", "key-one", "key-two", "key-bad", "key-key", "client-secret")
    assert seen.find([*(f"{MARK}-{part}" for part in parts), encoded, KEYS["app_key"]]) == []
