"""A known server behind the real gateway, with two persons logged in, in front of a stub of its API."""

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fluidmcp.config.providers.fill import default_variables
from fluidmcp.packages.catalogue.known_server import KnownServer
from tests import parts
from tests.acceptance import keys
from tests.acceptance.harness import BIN, RunningGateway, start_fluidmcp
from tests.known_servers.database import open_database
from tests.known_servers.stub import ApiStub, open_stub
from tests.known_servers.trial import Trial
from tests.providers.fault_making import FaultMakingProvider, query_of, token_document
from tests.providers.serving import serve

PERSONS: Final = ("adelaide", "bonaventure")
"""Names that no answer holds by chance."""
CALL_LIMIT_SECONDS: Final = 120.0
REDIRECT: Final = Path(__file__).with_name("redirect.cjs")
GRPC_API: Final = Path(__file__).parent / "programs" / "grpc_api.py"
CLIENT: Final = "client-of-the-gateway"


@dataclass(frozen=True, slots=True)
class Told:
    """What the gateway told one person."""

    tools: int
    result: dict[str, Any]
    """Of the call; empty when none was made."""

    @property
    def text(self) -> str:
        return json.dumps(self.result)


@dataclass(frozen=True, slots=True)
class Stage:
    """The gateway that serves the known server as its only package, and the API that it calls."""

    server: KnownServer
    trial: Trial
    gateway: RunningGateway
    stub: ApiStub

    @property
    def proof(self) -> str:
        return "call" if self.trial.tool else "tools"

    async def try_it(self) -> dict[str, Told]:
        """Both persons log in, list the tools and call the tool, at the same time."""
        told = await asyncio.gather(*(self._try_as(person) for person in PERSONS))
        return dict(zip(PERSONS, told, strict=True))

    async def _try_as(self, person: str) -> Told:
        async with httpx2.AsyncClient(
            base_url=self.gateway.url, trust_env=False, timeout=CALL_LIMIT_SECONDS
        ) as browser:
            token = await (self._type_keys if self.trial.keys else self._log_in)(browser, person)
            tools = (await self._ask(browser, token, "tools/list", {}))["tools"]
            if not self.trial.tool:
                return Told(len(tools), {})
            call = {"name": self.trial.tool, "arguments": dict(self.trial.arguments)}
            return Told(len(tools), await self._ask(browser, token, "tools/call", call))

    async def _log_in(self, browser: httpx2.AsyncClient, person: str) -> str:
        opened = await browser.get(f"/{self.server.name}/auth/login", headers={"accept": "text/html"})
        assert opened.status_code == 302, opened.text
        asked = query_of(opened.headers["location"])
        assert asked["client_id"] == CLIENT
        back = await browser.get(
            f"/{self.server.name}/auth/callback",
            params={"code": person, "state": asked["state"]},
            headers={"accept": "application/json"},
        )
        assert back.status_code == 200, back.text
        token = back.json()["token_data"]["access_token"]
        assert token == self.stub.tokens[person]
        return token

    async def _type_keys(self, browser: httpx2.AsyncClient, person: str) -> str:
        """The gateway's own page; what comes back holds the keys, sealed."""
        own = self.stub.tokens[person]
        typed = {name: text.replace("TOKEN", own) for name, text in self.trial.keys.items()}
        token = (await keys.log_in(browser, self.gateway.url, self.server.name, typed))["access_token"]
        assert own not in token
        return token

    async def _ask(
        self, browser: httpx2.AsyncClient, token: str, method: str, params: dict[str, Any]
    ) -> dict[str, Any]:
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        headers = {"authorization": f"Bearer {token}"}
        answer = await browser.post(f"/{self.server.name}/mcp", json=message, headers=headers)
        told = answer.json()
        assert answer.status_code == 200 and "result" in told, f"{answer.text}\n{self.gateway.report()}"
        return told["result"]


@asynccontextmanager
async def open_stage(server: KnownServer, trial: Trial, folder: Path) -> AsyncGenerator[Stage]:
    tokens = {person: trial.token.format(person=person) for person in PERSONS}
    provider = FaultMakingProvider()

    def answer_token(form: dict[str, str]) -> Response:
        return JSONResponse(token_document(access_token=tokens[form["code"]], scope=None))

    def answer_info(request: Request) -> Response:
        """What GitLab says of a token: whose it is, and which application's."""
        number = [*tokens.values()].index(request.headers["authorization"].removeprefix("Bearer "))
        return JSONResponse({"application": {"uid": CLIENT}, "resource_owner_id": number, "expires_in": 7200})

    provider.answer_token = answer_token
    provider.app.router.routes.append(Route("/oauth/token/info", answer_info))
    async with (
        serve(provider.app) as login,
        open_stub(tokens, trial.answers, trial.hosts, folder) as stub,
        open_grpc(server, trial, stub),
        open_database(stub) as database,
    ):
        entry = build_entry(server, trial, login, stub)
        config = folder / "servers.json"
        config.write_text(json.dumps({"mcpServers": {server.name: entry}}), encoding="utf-8")
        home = folder / "home"
        home.mkdir()
        env = _environment(server, trial, home, database)
        async with start_fluidmcp("run", str(config), "--start-server", env=env, cwd=folder) as gateway:
            yield Stage(server, trial, gateway, stub)


@asynccontextmanager
async def open_grpc(server: KnownServer, trial: Trial, stub: ApiStub) -> AsyncGenerator[None]:
    """What answers for the host of the trial where the server speaks gRPC; it has gRPC from the server itself."""
    if not trial.grpc:
        yield
        return
    _, package = find_installed(server)
    program = await asyncio.create_subprocess_exec(
        str(package / "venv" / "bin" / "python"),
        str(GRPC_API),
        str(stub.chain),
        stub.url,
        trial.hosts[0],
        env={"PATH": os.defpath},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert program.stdin is not None and program.stdout is not None
    try:
        async with asyncio.timeout(CALL_LIMIT_SECONDS):
            port = int(await program.stdout.readline())
        stub.tunnels[trial.hosts[0]] = port
        yield
    finally:
        program.stdin.close()
        await program.wait()


def find_installed(server: KnownServer) -> tuple[Path, Path]:
    """The folder of `fluidmcp install` that has the package of the server, and the folder of the package in it."""
    kind, _, written = server.entry["package"].partition(":")
    name, _, version = written.replace("==", "@").rpartition("@")
    below = Path(kind, name.removeprefix("@").replace("/", "-"), version)
    found = [(folder, folder / below) for folder in parts.KNOWN_SERVERS.iterdir() if (folder / below).is_dir()]
    assert found, f"{server.entry['package']} is missing: run scripts/install-parts"
    return found[0]


def build_entry(server: KnownServer, trial: Trial, login: str, stub: ApiStub) -> dict[str, Any]:
    """The entry of the catalogue; only addresses are others, and the proxy's certificate is trusted."""
    entry = dict(server.entry)
    env = dict(entry.get("env", {}))
    if server.base_url:
        env[server.base_url] = trial.base.replace("STUB", stub.url)
    # Whatever else the server wants to reach, it is refused by the stub and goes nowhere.
    trusted = ("NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "HTTPLIB2_CA_CERTS")
    env |= {name: str(stub.certificate) for name in trusted}
    env |= {"HTTPS_PROXY": stub.url, "https_proxy": stub.url, "NODE_USE_ENV_PROXY": "1"}
    stands_for = {"STUB": stub.url, "AUTHORITY": str(stub.certificate), "REDIRECT": str(REDIRECT)}
    for name, value in trial.env.items():
        for word, text in stands_for.items():
            value = value.replace(word, text)
        env[name] = value
    return {**entry, "auth": _build_auth(entry["auth"], login, stub), "env": env}


def _build_auth(auth: Mapping[str, Any], login: str, stub: ApiStub) -> Mapping[str, Any]:
    """The gateway asks without a proxy: the addresses of the provider are others, and the one that knows good keys."""
    if auth.get("type") != "keys":
        return {**auth, "authorization_url": f"{login}/authorize", "token_url": f"{login}/token"}
    if "verify" not in auth:
        return auth
    return {**auth, "verify": {**auth["verify"], "url": f"{stub.url}{urlsplit(str(auth['verify']['url'])).path}"}}


def _environment(server: KnownServer, trial: Trial, home: Path, database: str) -> dict[str, str]:
    auth: Mapping[str, Any] = server.entry["auth"]
    names = default_variables(auth["provider"]) if "provider" in auth else ()
    own = [auth[key] for key in ("client_id_env", "client_secret_env") if key in auth]
    return {
        "HOME": str(home),
        "PATH": os.pathsep.join(map(str, (parts.require("node").parent, BIN, "/usr/bin", "/bin"))),
        "MCP_INSTALLATION_DIR": str(find_installed(server)[0]),
        "FMCP_START_TIMEOUT_SECONDS": "100",
        "FMCP_LOG_LEVEL": "debug",
        **dict.fromkeys((*names, *own), CLIENT),
        **{name: value.replace("DATABASE", database) for name, value in trial.exports.items()},
    }
