"""`fluidmcp login` as a person runs it, against the real `oidc-provider`."""

import asyncio
import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from starlette.responses import JSONResponse

from tests.acceptance.harness import free_port, run_fluidmcp
from tests.cli.login_process import (
    DOCUMENTED,
    NO_SCREEN,
    let_it_expire,
    log_in_person,
    settings,
    start_login,
    stored,
    visit,
)
from tests.providers.fault_making import FaultMakingProvider, query_of, token_document
from tests.providers.oidc import OidcProvider, log_in, running_oidc_provider
from tests.providers.serving import serve

needs_provider = pytest.mark.needs("node", "oidc-provider")


@pytest.fixture(scope="module")
def provider() -> Iterator[OidcProvider]:
    with running_oidc_provider() as running:
        yield running


@needs_provider
@pytest.mark.promise(2, 3, 14, 15, 16, 17, 21, 30, 31, 32, 33, 34, 41, 60, 61)
async def test_the_documented_commands_log_in_refresh_and_log_out(provider: OidcProvider, tmp_path: Path) -> None:
    opened = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf "%s" "$1" > {opened}.part && mv {opened}.part {opened}\n')
    browser.chmod(0o755)
    env = settings(provider, tmp_path, BROWSER=str(browser))

    done = await log_in_person(env)
    assert done.code == 0, done
    assert "Logged in as alice@example.org (subject alice)." in done.stdout
    assert str(tmp_path / ".fluidmcp/oauth/tokens.json") in done.stdout
    assert opened.read_text() in done.stdout
    first = stored(tmp_path)
    assert {"access_token", "refresh_token", "expires_at"} <= first.keys()
    assert first["access_token"] not in done.stdout + done.stderr
    assert (tmp_path / ".fluidmcp/oauth/tokens.json").stat().st_mode & 0o777 == 0o600

    status = await run_fluidmcp("status", env=env)
    assert status.code == 0
    assert "alice@example.org" in status.stdout and "openid email" in status.stdout
    assert first["access_token"] not in status.stdout and first["refresh_token"] not in status.stdout

    assert (await run_fluidmcp("token", env=env)).stdout == first["access_token"] + "\n"
    let_it_expire(tmp_path)
    fresh = await run_fluidmcp("token", env=env)
    assert fresh.code == 0
    second = stored(tmp_path)
    assert fresh.stdout == second["access_token"] + "\n" != first["access_token"] + "\n"
    assert second["refresh_token"] != first["refresh_token"]

    env["FMCP_OAUTH_REVOCATION_ENDPOINT"] = provider.revocation_url
    out = await run_fluidmcp("logout", env=env)
    assert (out.code, out.stderr) == (0, "")
    assert out.stdout.splitlines() == ["Logged out.", "The provider revoked the tokens."]
    assert os.listdir(tmp_path / ".fluidmcp/oauth") == ["tokens.lock"]
    again = await run_fluidmcp("logout", env=env)
    assert (again.code, again.stdout) == (0, "Not logged in; there was nothing to remove.\n")


@needs_provider
async def test_an_issuer_is_enough(provider: OidcProvider, tmp_path: Path) -> None:
    env = settings(provider, tmp_path, FMCP_OAUTH_ISSUER=provider.issuer)
    del env["FMCP_OAUTH_AUTH_ENDPOINT"], env["FMCP_OAUTH_TOKEN_ENDPOINT"]
    assert (await log_in_person(env)).code == 0
    assert stored(tmp_path)["token_endpoint"] == provider.token_url
    let_it_expire(tmp_path)
    assert (await run_fluidmcp("token", env=env)).code == 0
    out = await run_fluidmcp("logout", env=env)
    assert "The provider revoked the tokens." in out.stdout


@pytest.mark.promise(5, 6, 7, 52)
@pytest.mark.parametrize("name", sorted(DOCUMENTED))
@pytest.mark.parametrize("arguments", [["login"], ["login", "--no-browser"]], ids=" ".join)
async def test_a_missing_variable_is_named_and_no_other(name: str, arguments: list[str], tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), **{other: value for other, value in DOCUMENTED.items() if other != name}}
    done = await run_fluidmcp(*arguments, env=env)
    assert done.code == 2
    first, why, hint = done.stderr.splitlines()
    assert first == "Error: OAuth2 is not configured"
    assert why == f"  Why: Not set: {name}."
    assert hint.startswith("  Do: ")


@needs_provider
@pytest.mark.threat("C02")
async def test_c02_somebody_on_the_port_stops_the_login_before_anything_opens(
    provider: OidcProvider, tmp_path: Path
) -> None:
    port = free_port()
    browser = tmp_path / "browser"
    browser.write_text(f"#!/bin/sh\ntouch {tmp_path}/opened\n")
    browser.chmod(0o755)
    env = settings(
        provider, tmp_path, BROWSER=str(browser), FMCP_OAUTH_REDIRECT_URI=f"http://localhost:{port}/callback"
    )
    with socket.create_server(("127.0.0.1", port)):
        done = await run_fluidmcp("login", env=env)
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.splitlines()[0] == f"Error: Port {port} is in use"
    assert f"(process {os.getpid()})" in done.stderr
    assert "FMCP_OAUTH_REDIRECT_URI" in done.stderr
    assert not (tmp_path / "opened").exists()
    assert not (tmp_path / ".fluidmcp").exists()


@pytest.mark.promise(8)
async def test_the_default_redirect_address_is_listened_at(tmp_path: Path) -> None:
    """Or it says that the documented port is taken, where it is."""
    env = {"HOME": str(tmp_path), **DOCUMENTED, **NO_SCREEN}
    async with start_login(env=env) as login:
        printed = asyncio.create_task(login.address())
        ended = asyncio.create_task(login.process.wait())
        await asyncio.wait({printed, ended}, return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        await asyncio.wait({printed, ended})
        if printed.exception() is None:
            assert query_of(await login.address())["redirect_uri"] == "http://localhost:8088/callback"
            ports = {c.laddr.port for c in psutil.Process(login.process.pid).net_connections() if c.status == "LISTEN"}
            assert ports == {8088}
        else:
            assert "Port 8088 is in use" in (await login.finish()).stderr


@needs_provider
@pytest.mark.promise(22, 55)
async def test_without_a_browser_the_address_is_printed_and_can_be_pasted_back(
    provider: OidcProvider, tmp_path: Path
) -> None:
    """As over ssh: the browser is elsewhere, and cannot reach the listener."""
    env = settings(provider, tmp_path)
    async with start_login(env=env, stdin=asyncio.subprocess.PIPE) as login:
        callback = await log_in(await login.address(), person="bob", until=env["FMCP_OAUTH_REDIRECT_URI"])
        assert login.process.stdin is not None
        login.process.stdin.write(b"what?\n" + callback.encode() + b"\n")
        done = await login.finish()
    assert done.code == 0, done
    assert "paste the whole address" in done.stderr
    assert stored(tmp_path)["subject"] == "bob"


@needs_provider
@pytest.mark.promise(55)
@pytest.mark.parametrize("command", ["/nonexistent/browser", "false", "sleep 600"])
async def test_a_browser_that_does_not_open_leaves_the_printed_address(
    provider: OidcProvider, tmp_path: Path, command: str
) -> None:
    done = await log_in_person(settings(provider, tmp_path, BROWSER=command))
    assert done.code == 0


@needs_provider
@pytest.mark.threat("C06")
async def test_c06_the_browser_is_started_without_a_shell(provider: OidcProvider, tmp_path: Path) -> None:
    """`&` and `;` in the address and in the variables reach no shell."""
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf "%s\\n" "$#" "$1" > {tmp_path}/arguments\n')
    browser.chmod(0o755)
    env = settings(provider, tmp_path, BROWSER=str(browser), FMCP_OAUTH_EXTRA_AUTH_PARAMS="x=;touch+canary;&y=`id`")
    await log_in_person(env)
    count, address = (tmp_path / "arguments").read_text().splitlines()
    assert count == "1"
    assert query_of(address)["x"] == ";touch canary;"
    assert not (tmp_path / "canary").exists()


@pytest.mark.threat("C06")
async def test_c06_an_address_that_is_a_command_is_refused(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), **DOCUMENTED, "FMCP_OAUTH_AUTH_ENDPOINT": "$(calc)"}
    done = await run_fluidmcp("login", env=env)
    assert done.code == 2
    assert "FMCP_OAUTH_AUTH_ENDPOINT" in done.stderr and "calc" not in done.stderr


@needs_provider
@pytest.mark.promise(63)
@pytest.mark.threat("C03", "C16")
async def test_a_refusal_at_the_provider_is_told_without_its_escapes(provider: OidcProvider, tmp_path: Path) -> None:
    env = settings(provider, tmp_path)
    async with start_login(env=env) as login:
        state = query_of(await login.address())["state"]
        base = env["FMCP_OAUTH_REDIRECT_URI"]
        assert (await visit(f"{base}?error=access_denied&state=wrong")).status_code == 400
        page = await visit(f"{base}?error=access_denied&error_description=%1b%5b31mno%1b%5b0m%0d%0ax&state={state}")
        assert page.status_code == 400
        done = await login.finish()
    assert done.code == 1
    assert done.stderr.splitlines()[:2] == [
        "Error: The provider did not complete the login",
        "  Why: It said access_denied: no x",
    ]
    assert not (tmp_path / ".fluidmcp" / "oauth" / "tokens.json").exists()


@needs_provider
@pytest.mark.threat("C18")
async def test_c18_a_login_without_a_refresh_token_says_what_the_provider_wants(tmp_path: Path) -> None:
    server = FaultMakingProvider()
    server.answer_token = lambda _form: JSONResponse(token_document(refresh_token=None))
    async with serve(server.app) as url:
        port = free_port()
        env = {
            "HOME": str(tmp_path),
            **NO_SCREEN,
            "FMCP_OAUTH_AUTH_ENDPOINT": f"{url}/authorize",
            "FMCP_OAUTH_TOKEN_ENDPOINT": f"{url}/token",
            "FMCP_OAUTH_CLIENT_ID": "cli",
            "FMCP_OAUTH_REDIRECT_URI": f"http://127.0.0.1:{port}/callback",
        }
        async with start_login(env=env) as login:
            state = query_of(await login.address())["state"]
            assert (await visit(f"http://127.0.0.1:{port}/callback?code=c&state={state}")).status_code == 200
            done = await login.finish()
    assert done.code == 0
    assert done.stderr.startswith("Warning: the provider gave no refresh token")
    assert "offline_access" in done.stderr


@needs_provider
async def test_ctrl_c_ends_a_waiting_login(provider: OidcProvider, tmp_path: Path) -> None:
    async with start_login(env=settings(provider, tmp_path)) as login:
        await login.address()
        login.process.send_signal(signal.SIGINT)
        done = await login.finish()
    assert (done.code, done.stderr) == (130, "")


@needs_provider
@pytest.mark.threat("B29", "B37")
async def test_debug_logs_and_the_process_list_show_nothing_secret(provider: OidcProvider, tmp_path: Path) -> None:
    env = settings(provider, tmp_path, FMCP_LOG_LEVEL="debug")
    async with start_login(env=env) as login:
        callback = await log_in(await login.address(), person="alice", until=env["FMCP_OAUTH_REDIRECT_URI"])
        command_line = " ".join(psutil.Process(login.process.pid).cmdline())
        await visit(callback)
        done = await login.finish()
    let_it_expire(tmp_path)
    token = await run_fluidmcp("token", env=env)
    assert token.code == 0
    secrets = {query_of(callback)["code"], stored(tmp_path)["access_token"], stored(tmp_path)["refresh_token"]}
    seen = done.stdout + done.stderr + token.stderr + command_line
    assert [secret for secret in secrets if secret in seen] == []
    assert re.search(r"\bstate=", done.stderr) is None


@pytest.mark.parametrize("command", ["login", "logout", "status", "token"])
async def test_each_command_has_help(command: str) -> None:
    done = await run_fluidmcp(command, "--help")
    assert done.code == 0
    assert f"Usage: fluidmcp {command}" in done.stdout


async def test_two_ways_to_do_without_a_browser_are_not_mixed(tmp_path: Path) -> None:
    done = await run_fluidmcp("login", "--device", "--no-browser", env={"HOME": str(tmp_path), **DOCUMENTED})
    assert done.code == 2
