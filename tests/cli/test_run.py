"""`fluidmcp run` as a child process: what it prints, what it serves, and how it answers mistakes."""

import base64
import json
import signal
import sys
from pathlib import Path

import httpx2
import pytest

from tests.acceptance.harness import (
    Finished,
    RunningGateway,
    free_port,
    run_fluidmcp,
    start_fluidmcp,
    start_on_documented_ports,
)

SERVER = Path(__file__).resolve().parent.parent / "servers" / "stdlib_server.py"
GOOD = {"command": sys.executable, "args": ["-I", str(SERVER)]}
DYING = {"command": "sh", "args": ["-c", "echo first >&2; echo 'no config found' >&2; exit 3"]}
MISSING = {"command": "no-such-command-7f3a"}
AUTH = {
    "type": "oauth2",
    "flow": "pkce",
    "authorization_url": "https://accounts.google.com/o/oauth2/v2/auth",
    "token_url": "https://oauth2.googleapis.com/token",
    "scopes": ["https://www.googleapis.com/auth/gmail.readonly"],
    "client_id_env": "GOOGLE_CLIENT_ID",
    "client_secret_env": "GOOGLE_CLIENT_SECRET",
    "env_var_name": "GMAIL_ACCESS_TOKEN",
}
CLIENT = {"GOOGLE_CLIENT_ID": "id-1", "GOOGLE_CLIENT_SECRET": "canary-secret"}
SEAL_KEY = base64.b64encode(b"k" * 32).decode()
TOOLS_LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}


def write(tmp_path: Path, **servers: object) -> str:
    (tmp_path / "config.json").write_text(json.dumps({"mcpServers": servers}))
    return "config.json"


def install(tmp_path: Path, spec: str, **servers: object) -> None:
    path, _, version = spec.partition("@")
    folder = tmp_path / ".fmcp-packages" / path / version
    folder.mkdir(parents=True)
    (folder / "metadata.json").write_text(json.dumps({"mcpServers": servers}))


def read_error(done: Finished, *, code: int = 2) -> tuple[str, str, str]:
    """The three lines of the one error that was printed."""
    assert done.code == code, done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith(("Error: ", "  Why: ", "  Do: "))]
    what, why, hint = lines
    return what.removeprefix("Error: "), why.removeprefix("  Why: "), hint.removeprefix("  Do: ")


async def call(gateway: RunningGateway, path: str, *, port: int | None = None) -> httpx2.Response:
    async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
        return await client.post(f"http://localhost:{port or gateway.port}{path}", json=TOOLS_LIST)


# What is promised


@pytest.mark.promise(66, 70, 71, 85, 87, 88, 89, 90, 91)
async def test_the_documented_command_prints_the_documented_lines_in_their_order():
    async with start_fluidmcp("run", "test/gmail-mock@1.0.0", "--start-server", env=CLIENT) as gateway:
        await gateway.stdout.wait_for(" ready")
        isolation = next(line for line in gateway.stdout.lines if line.startswith("Isolation of server processes: "))
        url = gateway.url
        # A machine that is busy may need the five seconds after which a start is worth a line.
        assert [line for line in gateway.stdout.lines if line != "gmail-mock is still starting"] == [
            "Reading metadata.json...",
            "Added gmail-mock endpoints with OAuth support",
            f"  Login: {url}/gmail-mock/auth/login",
            f"Starting FastAPI server on port {gateway.port}",
            f"MCP clients log in by themselves at {url}/gmail-mock/mcp",
            f"Connect a client: fluidmcp connect claude-code gmail-mock --url {url}   (or cursor, vscode, codex, ...)",
            f"In a browser: {url}/",
            f"Register this redirect URI with the provider of gmail-mock: {url}/gmail-mock/auth/callback",
            isolation,
            "gmail-mock waits for a login",
            "1 of 1 ready",
        ]
        assert await gateway.stop() == 0
    assert "canary-secret" not in gateway.report()


@pytest.mark.parametrize(
    ("package", "seal_keys", "is_told"),
    [("test/gmail-mock@1.0.0", "", True), ("test/gmail-mock@1.0.0", SEAL_KEY, False), ("mypackage", "", False)],
)
async def test_who_leaves_out_the_keys_hears_what_a_restart_costs(
    package: str, seal_keys: str, is_told: bool, tmp_path: Path
):
    install(tmp_path, "ann/mypackage@1.0.0", mypackage=GOOD)
    env = {**CLIENT, **({"FMCP_SEAL_KEYS": seal_keys} if seal_keys else {})}
    async with start_fluidmcp("run", package, "--start-server", cwd=tmp_path, env=env) as gateway:
        assert await gateway.stop() == 0
    said = "FMCP_SEAL_KEYS is not set: after a restart everybody has to log in to their MCP clients again"
    assert (said in gateway.stderr.text) is is_told
    assert "SEAL_KEYS" not in gateway.stdout.text


@pytest.mark.promise(26, 43, 68, 70, 73, 91, 103)
async def test_one_package_answers_on_8099_and_on_8090_without_any_authentication(tmp_path: Path):
    install(tmp_path, "ann/mypackage@1.0.0", mypackage=GOOD, mail=GOOD | {"auth": AUTH})
    arguments = ("run", "mypackage", "--start-server")
    async with start_on_documented_ports(
        *arguments, says="Starting FastAPI server", alias="free", cwd=tmp_path, env=CLIENT
    ) as gateway:
        assert gateway.stdout.lines[:5] == [
            "Reading metadata.json...",
            "Added mypackage endpoints",
            "Added mail endpoints with OAuth support",
            "  Login: http://localhost:8099/mail/auth/login",
            "Starting FastAPI server on port 8099",
        ]
        for port in (8099, 8090):
            reply = await call(gateway, "/mypackage/mcp", port=port)
            assert reply.status_code == 200
            assert reply.json()["result"]["tools"]


@pytest.mark.promise(66, 69, 72, 82, 86, 104)
async def test_a_package_with_an_auth_block_gets_a_login_with_the_exported_client_id(tmp_path: Path):
    install(tmp_path, "ann/mail@1.0.0", mail=GOOD | {"auth": AUTH})
    async with start_fluidmcp("run", "mail", "--start-server", cwd=tmp_path, env=CLIENT) as gateway:
        async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
            reply = await client.get(f"{gateway.url}/mail/auth/login", follow_redirects=False)
        assert reply.is_redirect
        assert reply.headers["location"].startswith("https://accounts.google.com/o/oauth2/v2/auth?")
        assert "client_id=id-1" in reply.headers["location"]


@pytest.mark.promise(20, 70)
async def test_without_start_server_a_table_shows_what_was_found(tmp_path: Path):
    install(tmp_path, "ann/tools@1.10.0", tools=GOOD, mail=GOOD | {"auth": AUTH})
    install(tmp_path, "ann/tools@1.9.0", old=MISSING)
    done = await run_fluidmcp("run", "tools", cwd=tmp_path, env=CLIENT)
    assert done.code == 0, done.stderr
    first, header, tools, mail = done.stdout.splitlines()
    assert first == "Reading metadata.json..."
    assert header.split() == ["PACKAGE", "VERSION", "COMMAND", "OAUTH", "LOGIN", "ISOLATION", "STATUS"]
    assert (tools.split()[:2], tools.split()[-1]) == (["tools", "1.10.0"], "ok")
    assert tools.split()[-4:-2] == ["no", "-"]
    assert mail.split()[:2] == ["mail", "1.10.0"]
    assert "yes    http://localhost:8099/mail/auth/login  " in mail
    assert mail.endswith("  ok, starts after a login")
    assert mail.split()[-6] == tools.split()[-2]
    assert done.stderr == ""


async def test_the_table_says_where_people_type_keys_and_that_no_page_takes_those_of_headers(tmp_path: Path):
    keys: dict[str, object] = {"type": "keys", "keys": {"api_key": {}}}
    page: dict[str, object] = {**GOOD, "env": {"A": "${keys.api_key}"}, "auth": keys}
    config = write(tmp_path, page=page, header={**page, "auth": {**keys, "keys_from": ["header"]}})
    done = await run_fluidmcp("run", config, cwd=tmp_path)
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if line.startswith(("page", "header"))}
    assert "  keys   http://localhost:8099/page/auth/login  " in rows["page"]
    assert "  keys   -  " in rows["header"]


async def test_the_table_shows_no_secret_of_the_arguments(tmp_path: Path):
    entry = {"command": "no-such-program", "args": ["--api-key", "hunter2", "--port", 8080]}
    (tmp_path / "servers.json").write_text(json.dumps({"mcpServers": {"a": entry}}))
    done = await run_fluidmcp("run", "servers.json", cwd=tmp_path)
    assert "no-such-program --api-key *** --port 8080" in done.stdout
    assert "hunter2" not in done.stdout + done.stderr


@pytest.mark.promise(86)
async def test_a_client_id_that_is_not_exported_is_named_at_start(tmp_path: Path):
    install(tmp_path, "ann/mail@1.0.0", mail=GOOD | {"auth": AUTH})
    async with start_fluidmcp("run", "mail", "--start-server", cwd=tmp_path) as gateway:
        line = await gateway.stderr.wait_for("Warning:")
        assert "the login of mail cannot work before GOOGLE_CLIENT_ID" in line
    done = await run_fluidmcp("run", "mail", cwd=tmp_path)
    what, why, hint = read_error(done)
    assert what == "The login of mail cannot work."
    assert why == "It needs GOOGLE_CLIENT_ID, which is not set."
    assert hint == "Export it, and run the command again."
    assert done.stdout.splitlines()[-1].endswith("needs GOOGLE_CLIENT_ID")


async def test_a_login_that_cannot_work_is_no_failure_beside_a_server_that_is_good(tmp_path: Path):
    config = write(tmp_path, good=GOOD, mail=GOOD | {"auth": AUTH})
    done = await run_fluidmcp("run", config, cwd=tmp_path)
    assert done.code == 0
    assert "The login of mail cannot work." in done.stderr
    dying = await run_fluidmcp("run", write(tmp_path, mail=GOOD | {"auth": AUTH}, dying=DYING), cwd=tmp_path)
    assert dying.code == 1, "a server was started and failed"


# Files, several servers, several packages


async def test_one_bad_server_does_not_stop_the_good_ones(tmp_path: Path):
    servers = {"good": GOOD, "dying": DYING, "missing": MISSING, "far": {"url": "https://a.example/mcp"}}
    config = write(tmp_path, **servers, off={"command": "x", "disabled": True})
    async with start_fluidmcp("run", "--file", config, "--start-server", cwd=tmp_path) as gateway:
        await gateway.stderr.wait_for("  | no config found")
        assert "  | first" in gateway.stderr.lines
        for what in ("The command of missing is not found: no-such-command-7f3a", "The entry far in config.json is"):
            await gateway.stderr.wait_for(f"Error: {what}")
        reply = await call(gateway, "/good/mcp")
        assert reply.json()["result"]["tools"]
        assert "off" not in gateway.stdout.text
    assert gateway.stdout.lines[0] == "Reading config.json..."


async def test_all_runs_the_highest_version_of_every_package(tmp_path: Path):
    install(tmp_path, "ann/one@1.0.0", one=GOOD)
    install(tmp_path, "ann/one@0.9.0", old=GOOD)
    install(tmp_path, "bob/two@1.0.0", two=GOOD)
    async with start_fluidmcp("run", "all", "--start-server", cwd=tmp_path) as gateway:
        for name in ("one", "two"):
            assert (await call(gateway, f"/{name}/mcp")).status_code == 200
        assert gateway.stdout.lines[1:3] == ["Added one endpoints", "Added two endpoints"]


async def test_the_port_of_the_environment_is_used(tmp_path: Path):
    config, port = write(tmp_path, good=GOOD), free_port()
    environ = {"MCP_CLIENT_SERVER_ALL_PORT": str(port), "MCP_CLIENT_SERVER_PORT": "1"}
    arguments = ("run", config, "--start-server")
    async with start_fluidmcp(*arguments, cwd=tmp_path, env=environ, port=port, says_port=False) as gateway:
        await gateway.stdout.wait_for(f"Starting FastAPI server on port {port}")


@pytest.mark.promise(90)
async def test_printed_addresses_begin_with_the_public_url(tmp_path: Path):
    install(tmp_path, "ann/mail@1.0.0", mail=GOOD | {"auth": AUTH | {"allow_any_user": True}})
    arguments = ("run", "mail", "--start-server", "--public-url", "https://mcp.example.com/")
    async with start_fluidmcp(*arguments, cwd=tmp_path, env=CLIENT) as gateway:
        await gateway.stdout.wait_for("  Login: https://mcp.example.com/mail/auth/login")
        await gateway.stdout.wait_for(": https://mcp.example.com/mail/auth/callback")


# The end


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)], ids=["SIGTERM", "SIGINT"])
async def test_a_signal_ends_the_gateway_and_its_servers_quietly(tmp_path: Path, number: signal.Signals, code: int):
    config = write(tmp_path, good=GOOD)
    async with start_fluidmcp("run", config, "--start-server", cwd=tmp_path) as gateway:
        assert (await call(gateway, "/good/mcp")).status_code == 200
        assert await gateway.stop(with_signal=number) == code
    assert "Traceback" not in gateway.stderr.text
    assert not [line for line in gateway.stderr.lines if " ERROR " in line]


async def test_ctrl_c_while_a_server_starts_is_no_failure_of_that_server(tmp_path: Path):
    config = write(tmp_path, slow={"command": "sh", "args": ["-c", "echo up >&2; exec sleep 60"]})
    async with start_fluidmcp("run", config, "--start-server", cwd=tmp_path) as gateway:
        assert await gateway.stop(with_signal=signal.SIGINT) == 130
    assert "Error:" not in gateway.stderr.text


async def test_when_no_server_could_start_the_gateway_ends_with_exit_code_1(tmp_path: Path):
    config = write(tmp_path, dying=DYING, missing=MISSING)
    done = await run_fluidmcp("run", config, "--start-server", "--port", str(free_port()), cwd=tmp_path)
    assert done.code == 1
    assert "  | no config found" in done.stderr.splitlines()
    assert "Traceback" not in done.stderr


# Mistakes of the user: what, why, what to do


@pytest.mark.parametrize("start", [(), ("--start-server",)], ids=["table", "start"])
async def test_a_server_that_dies_at_start_is_shown_with_its_last_lines(tmp_path: Path, start: tuple[str, ...]):
    config = write(tmp_path, dying=DYING)
    port = ("--port", str(free_port()))
    done = await run_fluidmcp("run", config, *start, *port, cwd=tmp_path)
    what, _, hint = read_error(done, code=1)
    assert "dying" in what and hint
    quoted = [line for line in done.stderr.splitlines() if line.startswith("  | ")]
    assert quoted == ["  | first", "  | no config found"]


@pytest.mark.parametrize("start", [(), ("--start-server",)], ids=["table", "start"])
async def test_a_command_that_is_not_there_is_named(tmp_path: Path, start: tuple[str, ...]):
    done = await run_fluidmcp("run", write(tmp_path, missing=MISSING), *start, cwd=tmp_path)
    what, why, hint = read_error(done)
    assert what == "The command of missing is not found: no-such-command-7f3a"
    assert why == "There is no such program in PATH."
    assert hint == "Install it, or correct the command in config.json."
    assert "Starting" not in done.stdout


async def test_a_command_of_a_package_with_auth_is_looked_for_as_well(tmp_path: Path):
    install(tmp_path, "ann/mail@1.0.0", mail=MISSING | {"auth": AUTH})
    what, _, _ = read_error(await run_fluidmcp("run", "mail", cwd=tmp_path, env=CLIENT))
    assert what == "The command of mail is not found: no-such-command-7f3a"


@pytest.mark.parametrize("start", [(), ("--start-server",)], ids=["table", "start"])
async def test_a_required_variable_that_is_not_set_is_named(tmp_path: Path, start: tuple[str, ...]):
    needing = GOOD | {"env": {"API_KEY": {"required": True, "description": "your key"}}}
    what, _, hint = read_error(await run_fluidmcp("run", write(tmp_path, needing=needing), *start, cwd=tmp_path))
    assert "API_KEY" in what and "your key" in what
    assert hint.startswith("export API_KEY=")


async def test_bad_json_is_shown_with_line_and_column(tmp_path: Path):
    (tmp_path / "config.json").write_text('{\n  "mcpServers": {,}\n}')
    what, why, _ = read_error(await run_fluidmcp("run", "config.json", cwd=tmp_path))
    assert what == "config.json cannot be read as JSON."
    assert why.startswith("Line 2, column 18:")


async def test_bad_json_of_a_package_is_shown_with_its_path(tmp_path: Path):
    install(tmp_path, "ann/mail@1.0.0")
    metadata = tmp_path / ".fmcp-packages/ann/mail/1.0.0/metadata.json"
    metadata.write_text("{")
    what, why, _ = read_error(await run_fluidmcp("run", "mail", "--start-server", cwd=tmp_path))
    assert what == f"{metadata} cannot be read as JSON."
    assert why.startswith("Line 1, column 2:")


async def test_a_port_in_use_is_shown_with_the_process_that_holds_it(tmp_path: Path):
    config = write(tmp_path, good=GOOD)
    async with start_fluidmcp("run", config, "--start-server", cwd=tmp_path) as gateway:
        arguments = ("run", config, "--start-server", "--port", str(gateway.port))
        what, why, hint = read_error(await run_fluidmcp(*arguments, cwd=tmp_path))
        assert what == f"Port {gateway.port} is in use."
        assert f"fluidmcp (process {gateway.pid})" in why
        assert "--port" in hint


async def test_an_alias_port_in_use_is_a_warning_only(tmp_path: Path):
    install(tmp_path, "ann/mypackage@1.0.0", mypackage=GOOD)
    arguments = ("run", "mypackage", "--start-server")
    async with start_on_documented_ports(
        *arguments, says="Starting FastAPI server", alias="busy", cwd=tmp_path
    ) as gateway:
        await gateway.stderr.wait_for("Warning: port 8090 is busy; the gateway answers on port 8099 only.")
        assert (await call(gateway, "/mypackage/mcp")).status_code == 200


async def test_an_unknown_package_gets_the_nearest_name(tmp_path: Path):
    what, why, hint = read_error(await run_fluidmcp("run", "gmail-mok", "--start-server", cwd=tmp_path))
    assert what == 'There is no package "gmail-mok".'
    assert "test/gmail-mock@1.0.0" in why
    assert hint.startswith("Did you mean gmail-mock")


async def test_a_path_is_no_package(tmp_path: Path):
    what, _, _ = read_error(await run_fluidmcp("run", "../../etc", cwd=tmp_path))
    assert what == "'../../etc' is not a package."


async def test_two_packages_of_one_name_are_not_started(tmp_path: Path):
    install(tmp_path, "ann/one@1.0.0", same=GOOD)
    install(tmp_path, "bob/two@1.0.0", same=GOOD)
    what, why, _ = read_error(await run_fluidmcp("run", "all", "--start-server", cwd=tmp_path))
    assert what == 'Two packages have the name "same".'
    assert "ann/one" in why and "bob/two" in why


async def test_a_reserved_name_is_not_served(tmp_path: Path):
    what, why, _ = read_error(await run_fluidmcp("run", write(tmp_path, health=GOOD), cwd=tmp_path))
    assert (what, why) == ("The name health in config.json is reserved.", "The gateway itself answers at /health.")


async def test_a_remote_entry_is_refused_by_its_name(tmp_path: Path):
    config = write(tmp_path, far={"url": "https://a.example/mcp"})
    what, why, _ = read_error(await run_fluidmcp("run", config, "--start-server", cwd=tmp_path))
    assert what == "The entry far in config.json is a remote server, which cannot be run."
    assert "url" in why


async def test_a_file_without_a_server_to_run_says_so(tmp_path: Path):
    config = write(tmp_path, off=GOOD | {"disabled": True})
    _, why, _ = read_error(await run_fluidmcp("run", config, cwd=tmp_path))
    assert why == "Disabled in the file: off."


@pytest.mark.promise(124)
@pytest.mark.threat("B25", "B27", "B28", "D13")
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("token_url", "http://canary.example/token"),
        ("env_var_name", "LD_PRELOAD"),
        ("client_secret", "canary"),
        ("client_id_env", "AWS_SECRET_ACCESS_KEY"),
        ("extra_params", {"state": "canary"}),
        ("flow", "implicit"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_an_auth_block_that_is_not_safe_starts_nothing(tmp_path: Path, key: str, value: object):
    install(tmp_path, "ann/mail@1.0.0", mail=GOOD | {"auth": AUTH | {key: value}})
    done = await run_fluidmcp("run", "mail", "--start-server", cwd=tmp_path, env=CLIENT)
    _, why, _ = read_error(done)
    assert f"mcpServers.mail.auth.{key}" in why
    assert "canary" not in done.stderr
    assert "Starting" not in done.stdout


async def test_other_machines_are_let_in_only_on_request_and_only_people_who_are_named(tmp_path: Path):
    install(tmp_path, "ann/mail@1.0.0", mail=GOOD | {"auth": AUTH})
    open_host = ("run", "mail", "--start-server", "--host", "0.0.0.0")
    _, why, _ = read_error(await run_fluidmcp(*open_host, cwd=tmp_path, env=CLIENT))
    assert "--allow-insecure" in why
    what, _, hint = read_error(await run_fluidmcp(*open_host, "--allow-insecure", cwd=tmp_path, env=CLIENT))
    assert what == "The auth block of mail does not say who is allowed."
    assert "allowed_subjects" in hint


@pytest.mark.parametrize("wanted", ["mcp-server-time", "@modelcontextprotocol/server-memory"])
async def test_who_leaves_out_npm_or_pypi_is_told_how_packages_of_registries_are_written(tmp_path: Path, wanted: str):
    done = await run_fluidmcp("run", wanted, cwd=tmp_path)
    assert done.code == 2
    assert "npm:NAME" in done.stderr
