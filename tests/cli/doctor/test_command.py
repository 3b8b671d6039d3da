"""`fluidmcp doctor URL` as it is typed: the table, JSON, exit codes, and what it never prints."""

import asyncio
import json
import os
import pty
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Final

import httpx2
import pytest
import pytest_asyncio

from tests.acceptance.harness import BIN, environment, free_port, run_fluidmcp, start_fluidmcp
from tests.acceptance.nginx import Nginx
from tests.acceptance.test_behind_nginx import stage_behind_nginx
from tests.cli.test_start_checks import GOOD, write

LIMIT_SECONDS: Final = 60.0
SECRET: Final = "a-token-that-must-not-be-seen"

pytestmark = pytest.mark.needs("nginx")


@pytest_asyncio.fixture
async def nginx(tmp_path: Path) -> AsyncGenerator[Nginx]:
    async with stage_behind_nginx(tmp_path) as (_, running):
        yield running


async def test_a_gateway_that_is_fine_is_a_table_and_exit_code_0(nginx: Nginx) -> None:
    done = await run_fluidmcp("doctor", f"{nginx.url}/open/mcp", "--ca", str(nginx.authority), "--hold", "0")
    assert (done.code, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"{nginx.url}/open/mcp"
    assert [line.split() for line in lines[2:5]] == [
        ["as", "seen", "by", "Claude", "Cursor", "VS", "Code", "ChatGPT"],
        ["connection", "warning", "ok", "ok", "warning"],
        ["first", "call", "ok", "ok", "ok", "ok"],
    ]
    assert "warning at connection, Claude, ChatGPT [not_public]" in lines
    assert lines[-1] == "No problem found."
    assert "\x1b" not in done.stdout


async def test_no_session_and_no_server_process_is_left_behind(tmp_path: Path) -> None:
    servers = write(tmp_path, good=GOOD)
    async with (
        start_fluidmcp("run", servers, "--start-server", "--port", str(free_port()), cwd=tmp_path) as gateway,
        httpx2.AsyncClient(base_url=gateway.url, trust_env=False, timeout=LIMIT_SECONDS) as client,
    ):
        done = await run_fluidmcp("doctor", f"{gateway.url}/good/mcp", "--hold", "0")
        assert done.code == 0, done
        assert (await client.get("/health?detail=1")).json()["processes"] <= 1, "that of the check at start"


async def test_json_has_all_that_the_table_has(nginx: Nginx) -> None:
    done = await run_fluidmcp("doctor", f"{nginx.url}/mail/mcp/", "--ca", str(nginx.authority), "--json")
    told = json.loads(done.stdout)
    assert (done.code, told["ok"], told["url"]) == (1, False, f"{nginx.url}/mail/mcp/")
    assert told["clients"]["Cursor"]["first call"] == "problem"
    assert told["clients"]["Cursor"]["metadata"] is None
    assert told["findings"][0] == {
        "code": "trailing_slash",
        "level": "problem",
        "step": "first call",
        "clients": ["Claude", "Cursor", "VS Code", "ChatGPT"],
        "cause": "The address ends with a slash, and the gateway knows it without one.",
        "remedy": f"Give clients {nginx.url}/mail/mcp.",
    }


async def test_a_token_that_is_refused_is_a_finding_and_is_not_shown(nginx: Nginx) -> None:
    arguments = ("doctor", f"{nginx.url}/mail/mcp", "--ca", str(nginx.authority), "--hold", "0", "--token-env", "MINE")
    for more in ((), ("--json",)):
        done = await run_fluidmcp(*arguments, *more, env={"MINE": SECRET, "FMCP_LOG_LEVEL": "debug"})
        assert done.code == 1
        assert "token_refused" in done.stdout
        assert SECRET not in done.stdout + done.stderr
    done = await run_fluidmcp(*arguments, env={"MINE": "two words"})
    assert (done.code, "There is no token in MINE" in done.stderr, "two words" in done.stderr) == (2, True, False)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["http://"], "That is no address of a gateway"),
        (["https://a:b@c.example/x/mcp"], "That is no address of a gateway"),
        (["https://c.example:99999/x/mcp"], "That is no address of a gateway"),
        (["https://c.example/x\u00e9/mcp"], "That is no address of a gateway"),
        (["https://c.example/x/mcp", "--public-url", "http://x"], "--public-url is for a package or a file only."),
        (["x.json", "--login"], "--login is for a URL only."),
        (["http://c.example/x/mcp", "--login"], "A token is not sent over plain http."),
        (["http://c.example/x/mcp", "--token-env", "PATH"], "A token is not sent over plain http."),
        (["--token-env", "X"], "--token-env is for a URL only."),
    ],
)
async def test_a_mistake_on_the_command_line_is_told(arguments: Sequence[str], what: str) -> None:
    done = await run_fluidmcp("doctor", *arguments)
    assert (done.code, done.stdout) == (2, "")
    assert f"Error: {what}" in done.stderr
    assert "a:b" not in done.stderr


async def test_a_file_of_authorities_has_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    done = await run_fluidmcp("doctor", f"http://localhost:{free_port()}/x/mcp", "--ca", str(tmp_path / "ca.pem"))
    assert (done.code, "holds no certificate" in done.stderr) == (2, True)


@pytest.mark.parametrize(("more", "is_coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
async def test_levels_have_colours_on_a_terminal_that_wants_them(more: dict[str, str], is_coloured: bool) -> None:
    """Nothing listens at the address: that is enough to show."""
    controller, terminal = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        str(BIN / "fluidmcp"),
        "doctor",
        f"http://localhost:{free_port()}/x/mcp",
        env=environment({"TERM": "xterm", **more}),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            assert await process.wait() == 1
        shown = os.read(controller, 65_536).decode()
    finally:
        os.close(controller)
    assert shown.startswith("Taking the steps of each client."), "nobody waits in front of nothing"
    assert "unreachable" in shown
    assert ("\x1b[31mproblem" in shown) == is_coloured
