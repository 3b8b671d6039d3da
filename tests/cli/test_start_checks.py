"""What `fluidmcp run` finds out about servers before anybody uses them, and how it says so."""

import json
import signal
import sys
from pathlib import Path
from typing import Any, Final

from tests.acceptance import persons
from tests.acceptance.harness import run_fluidmcp, start_fluidmcp
from tests.acceptance.persons import running_persons

Json = dict[str, Any]

SERVER: Final = Path(__file__).resolve().parent.parent / "servers" / "stdlib_server.py"
GOOD: Final[Json] = {"command": sys.executable, "args": ["-I", str(SERVER)]}
MISSING: Final[Json] = {"command": "no-such-command-7f3a"}
AUTH: Final[Json] = {
    "type": "oauth2",
    "flow": "pkce",
    "authorization_url": "https://accounts.google.com/o/oauth2/v2/auth",
    "token_url": "https://oauth2.googleapis.com/token",
    "scopes": ["mail"],
    "client_id_env": "GOOGLE_CLIENT_ID",
    "env_var_name": "NOTION_TOKEN",
}
PASTE: Final = "Connect a client: fluidmcp connect claude-code"
CLIENT: Final = {"GOOGLE_CLIENT_ID": "id-1"}


def shell(script: str) -> Json:
    return {"command": "sh", "args": ["-c", script]}


def python(code: str) -> Json:
    return {"command": sys.executable, "args": ["-I", "-c", code]}


NEEDING: Final = shell("echo 'Error: NOTION_TOKEN is required' >&2; exit 1")
BROKEN: Final = python("import mcp_server_that_is_not_there")
UNCLEAR: Final = shell("echo 'it went wrong' >&2; exit 1")


def write(folder: Path, **servers: Json) -> str:
    (folder / "config.json").write_text(json.dumps({"mcpServers": servers}))
    return "config.json"


def with_login(**servers: Json) -> Json:
    return {name: server | {"auth": AUTH} for name, server in servers.items()}


async def test_servers_that_start_after_a_login_are_tried_without_one(tmp_path: Path) -> None:
    entries = with_login(good=GOOD, needing=NEEDING, broken=BROKEN, unclear=UNCLEAR)
    config = write(tmp_path, **entries)
    async with start_fluidmcp("run", config, "--start-server", cwd=tmp_path, env=CLIENT) as gateway:
        assert await gateway.stdout.wait_for(" ready") == "3 of 4 ready; not ready: broken (cannot start)"
        stderr = gateway.stderr
        await stderr.wait_for("needing needs a login; without one it said: Error: NOTION_TOKEN is required")
        await stderr.wait_for("Error: The server broken ended before it answered.")
        await stderr.wait_for("  | ModuleNotFoundError: No module named 'mcp_server_that_is_not_there'")
        await stderr.wait_for("Warning: unclear did not start without a login, and it is not clear whether it will")
        await stderr.wait_for("  | it went wrong")
        assert "start of a server process of" not in stderr.text
        assert gateway.stdout.lines[-1].startswith("3 of 4 ready")


async def test_the_table_tells_them_apart_too(tmp_path: Path) -> None:
    entries = with_login(good=GOOD, needing=NEEDING, broken=BROKEN, unclear=UNCLEAR)
    done = await run_fluidmcp("run", write(tmp_path, **entries), cwd=tmp_path, env=CLIENT)
    assert done.code == 0
    status = {
        line.split()[0]: line.partition("/auth/login")[2].split(None, 1)[1] for line in done.stdout.splitlines()[2:]
    }
    assert status == {
        "good": "ok, starts after a login",
        "needing": "ok, needs a login: Error: NOTION_TOKEN is required",
        "broken": "cannot start",
        "unclear": "unclear without a login",
    }
    assert "  | it went wrong" in done.stderr.splitlines()
    assert "needing" not in done.stderr


async def test_a_server_that_no_login_can_mend_ends_the_command_if_it_is_the_only_one(tmp_path: Path) -> None:
    config = write(tmp_path, **with_login(broken=BROKEN))
    for start in ((), ("--start-server",)):
        done = await run_fluidmcp("run", config, *start, cwd=tmp_path, env=CLIENT)
        assert done.code == 1
    assert done.stdout.splitlines()[-1] == "0 of 1 ready; not ready: broken (cannot start)"


async def test_one_that_is_unclear_does_not(tmp_path: Path) -> None:
    config = write(tmp_path, **with_login(unclear=UNCLEAR))
    assert (await run_fluidmcp("run", config, cwd=tmp_path, env=CLIENT)).code == 0
    async with start_fluidmcp("run", config, "--start-server", cwd=tmp_path, env=CLIENT) as gateway:
        assert await gateway.stdout.wait_for(" ready") == "1 of 1 ready"


async def test_one_that_waits_for_a_person_is_usable(tmp_path: Path) -> None:
    config = write(tmp_path, **with_login(waiting=shell("exec sleep 1000")))
    env = {**CLIENT, "FMCP_START_TIMEOUT_SECONDS": "0.5"}
    async with start_fluidmcp("run", config, "--start-server", cwd=tmp_path, env=env) as gateway:
        assert await gateway.stdout.wait_for(" ready") == "1 of 1 ready"
        await gateway.stderr.wait_for("Warning: waiting did not start without a login")


async def test_what_is_tried_has_no_token_and_not_the_operators_home(tmp_path: Path) -> None:
    showing = shell('echo "token: ${NOTION_TOKEN-absent}, home: $HOME" >&2; exit 1')
    config = write(tmp_path, **with_login(showing=showing))
    env = {**CLIENT, "NOTION_TOKEN": "canary-of-somebody", "HOME": str(tmp_path)}
    async with start_fluidmcp("run", config, "--start-server", cwd=tmp_path, env=env) as gateway:
        line = await gateway.stderr.wait_for("token: absent")
        assert str(tmp_path) not in line
        assert "canary" not in gateway.report()


async def test_what_was_tried_in_vain_starts_for_the_first_person_at_once(tmp_path: Path) -> None:
    script = f'[ "$PERSONAL_TOKEN" ] || {{ echo "no PERSONAL_TOKEN" >&2; exit 1; }}; exec {sys.executable} -I {SERVER}'
    async with running_persons() as auth:
        config = write(tmp_path, mail=shell(script) | {"auth": auth})
        starting = start_fluidmcp("run", config, "--start-server", cwd=tmp_path, env=persons.ENVIRONMENT)
        async with starting as gateway:
            await gateway.stdout.wait_for("1 of 1 ready")
            answer = await persons.ask(gateway, "mail", token=persons.token("ada"))
            assert answer["result"]["tools"]


async def test_only_what_can_be_used_is_announced(tmp_path: Path) -> None:
    servers = {
        "good": GOOD,
        "missing": MISSING,
        "locked": MISSING | {"auth": AUTH},
        "far": {"url": "https://a.example"},
    }
    config = write(tmp_path, **servers)
    async with start_fluidmcp("run", config, "--start-server", cwd=tmp_path, env=CLIENT) as gateway:
        await gateway.stdout.wait_for(" ready")
        assert gateway.stdout.lines == [
            "Reading config.json...",
            "Added good endpoints",
            f"Starting FastAPI server on port {gateway.port}",
            f"good answers at http://localhost:{gateway.port}/good/mcp",
            f"{PASTE} good --url {gateway.url}   (or cursor, vscode, codex, ...)",
            f"In a browser: {gateway.url}/",
            next(line for line in gateway.stdout.lines if line.startswith("Isolation of server processes: ")),
            next(line for line in gateway.stdout.lines if line.startswith("good answers after ")),
            "1 of 4 ready; not ready: missing (cannot start), locked (cannot start), far (refused)",
        ]


async def test_a_login_that_cannot_work_is_not_ready(tmp_path: Path) -> None:
    config = write(tmp_path, **with_login(mail=GOOD), good=GOOD)
    async with start_fluidmcp("run", config, "--start-server", cwd=tmp_path) as gateway:
        assert await gateway.stdout.wait_for(" ready") == "1 of 2 ready; not ready: mail (needs GOOGLE_CLIENT_ID)"


async def test_who_stops_before_the_checks_have_ended_is_told_nothing_of_them(tmp_path: Path) -> None:
    config = write(tmp_path, **with_login(waiting=shell("exec sleep 1000")), good=GOOD)
    async with start_fluidmcp("run", config, "--start-server", cwd=tmp_path, env=CLIENT) as gateway:
        assert await gateway.stop(with_signal=signal.SIGTERM) == 0
    assert " ready" not in gateway.stdout.text


async def test_a_guarded_gateway_tries_more_servers_than_one_person_may_have(tmp_path: Path) -> None:
    config = write(tmp_path, **{f"server{number}": GOOD for number in range(4)})
    guard = ("--secure", "--token", "canary-of-the-guard")
    env = {"FMCP_MAX_PROCESSES_PER_PRINCIPAL": "1", "FMCP_MAX_PROCESSES": "2"}
    async with start_fluidmcp("run", config, "--start-server", *guard, cwd=tmp_path, env=env) as gateway:
        assert await gateway.stdout.wait_for(" ready") == "4 of 4 ready"


async def test_a_check_that_hangs_does_not_keep_the_others_from_being_tried(tmp_path: Path) -> None:
    config = write(tmp_path, hanging=shell("exec sleep 1000"), good=GOOD)
    guard = ("--secure", "--token", "canary-of-the-guard")
    env = {"FMCP_MAX_PROCESSES_PER_PRINCIPAL": "1"}
    async with start_fluidmcp("run", config, "--start-server", *guard, cwd=tmp_path, env=env) as gateway:
        await gateway.stderr.wait_for("good answers", limit_seconds=90)
        assert "Error:" not in gateway.stderr.text
