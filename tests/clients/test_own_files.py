"""What `fluidmcp connect` writes, seen by the clients themselves, which start without an account.

Claude Code and Codex take 400 MB each, so that they come with `scripts/install-parts --large` only.
"""

import asyncio
import json
import os
import re
import shlex
import shutil
import sys
import tomllib
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import pytest
import pytest_asyncio

from fluidmcp.packages.clients.endpoint import make_endpoint
from fluidmcp.packages.clients.snippets import describe_client
from fluidmcp.packages.clients.table import FILE_CLIENTS
from tests import parts
from tests.acceptance.harness import Finished, RunningGateway, environment, run_fluidmcp, start_fluidmcp
from tests.parts import NODE_MODULES, ROOT, Part

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.needs("node")]

STDLIB: Final = str(ROOT / "tests" / "servers" / "stdlib_server.py")
LIMIT_SECONDS: Final = 60.0
_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True, slots=True)
class Program:
    """A client, how it is started, and how it is asked for its servers."""

    key: str
    part: Part
    file: str
    ask: tuple[str, ...]
    script: str = ""
    """The script for Node in the folder of the part, where the part is no program."""
    env: tuple[tuple[str, str], ...] = ()

    @property
    def command(self) -> tuple[str, ...]:
        path = parts.require(self.part)
        if self.script or path.suffix == ".js":
            return (str(parts.require("node")), str(path / self.script))
        return (str(path),)


PROGRAMS: Final = (
    Program(
        "gemini",
        "gemini-cli",
        ".gemini/settings.json",
        ("mcp", "list"),
        script="bundle/gemini.js",
        env=(("GEMINI_CLI_TRUST_WORKSPACE", "true"),),
    ),
    Program(
        "claude-code",
        "claude-code",
        ".claude.json",
        ("mcp", "list"),
        env=(("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"), ("DISABLE_AUTOUPDATER", "1")),
    ),
    Program("codex", "codex", ".codex/config.toml", ("mcp", "list", "--json")),
)
each_program = pytest.mark.parametrize(
    "program", [pytest.param(program, id=program.key, marks=pytest.mark.needs(program.part)) for program in PROGRAMS]
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[RunningGateway]:
    config = tmp_path_factory.mktemp("gateway") / "config.json"
    server = {"command": sys.executable, "args": ["-I", STDLIB]}
    config.write_text(json.dumps({"mcpServers": {"clock": server, "notes": server}}))
    async with start_fluidmcp("run", str(config), "--start-server") as running:
        yield running


async def run(command: tuple[str, ...], home: Path, env: dict[str, str], stdin: bytes | None = None) -> Finished:
    node = parts.require("node").parent
    process = await asyncio.create_subprocess_exec(
        *command,
        env=environment({"HOME": str(home), "PATH": f"{home}:{node}:{os.environ['PATH']}", **env}),
        cwd=home,
        stdin=asyncio.subprocess.DEVNULL if stdin is None else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            out, err = await process.communicate(stdin)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    return Finished(await process.wait(), _COLOURS.sub("", out.decode()), _COLOURS.sub("", err.decode()))


def read_servers(program: Program, home: Path) -> dict[str, Any]:
    text = (home / program.file).read_text()
    document = tomllib.loads(text) if program.file.endswith(".toml") else json.loads(text)
    return document.get(FILE_CLIENTS[program.key].member, {})


@each_program
async def test_the_client_finds_what_was_written_and_misses_what_was_removed(
    program: Program, gateway: RunningGateway, tmp_path: Path
):
    env = dict(program.env)
    args = ("connect", program.key, "--url", gateway.url)

    written = await run_fluidmcp(*args, "--write", env={"HOME": str(tmp_path)})
    listed = await run((*program.command, *program.ask), tmp_path, env)
    removed = await run_fluidmcp(*args, "--remove", env={"HOME": str(tmp_path)})
    after = await run((*program.command, *program.ask), tmp_path, env)

    assert written.code == removed.code == 0, written.stderr + removed.stderr
    said = listed.stdout + listed.stderr
    for name in ("clock", "notes"):
        assert f"{gateway.url}/{name}/mcp" in said, said
        assert f"{gateway.url}/{name}/mcp" not in after.stdout + after.stderr
    if program.key == "codex":
        # It says what it would connect to, and connects when somebody talks to it.
        assert {server["transport"]["type"] for server in json.loads(listed.stdout)} == {"streamable_http"}
    else:
        assert said.count("Connected") == 2, said


@each_program
async def test_the_client_sends_the_token_that_is_in_the_variable(program: Program, tmp_path: Path):
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"mcpServers": {"clock": {"command": sys.executable, "args": ["-I", STDLIB]}}}))
    secret = {"FMCP_SECURE_TOKEN": "a-token-of-this-gateway-0123456789"}
    async with start_fluidmcp("run", str(config), "--start-server", "--secure", env=secret) as gateway:
        args = ("connect", program.key, "clock", "--url", gateway.url, "--token-env", "FMCP_SECURE_TOKEN", "--write")
        written = await run_fluidmcp(*args, env={"HOME": str(tmp_path)})
        listed = await run((*program.command, *program.ask), tmp_path, {**dict(program.env), **secret})
        wrong = {"FMCP_SECURE_TOKEN": "another-token-0123456789"}
        refused = await run((*program.command, *program.ask), tmp_path, {**dict(program.env), **wrong})

    assert written.code == 0, written.stderr
    said = listed.stdout + listed.stderr
    if program.key == "codex":
        (server,) = json.loads(listed.stdout)
        assert server["transport"]["bearer_token_env_var"] == "FMCP_SECURE_TOKEN"
        assert server["auth_status"] == "bearer_token"
    else:
        assert said.count("Connected") == 1, said
        assert "Connected" not in (refused.stdout + refused.stderr).replace("Disconnected", "")


@each_program
@pytest.mark.parametrize("variable", ["", "MY_TOKEN"])
async def test_the_command_that_is_shown_writes_the_same_entry(
    program: Program, gateway: RunningGateway, tmp_path: Path, variable: str
):
    endpoint = make_endpoint(gateway.url, "clock", token_variable=variable)
    command = describe_client(program.key, [endpoint]).parts[0]
    name = shlex.split(command.text)[0]
    starter = tmp_path / name
    starter.write_text(f'#!/bin/sh\nexec {shlex.join(program.command)} "$@"\n')
    starter.chmod(0o700)

    done = await run(("/bin/sh", "-c", command.text), tmp_path, dict(program.env))
    before = (tmp_path / program.file).read_bytes()
    again = await run_fluidmcp(
        "connect", program.key, "clock", "--url", gateway.url, "--write", env={"HOME": str(tmp_path)}
    )

    assert command.kind == "command"
    assert done.code == 0, done.stdout + done.stderr
    assert read_servers(program, tmp_path) == {"clock": FILE_CLIENTS[program.key].make_entry(endpoint)}
    assert "has clock already" in again.stdout
    assert (tmp_path / program.file).read_bytes() == before


@pytest.mark.needs("mcp-remote")
async def test_what_claude_desktop_starts_speaks_mcp(gateway: RunningGateway, tmp_path: Path):
    entry = FILE_CLIENTS["claude-desktop"].make_entry(make_endpoint(gateway.url, "clock"))
    arguments = cast("list[str]", entry["args"])
    assert (entry["command"], arguments[0]) == ("npx", "-y")
    proxy = str(NODE_MODULES / "mcp-remote" / "dist" / "proxy.js")
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "desktop", "version": "1"}}
    message = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}
    process = await asyncio.create_subprocess_exec(
        str(parts.require("node")),
        proxy,
        *arguments[2:],
        env=environment({"HOME": str(tmp_path)}),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(message).encode() + b"\n")
        async with asyncio.timeout(LIMIT_SECONDS):
            answer = json.loads(await process.stdout.readline())
    finally:
        process.kill()
        await process.wait()

    assert answer["result"]["capabilities"]["tools"] is not None


@pytest.mark.parametrize("needs_login", [False, True])
async def test_the_program_and_the_command_of_curl_run(gateway: RunningGateway, tmp_path: Path, needs_login: bool):
    endpoint = make_endpoint(gateway.url, "clock", needs_login=needs_login)
    python = describe_client("python", [endpoint]).parts[0].text
    env = {"TOKEN": "x", "NO_PROXY": "*"}

    done = await run((sys.executable, "-c", python), tmp_path, env)

    assert done.code == 0, done.stderr
    assert "echo" in done.stdout.splitlines()
    if shutil.which("curl") is not None:
        called = await run(("/bin/sh", "-c", describe_client("curl", [endpoint]).parts[0].text), tmp_path, env)
        assert json.loads(called.stdout)["result"]["tools"][0]["name"] == "echo"
