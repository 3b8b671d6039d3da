"""Marked tokens, codes, secrets and verifiers go every way there is, with debug logging: none shows by accident."""

import asyncio
import base64
import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx2
import psutil
import pytest
from starlette.responses import HTMLResponse, JSONResponse, Response

from tests.acceptance.harness import Output, RunningGateway, free_port, run_fluidmcp, spawn, start_fluidmcp
from tests.providers.fault_making import FaultMakingProvider, query_of, token_document
from tests.providers.serving import serve

MARK: Final = "canary7f3a"
CODE: Final = f"{MARK}-code"
BAD: Final = f"{MARK}-bad-token"
GATEWAY_SECRET: Final = f"{MARK}-gateway-secret"
PACKAGE_SECRET: Final = f"{MARK}-package-secret"
CLIENT_IDS: Final = {"gateway": "gateway-client", "package": "package-client"}
SERVER: Final = Path(__file__).parent.parent / "servers" / "stdlib_server.py"


@dataclass
class Seen:
    """Every text that somebody could see, by where it was seen."""

    texts: dict[str, str] = field(default_factory=dict[str, str])

    def add(self, where: str, text: str) -> None:
        self.texts[f"{len(self.texts)} {where}"] = text

    def answer(self, where: str, response: httpx2.Response) -> None:
        self.add(where, f"{response.status_code} {response.headers} {response.text}")

    def find(self, marks: list[str]) -> list[str]:
        lines = ((where, line) for where, text in self.texts.items() for line in text.splitlines())
        return [f"{where}: {line}" for where, line in lines if any(mark in line for mark in marks)]


def hand_out_tokens(form: dict[str, str]) -> Response:
    """Tokens that carry the mark, and who they are for."""
    kind = "gateway" if form.get("client_id") == CLIENT_IDS["gateway"] else "package"
    grant = form.get("grant_type", "").replace("_", "-")
    marked = {f"{name}_token": f"{MARK}-{kind}-{name}-{grant}" for name in ("access", "refresh")}
    return JSONResponse(token_document(**marked, scope="openid"))


def introspect(form: dict[str, str]) -> Response:
    token = form.get("token", "")
    for kind, client_id in CLIENT_IDS.items():
        if token.startswith(f"{MARK}-{kind}-access"):
            claims = {"sub": "ada", "client_id": client_id, "aud": client_id, "scope": "openid"}
            return JSONResponse({"active": True, "token_type": "Bearer", **claims})
    return JSONResponse({"active": False, "error_description": f"unknown: {token}"})


def echo_everything(form: dict[str, str]) -> Response:
    """A provider whose error page repeats what it was sent."""
    return HTMLResponse(f"<h1>Error</h1><pre>{json.dumps(form)}</pre>", status_code=500)


def refuse_and_repeat(form: dict[str, str]) -> Response:
    return JSONResponse({"error": "invalid_grant", "error_description": f"no: {json.dumps(form)}"}, status_code=400)


def install(folder: Path, address: str) -> None:
    package = folder / ".fmcp-packages" / "ann" / "mypackage" / "1.0.0"
    package.mkdir(parents=True)
    command: dict[str, Any] = {"command": sys.executable, "args": ["-I", str(SERVER)]}
    auth = {
        "type": "oauth2",
        "flow": "pkce",
        "authorization_url": f"{address}/authorize",
        "token_url": f"{address}/token",
        "introspection_url": f"{address}/introspect",
        "scopes": ["openid"],
        "client_id_env": "MAIL_CLIENT_ID",
        "client_secret_env": "MAIL_CLIENT_SECRET",
        "token_endpoint_auth_method": "post",
        "env_var_name": "GMAIL_ACCESS_TOKEN",
    }
    # Every form that a credential can have, but for arguments, which all users of the machine can read.
    token = "${auth.access_token}"
    forms = {
        "env": {
            "HEADERS": {"json": {"Authorization": f"Bearer {token}"}},
            "ADDRESS": "https://x:${auth.access_token|url}@${auth.access_token|base64}.example/${person.sub}",
        },
        "files": {
            "~/.mail/login.json": {"json": [token]},
            "login.ini": {"text": f"token = {token}", "env": "LOGIN_FILE"},
        },
    }
    servers = {"mypackage": command, "mail": command | forms | {"auth": auth}}
    (package / "metadata.json").write_text(json.dumps({"mcpServers": servers}), encoding="utf-8")


def build_environ(folder: Path, address: str) -> dict[str, str]:
    (folder / "tmp").mkdir()
    return {
        "HOME": str(folder),
        "TMPDIR": str(folder / "tmp"),
        "FMCP_LOG_LEVEL": "debug",
        "FMCP_OAUTH_AUTH_ENDPOINT": f"{address}/authorize",
        "FMCP_OAUTH_TOKEN_ENDPOINT": f"{address}/token",
        "FMCP_OAUTH_INTROSPECTION_ENDPOINT": f"{address}/introspect",
        "FMCP_OAUTH_CLIENT_ID": CLIENT_IDS["gateway"],
        "FMCP_OAUTH_CLIENT_SECRET": GATEWAY_SECRET,
        "FMCP_OAUTH_REDIRECT_URI": f"http://localhost:{free_port()}/callback",
        "MAIL_CLIENT_ID": CLIENT_IDS["package"],
        "MAIL_CLIENT_SECRET": PACKAGE_SECRET,
    }


async def log_in_as_operator(env: Mapping[str, str], folder: Path, seen: Seen) -> None:
    process = await spawn("login", "--no-browser", env=env, cwd=folder)
    assert process.stdout is not None
    assert process.stderr is not None
    stdout, stderr = Output(process.stdout), Output(process.stderr)
    state = query_of((await stdout.wait_for("response_type=code", limit_seconds=60)).strip())["state"]
    callback = env["FMCP_OAUTH_REDIRECT_URI"]
    async with httpx2.AsyncClient(trust_env=False, timeout=60) as browser:
        for given in ("wrong", state):
            seen.answer("login page", await browser.get(callback, params={"code": CODE, "state": given}))
    async with asyncio.timeout(60):
        assert await process.wait() == 0, stderr.text
    await asyncio.gather(stdout.finish(), stderr.finish())
    seen.add("login", stdout.text + stderr.text)


async def use_the_package_login(
    client: httpx2.AsyncClient, provider: FaultMakingProvider, gate: Mapping[str, str], seen: Seen
) -> str:
    """Log in well and badly; the package's token. Only the documented answers hold tokens, and are not collected."""
    for make, status in ((echo_everything, 503), (refuse_and_repeat, 400), (hand_out_tokens, 200)):
        provider.answer_token = make
        begun = await client.get("/mail/auth/login")
        state = query_of(begun.headers["location"])["state"]
        seen.answer("callback", await client.get("/mail/auth/callback", params={"code": CODE, "state": "wrong"}))
        finished = await client.get("/mail/auth/callback", params={"code": CODE, "state": state})
        assert finished.status_code == status, finished.text
        if make is not hand_out_tokens:
            seen.answer("callback", finished)
    for make in (echo_everything, refuse_and_repeat, hand_out_tokens):
        provider.answer_token = make
        body = {"refresh_token": f"{MARK}-package-refresh-authorization-code"}
        seen.answer("refresh without token", await client.post("/mail/auth/refresh", json=body))
        renewed = await client.post("/mail/auth/refresh", json=body, headers=gate)
        if make is not hand_out_tokens:
            seen.answer("refresh", renewed)
    return str(renewed.json()["token_data"]["access_token"])


def encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


async def call_everything(client: httpx2.AsyncClient, token: str, gate: str, seen: Seen) -> None:
    """Tools that write the token where it does not belong, and tokens that are no good, at all kinds of endpoints."""

    def call(tool: str, **arguments: str) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}

    both = {"authorization": f"Bearer {token}", "x-fluidmcp-authorization": f"Bearer {gate}"}
    own = {"authorization": f"Bearer {gate}"}
    # A process knows the token that it was started with, and no other.
    forms = f"token {token} {encode(token)} {quote(token, safe='')} {json.dumps(token)}"
    for headers, package, text in ((both, "mail", forms), (own, "mypackage", "nothing")):
        assert (await client.post(f"/{package}/mcp", json=call("whoami"), headers=headers)).status_code == 200
        for tool in ("stderr", "die"):
            written = await client.post(f"/{package}/mcp", json=call(tool, text=text), headers=headers)
            seen.answer(tool, written)
        seen.answer("no JSON", await client.post(f"/{package}/mcp", content=token, headers=headers))
        for path in ("/docs", "/openapi.json", "/health", "/nothing"):
            seen.answer(path, await client.get(path, headers=own))
    for value in (BAD, BAD * 500, f"{BAD} {BAD}"):
        for path in (
            "/mypackage/mcp",
            "/mail/mcp",
            "/mail/sse",
            "/docs",
            "/nothing",
            f"/mypackage/mcp?access_token={BAD}",
        ):
            for name in ("authorization", "x-fluidmcp-authorization"):
                headers = {**both, name: f"Bearer {value}"}
                seen.answer("refused", await client.post(path, json=call("whoami"), headers=headers))


def look_around(gateway: RunningGateway, folder: Path, seen: Seen) -> None:
    """Command lines of all processes, and all files."""
    for process in [psutil.Process(gateway.pid), *gateway.descendants()]:
        seen.add(f"command line of {process.pid}", " ".join(process.cmdline()))
    for place, _, names in os.walk(folder):
        # Where nothing better is to be had, a person's files are in their private home; its name is the gateway's.
        is_private = place.startswith(f"{folder}/tmp/fluidmcp-")
        for path in (Path(place, name) for name in names if name != "tokens.json" and not is_private):
            # A private home may be deleted while it is looked at.
            with suppress(FileNotFoundError):
                seen.add(str(path), path.read_bytes().decode(errors="replace"))


@pytest.mark.promise(35, 110)
@pytest.mark.threat("B37", "B29")
async def test_b37_nothing_secret_is_seen_but_in_the_token_file_and_the_documented_answers(tmp_path: Path) -> None:
    provider, seen = FaultMakingProvider(), Seen()
    provider.answer_token, provider.answer_introspection = hand_out_tokens, introspect
    async with serve(provider.app) as address:
        env = build_environ(tmp_path, address)
        install(tmp_path, address)
        await log_in_as_operator(env, tmp_path, seen)
        stored = (tmp_path / ".fluidmcp" / "oauth" / "tokens.json").read_text(encoding="utf-8")
        gate = str(json.loads(stored)["access_token"])
        assert MARK in gate
        for command in (("status",), ("doctor",), ("run", "mypackage", "--oauth")):
            done = await run_fluidmcp(*command, env=env, cwd=tmp_path)
            seen.add(" ".join(command), done.stdout + done.stderr)
        arguments = ("run", "mypackage", "--start-server", "--oauth")
        async with start_fluidmcp(*arguments, env=env, cwd=tmp_path) as gateway:
            async with httpx2.AsyncClient(trust_env=False, timeout=60, base_url=gateway.url) as client:
                header = {"x-fluidmcp-authorization": f"Bearer {gate}"}
                token = await use_the_package_login(client, provider, header, seen)
                await call_everything(client, token, gate, seen)
            look_around(gateway, tmp_path, seen)
            assert await gateway.stop() == 0
            seen.add("gateway", gateway.report())
            look_for_debug_lines(gateway)
        done = await run_fluidmcp("logout", env=env, cwd=tmp_path)
        seen.add("logout", done.stdout + done.stderr)
    verifiers = [form["code_verifier"] for form in provider.token_requests if "code_verifier" in form]
    assert len(verifiers) == 4
    assert seen.find([MARK, encode(token), *verifiers]) == []


def look_for_debug_lines(gateway: RunningGateway) -> None:
    assert " DEBUG " in gateway.stderr.text, "the level that was asked for is at work"
