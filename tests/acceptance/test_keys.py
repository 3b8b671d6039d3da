"""Keys that people type, from the page to their processes: by the executable, for two people at once."""

import asyncio
import base64
import json
import secrets
import sys
from pathlib import Path
from typing import Any, Final

import httpx2
import psutil
import pytest

from tests.acceptance.harness import start_fluidmcp
from tests.acceptance.keys import ADA, BO, ENV, block, log_in, read_page, running_key_api, send_keys

SERVER: Final = Path(__file__).parent.parent / "servers" / "probe_server.py"
LIMIT_SECONDS: Final = 60.0


def write_config(folder: Path, auth: dict[str, Any], **changes: Any) -> Path:
    entry = {"command": sys.executable, "args": ["-B", str(SERVER)], "env": ENV, "auth": auth, **changes}
    path = folder / "servers.json"
    path.write_text(json.dumps({"mcpServers": {"dog": entry}}), encoding="utf-8")
    return path


async def report(client: httpx2.AsyncClient, headers: dict[str, str], **arguments: Any) -> dict[str, Any]:
    message = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "report", "arguments": arguments},
    }
    answer = await client.post("/dog/mcp", json=message, headers=headers)
    assert answer.status_code == 200, answer.text
    return json.loads(answer.json()["result"]["content"][0]["text"])


def check(told: dict[str, Any], keys: dict[str, str]) -> None:
    assert told["env"]["MAIL_API_KEY"] == keys["api_key"]
    assert json.loads(told["env"]["BOTH"]) == {"keys": [keys["api_key"], keys["app_key"]]}
    other = BO if keys is ADA else ADA
    assert other["api_key"] not in json.dumps(told)


@pytest.mark.threat("E11", "E12", "B37")
async def test_two_people_type_their_keys_and_each_process_has_those_of_its_person(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), "FMCP_LOG_LEVEL": "debug"}
    env["FMCP_SEAL_KEYS"] = base64.b64encode(secrets.token_bytes(32)).decode()
    async with running_key_api() as (api, address):
        config = write_config(tmp_path, block(address))
        async with start_fluidmcp("run", str(config), "--start-server", env=env, cwd=tmp_path) as gateway:
            await gateway.stdout.wait_for("Added dog endpoints with a login by keys")
            async with httpx2.AsyncClient(trust_env=False, timeout=LIMIT_SECONDS, base_url=gateway.url) as client:
                tokens = [await log_in_alone(gateway.url, keys) for keys in (ADA, BO)]
                headers = [{"authorization": f"Bearer {token['access_token']}"} for token in tokens]
                ada, bo = await asyncio.gather(*(report(client, one) for one in headers))
                check(ada, ADA)
                check(bo, BO)
                assert ada["env"]["HOME"] != bo["env"]["HOME"]
                encoded = base64.b64encode(ADA["api_key"].encode()).decode()
                await report(client, headers[0], stderr=f"{ADA['api_key']} {encoded} end")
                await gateway.stderr.wait_for("*** *** end")
                renewed = await refresh(client, tokens[0])
                check(await report(client, {"authorization": f"Bearer {renewed['access_token']}"}), ADA)
                api.good.clear()
                again = await client.post("/dog/auth/refresh", json={"refresh_token": renewed["refresh_token"]})
                assert again.status_code == 400
                health = await client.get("/health?detail=1")
            ours = [psutil.Process(gateway.pid), *gateway.descendants()]
            environments = [process.environ() for process in ours if "probe_server" not in str(process.cmdline())]
            assert await gateway.stop() == 0
            written = gateway.report() + health.text + repr(environments) + again.text
    for keys in (ADA, BO):
        for secret in (*keys.values(), base64.b64encode(keys["api_key"].encode()).decode()):
            assert secret not in written
    assert tokens[0]["access_token"].startswith("fmcp1.")


async def log_in_alone(gateway_url: str, keys: dict[str, str]) -> dict[str, Any]:
    """In a browser of their own."""
    async with httpx2.AsyncClient(trust_env=False, timeout=LIMIT_SECONDS) as browser:
        return await log_in(browser, gateway_url, "dog", keys)


async def refresh(client: httpx2.AsyncClient, token: dict[str, Any]) -> dict[str, Any]:
    answer = await client.post("/dog/auth/refresh", json={"refresh_token": token["refresh_token"]})
    assert answer.status_code == 200, answer.text
    return answer.json()["token_data"]


@pytest.mark.threat("E11")
async def test_a_typing_error_is_told_on_the_page_and_costs_nothing(tmp_path: Path) -> None:
    async with running_key_api() as (api, address):
        config = write_config(tmp_path, block(address))
        async with start_fluidmcp("run", str(config), "--start-server", env={"HOME": str(tmp_path)}) as gateway:
            async with httpx2.AsyncClient(trust_env=False, timeout=LIMIT_SECONDS) as browser:
                page = await browser.get(f"{gateway.url}/dog/auth/login", follow_redirects=True)
                fields = read_page(page).inputs
                assert [one["name"] for one in fields] == ["key-api_key", "key-app_key"]
                assert all(one["autocomplete"] == "off" and "value" not in one for one in fields)
                typo = await send_keys(browser, page, {**ADA, "api_key": "a" * 31})
                assert typo.status_code == 400
                assert "does not look like one" in typo.text and not api.asked
                wrong = await send_keys(browser, typo, {**ADA, "api_key": "c" * 32})
                assert wrong.status_code == 400
                assert "127.0.0.1 does not accept them." in wrong.text and api.asked == ["c" * 32]
                for api.status in (404, 500):
                    down = await send_keys(browser, wrong, {**ADA, "api_key": "d" * 32})
                    assert "cannot be checked now" in down.text
                down = await send_keys(browser, wrong, {**ADA, "api_key": "d" * 32})
                assert "cannot be checked now" in down.text
                done = await send_keys(browser, down, {**ADA, "api_key": f"  {ADA['api_key']}\t"})
                assert done.json()["token_data"]["access_token"].startswith("fmcp1.")
                twice = await send_keys(browser, down, ADA)
                assert twice.status_code == 400 and "expired" in twice.text
    for shown in (typo, wrong, down, twice):
        assert "aaaa" not in shown.text and "cccc" not in shown.text and "ada" not in shown.text


async def test_scripts_send_their_keys_in_headers(tmp_path: Path) -> None:
    async with running_key_api() as (api, address):
        config = write_config(tmp_path, block(address, keys_from=["page", "header"]))
        async with start_fluidmcp("run", str(config), "--start-server", env={"HOME": str(tmp_path)}) as gateway:
            await gateway.stdout.wait_for("Keys in headers: x-fmcp-key-api-key, x-fmcp-key-app-key")
            async with httpx2.AsyncClient(trust_env=False, timeout=LIMIT_SECONDS, base_url=gateway.url) as client:
                people = [{"api_key": ADA["api_key"], "app_key": "one"}, {"api_key": BO["api_key"], "app_key": "two"}]
                told = await asyncio.gather(*(report(client, as_headers(keys)) for keys in people for _ in range(2)))
                assert [one["env"]["MAIL_API_KEY"] for one in told] == [ADA["api_key"]] * 2 + [BO["api_key"]] * 2
                assert len({one["env"]["HOME"] for one in told}) == 2, "a process a person"
                assert sorted(api.asked) == [ADA["api_key"], BO["api_key"]], "each is asked about once"
                for keys, why in (
                    ({"api_key": "c" * 32, "app_key": "x"}, "does not accept them"),
                    ({"api_key": ADA["api_key"]}, "x-fmcp-key-app-key: It is missing"),
                    ({"api_key": "short", "app_key": "x"}, "x-fmcp-key-api-key: It does not look like one"),
                ):
                    refused = await client.post("/dog/mcp", json={}, headers=as_headers(keys))
                    assert refused.status_code == 401
                    assert why in refused.text and keys["api_key"] not in refused.text
                assert (await client.post("/dog/mcp", json={})).status_code == 401


def as_headers(keys: dict[str, str]) -> dict[str, str]:
    return {f"X-FMCP-Key-{name.replace('_', '-')}": key for name, key in keys.items()}
