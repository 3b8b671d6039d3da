"""`fluidmcp login` as a child process that waits for a person, and the person."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2

from fluidmcp.operator.token_file import TokenFile
from tests.acceptance.harness import BIN, Finished, Output, environment, free_port
from tests.providers.oidc import CLI_CLIENT_ID, OidcProvider, log_in

DOCUMENTED = {
    "FMCP_OAUTH_AUTH_ENDPOINT": "https://your-provider.com/oauth/authorize",
    "FMCP_OAUTH_TOKEN_ENDPOINT": "https://your-provider.com/oauth/token",
    "FMCP_OAUTH_CLIENT_ID": "your_client_id",
}
NO_SCREEN = {"BROWSER": "", "DISPLAY": "", "WAYLAND_DISPLAY": ""}


@dataclass(frozen=True)
class Login:
    """A `fluidmcp login` that waits."""

    process: asyncio.subprocess.Process
    stdout: Output
    stderr: Output

    async def address(self) -> str:
        return (await self.stdout.wait_for("  http", limit_seconds=60)).strip()

    async def finish(self) -> Finished:
        async with asyncio.timeout(60):
            code = await self.process.wait()
        await asyncio.gather(self.stdout.finish(), self.stderr.finish())
        return Finished(code, self.stdout.text, self.stderr.text)


@asynccontextmanager
async def start_login(*arguments: str, env: Mapping[str, str], stdin: int | None = None) -> AsyncGenerator[Login]:
    process = await asyncio.create_subprocess_exec(
        str(BIN / "fluidmcp"),
        "login",
        *arguments,
        env=environment(env),
        stdin=asyncio.subprocess.DEVNULL if stdin is None else stdin,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None and process.stderr is not None
    try:
        yield Login(process, Output(process.stdout), Output(process.stderr))
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def settings(provider: OidcProvider, home: Path, **changes: str) -> dict[str, str]:
    return {
        "HOME": str(home),
        "FMCP_OAUTH_AUTH_ENDPOINT": provider.authorization_url,
        "FMCP_OAUTH_TOKEN_ENDPOINT": provider.token_url,
        "FMCP_OAUTH_CLIENT_ID": CLI_CLIENT_ID,
        "FMCP_OAUTH_REDIRECT_URI": f"http://localhost:{free_port()}/callback",
        "FMCP_OAUTH_SCOPE": "openid email",
        **NO_SCREEN,
        **changes,
    }


async def visit(address: str) -> httpx2.Response:
    async with httpx2.AsyncClient(trust_env=False, timeout=60) as browser:
        return await browser.get(address)


async def log_in_person(env: Mapping[str, str], *arguments: str, person: str = "alice") -> Finished:
    async with start_login(*arguments, env=env) as login:
        callback = await log_in(await login.address(), person=person, until=env["FMCP_OAUTH_REDIRECT_URI"])
        assert (await visit(callback)).status_code == 200
        return await login.finish()


def stored(home: Path) -> dict[str, Any]:
    return json.loads((home / ".fluidmcp" / "oauth" / "tokens.json").read_text())


def let_it_expire(home: Path) -> None:
    token_file = TokenFile(home)
    login = token_file.load()
    assert login is not None
    token_file.save(replace(login, expires_at=1.0, obtained_at=0.0))
