"""`fluidmcp logout`, `status` and `token`: several processes, killed processes, broken and planted files."""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.background import BackgroundTask
from starlette.responses import JSONResponse, Response

from fluidmcp.config.secret import Secret
from fluidmcp.operator.token_file import StoredLogin, TokenFile
from tests.acceptance.harness import BIN, environment, run_fluidmcp
from tests.cli.login_process import (
    DOCUMENTED,
    let_it_expire,
    log_in_person,
    settings,
    stored,
)
from tests.providers.fault_making import FaultMakingProvider, token_document
from tests.providers.oidc import OidcProvider, running_oidc_provider
from tests.providers.serving import serve

needs_provider = pytest.mark.needs("node", "oidc-provider")


@pytest.fixture(scope="module")
def provider() -> Iterator[OidcProvider]:
    with running_oidc_provider() as running:
        yield running


@pytest.mark.promise(53)
@pytest.mark.parametrize("command", ["status", "token"])
async def test_not_logged_in_says_what_to_run(command: str, tmp_path: Path) -> None:
    done = await run_fluidmcp(command, env={"HOME": str(tmp_path), **DOCUMENTED})
    assert (done.code, done.stdout) == (1, "")
    assert done.stderr.splitlines() == ["Error: Not logged in", "  Do: Run `fluidmcp login`"]


@needs_provider
@pytest.mark.promise(54)
@pytest.mark.threat("C12")
async def test_c12_a_dead_refresh_token_fails_once_with_the_remedy(provider: OidcProvider, tmp_path: Path) -> None:
    env = settings(provider, tmp_path)
    TokenFile(tmp_path).save(
        StoredLogin(access_token=Secret("at"), refresh_token=Secret("dead"), expires_at=1.0, obtained_at=0.0)
    )
    before = await provider.count_token_requests()
    for _ in range(2):
        done = await run_fluidmcp("token", env=env)
        assert (done.code, done.stdout) == (1, "")
        assert "Error: Token refresh failed" in done.stderr.splitlines()
        assert done.stderr.splitlines()[-1] == "  Do: Run `fluidmcp logout` and then `fluidmcp login`"
    assert await provider.count_token_requests() == before + 1
    assert "refused" in (await run_fluidmcp("status", env=env)).stdout


@needs_provider
@pytest.mark.promise(39)
@pytest.mark.threat("C10")
async def test_c10_ten_processes_at_once_make_one_token_request_and_all_get_the_new_token(
    provider: OidcProvider, tmp_path: Path
) -> None:
    env = settings(provider, tmp_path)
    await log_in_person(env)
    let_it_expire(tmp_path)
    before = await provider.count_token_requests()
    results = await asyncio.gather(*(run_fluidmcp("token", env=env) for _ in range(10)))
    assert {result.code for result in results} == {0}, results
    assert await provider.count_token_requests() == before + 1
    assert {result.stdout for result in results} == {stored(tmp_path)["access_token"] + "\n"}
    # The provider did not see the old refresh token twice, which would have ended the login.
    let_it_expire(tmp_path)
    assert (await run_fluidmcp("token", env=env)).code == 0


@pytest.mark.threat("C11")
async def test_c11_a_process_that_is_killed_while_it_refreshes_leaves_the_old_file_or_the_new_one(
    tmp_path: Path,
) -> None:
    """Killed at the worst time: the provider has answered, the file has not been written."""
    server = FaultMakingProvider()
    processes: list[asyncio.subprocess.Process] = []
    killed = asyncio.Event()

    def answer(_form: dict[str, str]) -> Response:
        if not killed.is_set():
            # Stopped, it gets the answer and cannot read on; then it is killed.
            processes[0].send_signal(signal.SIGSTOP)
        document = token_document(access_token="at-new", refresh_token="rt-new")
        return JSONResponse(document, background=BackgroundTask(kill))

    async def kill() -> None:
        """The answer has been sent."""
        if not killed.is_set():
            processes[0].kill()
            killed.set()

    server.answer_token = answer
    async with serve(server.app) as url:
        env = {"HOME": str(tmp_path), **DOCUMENTED, "FMCP_OAUTH_TOKEN_ENDPOINT": f"{url}/token"}
        TokenFile(tmp_path).save(
            StoredLogin(access_token=Secret("at"), refresh_token=Secret("rt"), expires_at=1.0, obtained_at=0.0)
        )
        before = stored(tmp_path)
        processes.append(
            await asyncio.create_subprocess_exec(
                str(BIN / "fluidmcp"), "token", env=environment(env), stdout=asyncio.subprocess.DEVNULL
            )
        )
        async with asyncio.timeout(60):
            await killed.wait()
            assert await processes[0].wait() == -signal.SIGKILL
        assert stored(tmp_path) == before
        done = await run_fluidmcp("token", env=env)
        assert done.stdout == "at-new\n"
    assert stored(tmp_path)["refresh_token"] == "rt-new"


WRITE_FOR_EVER = """
import itertools, sys
from pathlib import Path
from fluidmcp.operator.token_file import StoredLogin, TokenFile
from fluidmcp.config.secret import Secret

token_file = TokenFile(Path(sys.argv[1]))
for number in itertools.count():
    text = Secret(str(number % 10) * 4000)
    token_file.save(StoredLogin(access_token=text, refresh_token=text))
    if number == 3:
        print("writing", flush=True)
"""


@pytest.mark.threat("C11")
async def test_c11_whoever_reads_while_others_write_or_are_killed_sees_a_whole_file(tmp_path: Path) -> None:
    for _ in range(3):
        writer = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WRITE_FOR_EVER, str(tmp_path), stdout=asyncio.subprocess.PIPE
        )
        assert writer.stdout is not None
        assert await writer.stdout.readline() == b"writing\n"
        for is_alive in [*[True] * 1000, False]:
            if not is_alive:
                writer.kill()
                await writer.wait()
            document = stored(tmp_path)
            assert document["access_token"] == document["refresh_token"] == document["access_token"][0] * 4000
    TokenFile(tmp_path).save(StoredLogin(access_token=Secret("last")))
    assert os.listdir(tmp_path / ".fluidmcp/oauth") == ["tokens.json"]


@pytest.mark.promise(21)
@pytest.mark.threat("C14")
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"FMCP_OAUTH_REVOCATION_ENDPOINT": "http://127.0.0.1:9/revoke", "FMCP_OAUTH_CLIENT_ID": "cli"},
        {"FMCP_OAUTH_ISSUER": "http://127.0.0.1:9", "FMCP_OAUTH_CLIENT_ID": "cli"},
        {"FMCP_OAUTH_ISSUER": "not an address"},
    ],
    ids=["nothing set", "offline", "discovery offline", "wrong settings"],
)
async def test_c14_logout_always_removes_the_file(tmp_path: Path, more: dict[str, str]) -> None:
    TokenFile(tmp_path).save(StoredLogin(access_token=Secret("canary-at"), refresh_token=Secret("canary-rt")))
    done = await run_fluidmcp("logout", env={"HOME": str(tmp_path), **more})
    assert done.code == 0
    assert done.stdout == "Logged out.\n"
    assert done.stderr.startswith("Warning: The provider")
    assert not TokenFile(tmp_path).path.exists()
    assert "canary" not in done.stderr


@pytest.mark.threat("C09", "C14")
async def test_c09_a_broken_file_is_no_login_and_logout_removes_it(tmp_path: Path) -> None:
    token_file = TokenFile(tmp_path)
    token_file.save(StoredLogin(access_token=Secret("a")))
    token_file.path.write_bytes(b'{"access_token"')
    for command in ("status", "token"):
        done = await run_fluidmcp(command, env={"HOME": str(tmp_path), **DOCUMENTED})
        assert done.code == 1
        assert "Error: Not logged in" in done.stderr and "Traceback" not in done.stderr
    assert token_file.path.read_bytes() == b'{"access_token"'
    assert (await run_fluidmcp("logout", env={"HOME": str(tmp_path)})).stdout == "Logged out.\n"
    assert not token_file.path.exists()


@pytest.mark.threat("C08")
@pytest.mark.parametrize("command", ["login", "status", "token"])
async def test_c08_a_planted_file_stops_every_command(tmp_path: Path, command: str) -> None:
    token_file = TokenFile(tmp_path)
    token_file.save(StoredLogin(access_token=Secret("a")))
    token_file.path.unlink()
    token_file.path.symlink_to("/etc/hostname")
    done = await run_fluidmcp(command, env={"HOME": str(tmp_path), **DOCUMENTED})
    assert (done.code, done.stdout) == (2, "")
    assert "cannot be trusted" in done.stderr


@pytest.mark.threat("C15")
async def test_c15_the_token_of_the_environment_is_never_printed(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), **DOCUMENTED, "FMCP_OAUTH_ACCESS_TOKEN": "canary-token", "FMCP_LOG_LEVEL": "debug"}
    token = await run_fluidmcp("token", env=env)
    assert (token.code, token.stdout) == (2, "")
    status = await run_fluidmcp("status", env=env)
    assert status.code == 0
    assert "FMCP_OAUTH_ACCESS_TOKEN is set" in status.stdout
    assert "canary" not in token.stderr + status.stdout + status.stderr
    assert not (tmp_path / ".fluidmcp").exists()
