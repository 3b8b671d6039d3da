"""`fluidmcp run --oauth` and `--secure` as a child process: what they print, whom they let in, what they refuse."""

import json
import os
import re
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import httpx2
import pytest

from tests.acceptance.harness import Finished, RunningGateway, run_fluidmcp, start_fluidmcp
from tests.cli.test_run import AUTH, CLIENT, GOOD, TOOLS_LIST, install, read_error

ENDPOINTS: Final = {
    "FMCP_OAUTH_AUTH_ENDPOINT": "https://id.example.com/authorize",
    "FMCP_OAUTH_TOKEN_ENDPOINT": "https://id.example.com/token",
    "FMCP_OAUTH_CLIENT_ID": "client-1",
}
OWN: Final = "canary-operator-token"
MANUAL: Final = {"FMCP_OAUTH_ACCESS_TOKEN": OWN}
SERVE: Final = ("run", "mypackage", "--start-server")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working directory, which is HOME too: nobody is logged in there."""
    install(tmp_path, "ann/mypackage@1.0.0", mypackage=GOOD)
    return tmp_path


def at(folder: Path, env: Mapping[str, str] | None = None) -> dict[str, str]:
    return {"HOME": str(folder), **(env or {})}


async def serve_and_fail(folder: Path, *options: str, env: Mapping[str, str] | None = None) -> Finished:
    return await run_fluidmcp(*SERVE, *options, cwd=folder, env=at(folder, env))


async def list_tools(gateway: RunningGateway, token: str | None, package: str = "mypackage") -> int:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
        reply = await client.post(f"{gateway.url}/{package}/mcp", json=TOOLS_LIST, headers=headers)
    assert reply.status_code != 200 or reply.json()["result"]["tools"]
    return reply.status_code


# --secure


@pytest.mark.promise(44, 46)
async def test_secure_makes_a_token_and_shows_it_once(folder: Path):
    async with start_fluidmcp(*SERVE, "--secure", cwd=folder, env=at(folder, {"FMCP_LOG_LEVEL": "debug"})) as gateway:
        line = await gateway.stdout.wait_for("shown only here")
        token = line.rpartition(" ")[2]
        assert re.fullmatch(r"[A-Za-z0-9_-]{43}", token)
        assert [await list_tools(gateway, given) for given in (token, None, token[:-1], token + "x")] == [
            *(200, 401, 401, 401)
        ]
        again = await gateway.stdout.wait_for("Try: curl")
        assert "Authorization: Bearer YOUR_TOKEN" in again
        assert await gateway.stop() == 0
    assert gateway.report().count(token) == 1


@pytest.mark.promise(45)
@pytest.mark.parametrize(
    ("options", "env"),
    [
        (("--token", "a-token-of-our-own"), {"FMCP_SECURE_TOKEN": "not-this-one-at-all"}),
        ((), {"FMCP_SECURE_TOKEN": "a-token-of-our-own"}),
    ],
    ids=["option", "variable"],
)
async def test_secure_takes_a_token_and_does_not_print_it(folder: Path, options: tuple[str, ...], env: dict[str, str]):
    async with start_fluidmcp(*SERVE, "--secure", *options, cwd=folder, env=at(folder, env)) as gateway:
        assert await list_tools(gateway, "a-token-of-our-own") == 200
        assert await list_tools(gateway, "not-this-one-at-all") == 401
        await gateway.stdout.wait_for("Try: curl")
        command_line = Path(f"/proc/{gateway.pid}/cmdline").read_bytes()
        assert (b"a-token-of-our-own" in command_line) == bool(options), "what the help says of --token"
    assert "a-token-of-our-own" not in gateway.report()


async def test_a_token_that_can_be_guessed_gets_a_warning(folder: Path):
    async with start_fluidmcp(*SERVE, "--secure", "--token", "secret", cwd=folder, env=at(folder)) as gateway:
        await gateway.stderr.wait_for("Warning: the token is shorter than 16 characters")
        assert await list_tools(gateway, "secret") == 200


@pytest.mark.promise(47)
@pytest.mark.parametrize("env", [{}, MANUAL])
async def test_secure_and_oauth_together_are_refused(folder: Path, env: dict[str, str]):
    done = await serve_and_fail(folder, "--secure", "--oauth", env=env)
    _, why, _ = read_error(done)
    assert why == "--oauth and --secure cannot be used together: choose one of them."
    assert "Starting" not in done.stdout


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (("--token", "canary-token-canary"), "--token belongs to --secure, which is not given"),
        (("--secure", "--token", "canary two"), "--token must be 1 to 8192 characters of printable ASCII"),
        (("--secure", "--token", ""), "--token must be 1 to 8192 characters of printable ASCII"),
        (("--secure", "--token", "canarÿ"), "--token must be 1 to 8192 characters of printable ASCII"),
    ],
)
async def test_a_token_that_cannot_be_used_is_refused(folder: Path, options: tuple[str, ...], fault: str):
    done = await serve_and_fail(folder, *options)
    _, why, _ = read_error(done)
    assert why.startswith(fault)
    assert "canar" not in done.stderr


# --oauth: what it needs


@pytest.mark.promise(52)
@pytest.mark.parametrize("missing", [tuple(ENDPOINTS), ("FMCP_OAUTH_TOKEN_ENDPOINT",), ("FMCP_OAUTH_CLIENT_ID",)])
@pytest.mark.parametrize("mode", [("--start-server",), ()], ids=["serve", "check"])
async def test_oauth_without_its_variables_names_those_that_are_missing(
    folder: Path, missing: tuple[str, ...], mode: tuple[str, ...]
):
    env = {name: value for name, value in ENDPOINTS.items() if name not in missing}
    done = await run_fluidmcp("run", "mypackage", *mode, "--oauth", cwd=folder, env=at(folder, env))
    what, why, _ = read_error(done)
    assert done.stderr.startswith("Error: OAuth2 is not configured\n")
    assert what == "OAuth2 is not configured"
    assert why == f"Not set: {', '.join(missing)}."


@pytest.mark.promise(19, 53)
async def test_oauth_without_a_login_says_to_log_in(folder: Path):
    done = await serve_and_fail(folder, "--oauth", env=ENDPOINTS)
    assert done.code != 0
    assert done.stderr.startswith("Error: Not logged in\n")
    assert "Run `fluidmcp login`" in done.stderr
    assert "Starting" not in done.stdout
    assert "Traceback" not in done.stderr


async def test_oauth_with_a_login_that_is_over_says_to_log_in(folder: Path):
    store_login(folder, expires_at="2020-01-01T00:00:00+00:00")
    done = await serve_and_fail(folder, "--oauth", env=ENDPOINTS)
    assert done.code != 0
    assert done.stderr.startswith("Error: Not logged in\n")


@pytest.mark.parametrize(
    ("env", "named"),
    [
        ({"FMCP_OAUTH_VALIDATION": "jwt"}, "FMCP_OAUTH_ISSUER"),
        ({"FMCP_OAUTH_VALIDATION": "introspection"}, "FMCP_OAUTH_INTROSPECTION_ENDPOINT"),
        ({"FMCP_OAUTH_VALIDATION": "userinfo"}, "FMCP_OAUTH_USERINFO_ENDPOINT"),
        ({"FMCP_OAUTH_VALIDATION": "anything"}, "FMCP_OAUTH_VALIDATION"),
        ({"FMCP_OAUTH_TOKEN_ENDPOINT": "http://id.example.com/token"}, "FMCP_OAUTH_TOKEN_ENDPOINT"),
    ],
)
async def test_oauth_with_which_nothing_can_be_checked_does_not_start(folder: Path, env: dict[str, str], named: str):
    done = await serve_and_fail(folder, "--oauth", env=MANUAL | env)
    _, why, _ = read_error(done)
    assert named in why
    assert "Starting" not in done.stdout


# --oauth: who gets in


@pytest.mark.promise(1, 4, 18, 19, 22, 23, 24, 25)
async def test_the_token_in_the_environment_is_all_that_manual_mode_needs(folder: Path):
    async with start_fluidmcp(*SERVE, "--oauth", cwd=folder, env=at(folder, MANUAL)) as gateway:
        assert [await list_tools(gateway, given) for given in (OWN, None, "aaaaaaaaaa", OWN + "x")] == [
            *(200, 401, 401, 401)
        ]
        line = await gateway.stdout.wait_for("Try: curl")
        assert "Bearer $FMCP_OAUTH_ACCESS_TOKEN" in line
        assert gateway.stdout.lines[:3] == [
            "Reading metadata.json...",
            "Added mypackage endpoints",
            f"Starting FastAPI server on port {gateway.port}",
        ]
        assert gateway.stdout.lines[3:5] == ["Accepts: the operator's own token", "Lets in: the operator alone"]
    assert OWN not in gateway.report()
    assert not (folder / ".fluidmcp").exists()


@pytest.mark.promise(1, 3, 18)
async def test_the_token_of_a_login_opens_the_gateway(folder: Path):
    store_login(folder, expires_at="2099-01-01T00:00:00+00:00")
    async with start_fluidmcp(*SERVE, "--oauth", cwd=folder, env=at(folder, ENDPOINTS)) as gateway:
        assert await list_tools(gateway, OWN) == 200
        assert await list_tools(gateway, None) == 401
        assert "Bearer $(fluidmcp token)" in await gateway.stdout.wait_for("Try: curl")


@pytest.mark.threat("D10")
async def test_d10_a_login_that_ended_while_the_gateway_runs_opens_it_no_more(folder: Path):
    store_login(folder, expires_at="2099-01-01T00:00:00+00:00")
    async with start_fluidmcp(*SERVE, "--oauth", cwd=folder, env=at(folder, ENDPOINTS)) as gateway:
        assert await list_tools(gateway, OWN) == 200
        store_login(folder, expires_at="2020-01-01T00:00:00+00:00")
        assert await list_tools(gateway, OWN) == 401


@pytest.mark.promise(42)
async def test_without_the_flag_the_settings_of_a_provider_guard_nothing(folder: Path):
    async with start_fluidmcp(*SERVE, cwd=folder, env=at(folder, ENDPOINTS | MANUAL)) as gateway:
        assert await list_tools(gateway, None) == 200
    assert "Try: curl" not in gateway.stdout.text


async def test_a_package_with_its_own_login_is_called_with_two_headers(folder: Path):
    install(folder, "ann/mail@1.0.0", mail=GOOD | {"auth": AUTH})
    env = at(folder, MANUAL | CLIENT)
    async with start_fluidmcp("run", "mail", "--start-server", "--oauth", cwd=folder, env=env) as gateway:
        line = await gateway.stdout.wait_for("Try: curl")
        assert '-H "X-FluidMCP-Authorization: Bearer $FMCP_OAUTH_ACCESS_TOKEN"' in line
        await gateway.stdout.wait_for("where a package has its own login: mail")
        async with httpx2.AsyncClient(trust_env=False, timeout=60, base_url=gateway.url) as client:
            assert (await client.get("/mail/auth/login")).is_redirect
            only_gateway = await client.post("/mail/mcp", headers={"X-FluidMCP-Authorization": f"Bearer {OWN}"})
            assert only_gateway.json()["login_url"] == f"{gateway.url}/mail/auth/login"
            only_package = await client.post("/mail/mcp", headers={"Authorization": f"Bearer {OWN}"})
            assert "X-FluidMCP-Authorization" in only_package.json()["hint"]


# Other machines


@pytest.mark.promise(49)
@pytest.mark.parametrize(
    ("options", "env", "token"), [(("--secure",), {"FMCP_SECURE_TOKEN": OWN}, OWN), (("--oauth",), MANUAL, OWN)]
)
async def test_a_guarded_gateway_may_be_open_to_other_machines_and_wants_https(
    folder: Path, options: tuple[str, ...], env: dict[str, str], token: str
):
    async with start_fluidmcp(*SERVE, *options, "--host", "0.0.0.0", cwd=folder, env=at(folder, env)) as gateway:
        assert await list_tools(gateway, token) == 200
        assert await list_tools(gateway, None) == 401
        await gateway.stderr.wait_for("Warning: tokens cross the network unencrypted")
    _, why, _ = read_error(await serve_and_fail(folder, *options, "--public-url", "http://tools.example.com", env=env))
    assert "--public-url must begin with https://" in why


async def test_an_exposed_gateway_must_be_told_who_may_use_it(folder: Path):
    env = MANUAL | {
        "FMCP_OAUTH_INTROSPECTION_ENDPOINT": "https://id.example.com/introspect",
        "FMCP_OAUTH_CLIENT_ID": "client-1",
    }
    for exposing in (("--host", "0.0.0.0"), ("--public-url", "https://tools.example.com")):
        what, _, hint = read_error(await serve_and_fail(folder, "--oauth", *exposing, env=env))
        assert what == "Nobody said who may use the gateway."
        assert "FMCP_OAUTH_ALLOWED_SUBJECTS" in hint


async def test_a_guarded_gateway_ends_as_quickly_as_any_other(folder: Path):
    store_login(folder, expires_at="2099-01-01T00:00:00+00:00")
    async with start_fluidmcp(*SERVE, "--oauth", cwd=folder, env=at(folder, ENDPOINTS)) as gateway:
        assert await list_tools(gateway, OWN) == 200
        assert await gateway.stop(with_signal=signal.SIGINT) == 130
    assert "Traceback" not in gateway.stderr.text


def store_login(folder: Path, *, expires_at: str) -> None:
    """What `fluidmcp login` would have left, without a refresh token."""
    place = folder / ".fluidmcp" / "oauth"
    place.mkdir(parents=True, mode=0o700, exist_ok=True)
    for directory in (place.parent, place):
        directory.chmod(0o700)
    fresh = place / "fresh.json"
    fresh.touch(mode=0o600)
    fresh.write_text(json.dumps({"access_token": OWN, "expires_at": expires_at}), encoding="utf-8")
    os.replace(fresh, place / "tokens.json")
