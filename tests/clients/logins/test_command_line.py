"""`fluidmcp call` logs in as every client does, keeps its login privately, renews it, and works through a restart."""

import asyncio
import json
import os
import stat
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

from tests.acceptance.harness import Finished, free_port, spawn
from tests.clients.logins.browser import OUR_CONSENT, Trip, walk
from tests.clients.logins.test_logins import build_environ, start, write_config
from tests.providers.oidc import running_oidc_provider

pytestmark = pytest.mark.needs("node", "oidc-provider")

LIMIT_SECONDS: Final = 60.0
SENDER: Final = "import socket, sys; socket.create_connection(('127.0.0.1', {port})).sendall(sys.argv[1].encode())"


@dataclass
class Machine:
    """A home directory, and a browser in which alice logs in."""

    home: Path
    gateway_url: str
    env: dict[str, str] = field(default_factory=dict[str, str])
    trips: list[Trip] = field(default_factory=list[Trip])
    failures: list[BaseException] = field(default_factory=list[BaseException])
    person: str = "alice"

    async def run(self, *args: str) -> Finished:
        process = await spawn(*args, "--url", self.gateway_url, env=self.env)
        async with asyncio.timeout(LIMIT_SECONDS):
            out, err = await process.communicate()
        assert not self.failures, self.failures
        return Finished(await process.wait(), out.decode(), err.decode())

    async def browse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        url = (await reader.read()).decode()
        writer.close()
        try:
            self.trips.append(await walk(url, person=self.person, gateway_url=self.gateway_url))
        except AssertionError as error:
            self.failures.append(error)

    def files(self) -> list[Path]:
        return sorted((self.home / ".fluidmcp" / "oauth").glob("client-*"))


@asynccontextmanager
async def machine_with_browser(home: Path, gateway_url: str) -> AsyncGenerator[Machine]:
    machine = Machine(home, gateway_url)
    server = await asyncio.start_server(machine.browse, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    browser = home / "browser"
    browser.write_text(f"#!{sys.executable}\n{SENDER.format(port=port)}\n")
    browser.chmod(0o700)
    machine.env = {"HOME": str(home), "BROWSER": f"{browser} %s"}
    async with server:
        yield machine


def read_error(done: Finished) -> dict[str, Any]:
    return json.loads(done.stdout)["error"]


async def test_a_login_in_the_browser_is_kept_renewed_and_outlives_the_gateway(tmp_path: Path):
    port = free_port()
    url, env = f"http://localhost:{port}", build_environ()
    with running_oidc_provider(gateway_url=url, access_token_seconds=3600) as provider:
        config = write_config(tmp_path, provider)
        async with machine_with_browser(tmp_path, url) as machine:
            async with start(config, env, port):
                overview = await machine.run("tools")
                refused = await machine.run("call", "mail", "whoami", "--json", "--no-login")
                first = await machine.run("call", "mail", "whoami")
                (file,) = machine.files()
                mode = stat.S_IMODE(file.stat().st_mode)
                second = await machine.run("tools", "mail", "--no-login")
                tokens = json.loads(file.read_text())
                file.write_text(json.dumps({**tokens, "expires_at": "2020-01-01T00:00:00+00:00"}))
                renewed = await machine.run("call", "mail", "whoami", "--no-login")
                fresh = json.loads(file.read_text())
                file.write_text(json.dumps({**fresh, "access_token": "fmcp.nonsense"}))
                replaced = await machine.run("call", "mail", "whoami", "--no-login")
            async with start(config, env, port):
                after = await machine.run("call", "mail", "whoami", "--no-login")
                last = json.loads(file.read_text())
                logout = await spawn("logout", env=machine.env)
                told, warned = await logout.communicate()
                left = machine.files()
                form = {"grant_type": "refresh_token", "resource": f"{url}/mail/mcp"}
                form |= {name: last[name] for name in ("refresh_token", "client_id")}
                async with httpx2.AsyncClient(trust_env=False, timeout=LIMIT_SECONDS) as client:
                    ended = await client.post(last["token_endpoint"], data=form)

    assert overview.code == 0, overview.stderr
    assert "fluidmcp tools mail" in overview.stdout
    assert "  whoami" in overview.stdout.partition("tools\n")[2]
    assert refused.code == 4
    assert read_error(refused)["code"] == "not_logged_in"
    assert first.code == 0, first.stderr
    # The digest of alice's token, that her own process has.
    assert len(first.stdout.strip()) == 64
    assert mode == 0o600
    assert tokens["access_token"] not in first.stdout + first.stderr
    assert second.code == 0, second.stderr
    assert "whoami" in second.stdout
    assert renewed.code == replaced.code == after.code == 0, renewed.stderr + replaced.stderr + after.stderr
    assert fresh["access_token"] != tokens["access_token"]
    assert len(machine.trips) == 1
    assert OUR_CONSENT in machine.trips[0].pages
    assert left == []
    assert told.decode().startswith("Removed 1 of the logins")
    assert warned == b""
    assert (ended.status_code, ended.json()["error"]) == (400, "invalid_grant")


async def test_a_login_that_is_refused_is_an_error_and_nothing_is_kept(tmp_path: Path):
    port = free_port()
    url = f"http://localhost:{port}"
    with running_oidc_provider(gateway_url=url, access_token_seconds=3600) as provider:
        config = write_config(tmp_path, provider)
        async with start(config, build_environ(), port), machine_with_browser(tmp_path, url) as machine:
            given = await spawn(
                "call", "mail", "whoami", "--token-env", "MINE", "--url", url, env=machine.env | {"MINE": "wrong"}
            )
            _, err = await given.communicate()
            nobody = await spawn("call", "mail", "whoami", "--url", url, env={"HOME": str(tmp_path), "BROWSER": ""})
            _, told = await nobody.communicate()

    assert given.returncode == nobody.returncode == 4
    assert "does not accept the token in MINE" in err.decode()
    assert "Nobody can be asked here" in told.decode()
    assert machine.trips == []
    assert not os.path.lexists(tmp_path / ".fluidmcp" / "oauth") or machine.files() == []
