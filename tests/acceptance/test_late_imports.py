"""What the real executable loads, and when: FastAPI and what it brings only for those who ask for it."""

import asyncio
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

from tests.acceptance.harness import RunningGateway, start_fluidmcp
from tests.gateway.test_stateless import BOTH, make_headers, make_message

Json = dict[str, Any]

SERVERS: Final = Path(__file__).parent.parent / "servers"
OPEN: Final[Json] = {"command": sys.executable, "args": ["-I", str(SERVERS / "stdlib_server.py")]}
AUTH: Final[Json] = {
    "type": "oauth2",
    "flow": "pkce",
    "scopes": ["mail"],
    "allow_any_user": True,
    "authorization_url": "https://id.example/authorize",
    "token_url": "https://id.example/token",
    "env_var_name": "MAIL_ACCESS_TOKEN",
    "client_id_env": "MAIL_CLIENT_ID",
}
LOADED_BY_EVERY_GATEWAY: Final = {
    *("click", "cryptography", "httptools", "msgspec", "packaging", "uvicorn", "uvloop"),
    *("cython_runtime", "typing_extensions"),  # uvloop's and uvicorn's
}
"""Each of them costs every start time and memory. A new one needs a reason that is as good as theirs."""
FIRST_REQUESTS: Final = {
    ("GET", "/docs"): 200,
    ("GET", "/openapi.json"): 200,
    ("GET", "/health"): 200,
    ("GET", "/health?detail=1"): 200,
    ("HEAD", "/health"): 405,
    ("GET", "/nothing/here"): 404,
    ("GET", "/mail/auth/login"): 302,
    ("GET", "/open/auth/login"): 404,
    ("POST", "/mail/token"): 400,
    ("GET", "/.well-known/oauth-protected-resource/mail/mcp"): 200,
}


class Recorded:
    """The modules of a gateway that was started with `environ`, by the moment at which they were looked at."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "modules"
        self.environ = {"PYTHONPATH": str(SERVERS / "recording"), "RECORD_MODULES": str(self._file)}

    def read(self, moment: str) -> set[str]:
        """Names of packages that are neither in the standard library nor ours."""
        modules, _ = self._find(moment)
        roots = {name.partition(".")[0] for name in modules} - sys.stdlib_module_names
        # `_cffi_backend` and the like are parts of others.
        return {root for root in roots if not root.startswith("_")} - {"fluidmcp", "sitecustomize"}

    def count_spared(self, moment: str) -> int:
        """How many objects no collection looks at."""
        return self._find(moment)[1]

    def _find(self, moment: str) -> tuple[list[str], int]:
        lines = [json.loads(line) for line in self._file.read_text(encoding="utf-8").splitlines()]
        return next((modules, spared) for at, modules, spared in lines if at == moment)


def write_config(folder: Path, **servers: Json) -> str:
    (folder / "servers.json").write_text(json.dumps({"mcpServers": servers}), encoding="utf-8")
    return "servers.json"


async def ask_mcp(gateway: RunningGateway, client: httpx2.AsyncClient) -> None:
    """A tool of the package `open`, by clients of each kind."""
    url = f"{gateway.url}/open/mcp"
    call: Json = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "count", "arguments": {}}}
    assert "result" in (await client.post(url, json=call)).json()
    greeting: Json = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    initialize: Json = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": greeting}
    opened = await client.post(url, json=initialize, headers={"accept": BOTH})
    session = {"mcp-session-id": opened.headers["mcp-session-id"], "accept": BOTH}
    await client.post(url, json={"jsonrpc": "2.0", "method": "notifications/initialized"}, headers=session)
    assert (await client.post(url, json=call, headers=session)).status_code == 200
    assert (await client.delete(url, headers=session)).status_code in (200, 204)
    listing = make_message("tools/list", {})
    assert (await client.post(url, json=listing, headers=make_headers(listing))).status_code == 200
    assert (await client.post(f"{gateway.url}/nobody/mcp", json=call)).status_code == 404


async def test_a_gateway_that_serves_mcp_loads_few_libraries(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path)
    config = write_config(tmp_path, open=OPEN)
    starting = start_fluidmcp("run", config, "--start-server", cwd=tmp_path, env=recorded.environ)
    async with starting as gateway, httpx2.AsyncClient(trust_env=False, timeout=60) as client:
        await ask_mcp(gateway, client)
        healthy = await client.get(f"{gateway.url}/health")
        assert (healthy.status_code, healthy.json()) == (200, {"status": "ok"})
    assert recorded.read("exit") <= LOADED_BY_EVERY_GATEWAY
    assert recorded.count_spared("bind") == 0
    assert 10_000 < recorded.count_spared("exit") < 60_000


async def test_a_login_loads_the_http_client_before_anybody_comes_and_fastapi_afterwards(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path)
    config = write_config(tmp_path, open=OPEN, mail={**OPEN, "auth": AUTH})
    environ = {**recorded.environ, "MAIL_CLIENT_ID": "id-1"}
    starting = start_fluidmcp("run", config, "--start-server", cwd=tmp_path, env=environ)
    async with starting as gateway, httpx2.AsyncClient(trust_env=False, timeout=60) as client:
        await ask_mcp(gateway, client)
        assert (await client.post(f"{gateway.url}/mail/mcp", json={})).status_code == 401
    loaded = recorded.read("exit")
    assert "httpx2" in loaded
    assert loaded.isdisjoint({"fastapi", "starlette", "pydantic", "joserfc", "jinja2"})


@pytest.mark.parametrize("first", FIRST_REQUESTS, ids=" ".join)
async def test_each_page_may_be_the_first_that_is_asked_for(tmp_path: Path, first: tuple[str, str]) -> None:
    config = write_config(tmp_path, open=OPEN, mail={**OPEN, "auth": AUTH})
    environ = {"MAIL_CLIENT_ID": "id-1"}
    starting = start_fluidmcp("run", config, "--start-server", cwd=tmp_path, env=environ)
    async with starting as gateway, httpx2.AsyncClient(trust_env=False, timeout=60) as client:
        method, path = first
        assert (await client.request(method, gateway.url + path)).status_code == FIRST_REQUESTS[first]


async def test_twenty_first_requests_at_once_are_all_answered(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path)
    config = write_config(tmp_path, open=OPEN, mail={**OPEN, "auth": AUTH})
    environ = {**recorded.environ, "MAIL_CLIENT_ID": "id-1"}
    starting = start_fluidmcp("run", config, "--start-server", cwd=tmp_path, env=environ)
    async with starting as gateway, httpx2.AsyncClient(trust_env=False, timeout=60) as client:
        asked = [*FIRST_REQUESTS, *FIRST_REQUESTS]
        answers, _ = await asyncio.gather(
            asyncio.gather(*(client.request(method, gateway.url + path) for method, path in asked)),
            ask_mcp(gateway, client),
        )
        told = Counter((key, answer.status_code) for key, answer in zip(asked, answers, strict=True))
        assert told == Counter({(key, status): 2 for key, status in FIRST_REQUESTS.items()})
        paths = (await client.get(f"{gateway.url}/openapi.json")).json()["paths"]
        assert {"/health", "/{package}/mcp", "/{package}/auth/login"} <= paths.keys()
    assert "fastapi" not in recorded.read("bind")
    assert "fastapi" in recorded.read("exit")
    assert recorded.count_spared("exit") > 60_000, "what was loaded later is spared too"
