"""What `fluidmcp run --start-server` shows of servers that come up: a table on a terminal, plain lines elsewhere."""

import asyncio
import re
from pathlib import Path
from typing import Final

import httpx2
import pytest

from tests.acceptance.harness import free_port, run_fluidmcp, start_fluidmcp
from tests.cli.terminal import LIMIT_SECONDS, Terminal, at_terminal
from tests.cli.test_run import read_error
from tests.cli.test_slow_starts import slow
from tests.cli.test_start_checks import CLIENT, GOOD, MISSING, NEEDING, UNCLEAR, shell, with_login, write
from tests.parts import require

BOOM: Final = shell(r"printf '\033[2Jboom\n' >&2; exit 3")
ODD: Final = GOOD | {"cwd": "/no\x1b[2Jwhere"}
HANGING: Final = shell("exec sleep 1000")


def read_table(terminal: Terminal) -> dict[str, str]:
    """The rows of the table, by the first cell, with one space between the cells."""
    lines = terminal.screen
    begin = next(number for number, line in enumerate(lines) if line.startswith("PACKAGE"))
    end = next(number for number, line in enumerate(lines) if re.match(r"\d+ of \d+ ready", line))
    rows = [re.sub(r"  +", " ", line).partition(" ") for line in lines[begin + 1 : end]]
    return {name: rest for name, _, rest in rows}


async def is_ready(port: int) -> bool:
    async with httpx2.AsyncClient(trust_env=False, timeout=LIMIT_SECONDS) as client:
        try:
            return (await client.get(f"http://127.0.0.1:{port}/ready")).status_code == 200
        except httpx2.TransportError:
            return False


async def test_a_terminal_shows_each_server_in_place_and_then_what_to_type(tmp_path: Path) -> None:
    gate, port = tmp_path / "gate", free_port()
    own = with_login(mail=GOOD, needing=NEEDING, unclear=UNCLEAR)
    servers = {"slow": slow(gate, "--silent"), "good": GOOD, "broken": BOOM, "missing": MISSING, "odd": ODD, **own}
    env = CLIENT | {"FMCP_MAX_CONCURRENT_STARTS": "8"}
    arguments = ("run", write(tmp_path, **servers), "--start-server", "--port", str(port))
    async with at_terminal(*arguments, cwd=tmp_path, env=env, columns=160) as terminal:
        await terminal.wait_for("starting, 1 s")
        assert await is_ready(port), "the gateway does not wait for the slow one"
        await terminal.wait_for("ready after")
        gate.touch()
        await terminal.wait_for("In a browser: ")
        assert await terminal.stop() == 0
    screen = terminal.screen
    url = f"http://localhost:{port}"
    table = read_table(terminal)
    assert re.fullmatch(rf"ready after [\d.]+ s 18 {url}/slow/mcp", table["slow"])
    assert re.fullmatch(rf"ready after [\d.]+ s 18 {url}/good/mcp", table["good"])
    assert table["broken"] == "failed: Its process went away during the MCP handshake: exit code 3. -"
    assert table["missing"] == "failed: There is no such program in PATH. -"
    assert table["odd"] == r"failed: /no\x1b[2Jwhere is not a directory. -"
    assert table["mail"] == f"ready, waits for a login - {url}/mail/mcp"
    assert table["needing"] == f"ready, waits for a login - {url}/needing/mcp"
    assert table["unclear"] == f"may start after a login: see the warning - {url}/unclear/mcp"
    summary = screen.index("5 of 8 ready; not ready: broken (cannot start), missing (cannot start), odd (cannot start)")
    assert screen[summary + 1 : summary + 4] == [
        "",
        f"Connect a client: fluidmcp connect claude-code --url {url}   (or cursor, vscode, codex, ...)",
        f"In a browser: {url}/",
    ]
    assert sum(line.startswith("PACKAGE") for line in screen) == 1, "what was drawn before is gone"
    above = screen[: next(number for number, line in enumerate(screen) if line.startswith("PACKAGE"))]
    assert any("good answers" in line for line in above), "log lines stand above the table"
    assert any(line.startswith("  | ") and line.endswith("boom") for line in above)
    assert "\x1b[2J" not in terminal.written, "nobody else steers the terminal"
    assert "\x1b[32m" in terminal.written
    assert terminal.written.count("\x1b[?25l") == terminal.written.count("\x1b[?25h"), "the cursor is back"


@pytest.mark.parametrize("columns", [60, 79])
async def test_an_address_for_which_the_table_has_no_room_is_one_line_below_it(tmp_path: Path, columns: int) -> None:
    port, name = free_port(), "a-name-as-long-as-those-are"
    arguments = ("run", write(tmp_path, **{name: GOOD, "good": GOOD}), "--start-server", "--port", str(port))
    async with at_terminal(*arguments, cwd=tmp_path, columns=columns) as terminal:
        await terminal.wait_for("In a browser: ")
    screen = terminal.screen
    table = screen.index("PACKAGE                      STATE               TOOLS")
    assert re.fullmatch(rf"{name}  ready after [\d.]+ s  18", screen[table + 1])
    assert screen[table + 3 : table + 6] == ["", *(f"http://localhost:{port}/{each}/mcp" for each in (name, "good"))]


async def test_a_name_from_a_file_neither_steers_the_terminal_nor_ends_the_gateway(tmp_path: Path) -> None:
    port = free_port()
    servers = {"Grüße": GOOD, "bad\x1b[2J": GOOD, "long" * 1000: GOOD}
    arguments = ("run", write(tmp_path, **servers), "--start-server", "--port", str(port))
    # What a terminal is told whose encoding has no ü.
    async with at_terminal(*arguments, cwd=tmp_path, env={"PYTHONIOENCODING": "ascii"}, columns=200) as terminal:
        await terminal.wait_for("In a browser: ")
    table = read_table(terminal)
    assert rf'http://localhost:{port}/gru-e/mcp ("Gr\xfc\xdfe" in' in table["gru-e"]
    assert table[r"bad\x1b[2J"].startswith("failed: The name becomes part of the address")
    assert any(name.startswith("longlong") and len(name) < 100 for name in table)


@pytest.mark.needs("node", "server-memory")
async def test_a_public_server_is_ready_with_its_tools(tmp_path: Path) -> None:
    memory = {"command": str(require("node")), "args": [str(require("server-memory") / "dist" / "index.js")]}
    port = free_port()
    arguments = ("run", write(tmp_path, memory=memory), "--start-server", "--port", str(port))
    async with at_terminal(*arguments, cwd=tmp_path, env={"MEMORY_FILE_PATH": str(tmp_path / "memory")}) as terminal:
        await terminal.wait_for("In a browser: ")
    assert re.fullmatch(rf"ready after [\d.]+ s 9 http://localhost:{port}/memory/mcp", read_table(terminal)["memory"])
    line = f"Connect a client: fluidmcp connect claude-code memory --url http://localhost:{port}"
    assert any(shown.startswith(line) for shown in terminal.screen)


async def test_a_small_terminal_shows_what_is_under_way_and_in_the_end_all(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    servers = {f"missing{number}": MISSING for number in range(12)} | {"slow": slow(gate, "--silent")}
    arguments = ("run", write(tmp_path, **servers), "--start-server", "--port", str(free_port()))
    async with at_terminal(*arguments, cwd=tmp_path, env={"NO_COLOR": "1"}, lines=8) as terminal:
        await terminal.wait_for("starting, ")
        drawn = terminal.written
        gate.touch()
        await terminal.wait_for("In a browser: ")
    assert "and 9 more" in drawn
    table = read_table(terminal)
    assert [*table] == [*servers]
    assert "more" not in " ".join(table)
    assert re.search(r"\x1b\[[0-9;]*m", terminal.written) is None, "NO_COLOR"


@pytest.mark.parametrize("term", ["dumb", ""])
async def test_a_terminal_that_cannot_draw_gets_plain_lines(tmp_path: Path, term: str) -> None:
    arguments = ("run", write(tmp_path, good=GOOD), "--start-server", "--port", str(free_port()))
    async with at_terminal(*arguments, cwd=tmp_path, env={"TERM": term}) as terminal:
        await terminal.wait_for("1 of 1 ready")
    assert "\x1b" not in terminal.written
    assert any(re.fullmatch(r"good answers after [\d.]+ s, 18 tools", line) for line in terminal.screen)


async def test_elsewhere_each_change_is_a_plain_line(tmp_path: Path) -> None:
    servers = {"good": GOOD, "broken": BOOM, "hanging": HANGING}
    own = with_login(mail=GOOD, needing=NEEDING, unclear=UNCLEAR)
    config = write(tmp_path, **servers, **own)
    env = CLIENT | {"FMCP_START_TIMEOUT_SECONDS": "2", "FMCP_MAX_CONCURRENT_STARTS": "8"}
    async with start_fluidmcp("run", config, "--start-server", cwd=tmp_path, env=env) as gateway:
        await gateway.stdout.wait_for(" ready")
        lines = gateway.stdout.lines
        assert "\x1b" not in gateway.report()
    told = {line.partition(" ")[0]: line.partition(" ")[2] for line in lines if " at http" not in line}
    assert re.fullmatch(r"answers after [\d.]+ s, 18 tools", told["good"])
    assert told["broken"] == "failed: Its process went away during the MCP handshake: exit code 3."
    assert told["hanging"] == "failed: It had 2 seconds to start and answer the handshake."
    assert told["mail"] == "waits for a login"
    assert told["needing"] == "waits for a login"
    assert told["unclear"] == "may start after a login: see the warning"
    assert lines[-1].startswith("4 of 6 ready; ")


async def test_a_login_that_cannot_work_says_what_is_missing(tmp_path: Path) -> None:
    config = write(tmp_path, **with_login(mail=GOOD), good=GOOD)
    async with start_fluidmcp("run", config, "--start-server", cwd=tmp_path) as gateway:
        await gateway.stdout.wait_for("mail needs GOOGLE_CLIENT_ID before anybody can log in")


async def test_a_list_of_tools_that_never_comes_keeps_nobody(tmp_path: Path) -> None:
    mute = shell("""read line; echo '{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-06-18",\
"capabilities":{"tools":{}},"serverInfo":{"name":"mute","version":"1"}}}'; exec sleep 1000""")
    async with start_fluidmcp("run", write(tmp_path, mute=mute), "--start-server", cwd=tmp_path) as gateway:
        assert await gateway.stdout.wait_for(" ready") == "1 of 1 ready"
        assert re.fullmatch(r"mute answers after [\d.]+ s", await gateway.stdout.wait_for("mute answers after"))


async def test_a_terminal_that_goes_away_does_not_end_the_gateway(tmp_path: Path) -> None:
    port = free_port()
    arguments = ("run", write(tmp_path, good=GOOD), "--start-server", "--port", str(port))
    before = ("sh", "-c", "trap '' HUP; exec \"$@\"", "sh")
    async with at_terminal(*arguments, cwd=tmp_path, before=before, stays=False) as terminal:
        async with asyncio.timeout(LIMIT_SECONDS):
            while not await is_ready(port):
                assert terminal.process.returncode is None
        assert await terminal.stop() == 0


# --quiet


async def test_quiet_says_nothing_but_warnings_and_errors_and_serves(tmp_path: Path) -> None:
    config = write(tmp_path, good=GOOD, broken=BOOM, missing=MISSING)
    async with start_fluidmcp("run", config, "--start-server", "--quiet", cwd=tmp_path) as gateway:
        assert await is_ready(gateway.port)
        await gateway.stderr.wait_for("Error: The server broken ended before it answered.")
        await gateway.stderr.wait_for("boom")
        assert await gateway.stop() == 0
    assert gateway.stdout.lines == []
    assert all(line.startswith(("Error: ", "  Why: ", "  Do: ", "  | ")) for line in gateway.stderr.lines)


async def test_quiet_without_a_gateway_is_an_exit_code_and_errors(tmp_path: Path) -> None:
    fine = await run_fluidmcp("run", write(tmp_path, good=GOOD), "-q", cwd=tmp_path)
    assert (fine.code, fine.stdout, fine.stderr) == (0, "", "")
    bad = await run_fluidmcp("run", write(tmp_path, broken=BOOM), "-q", cwd=tmp_path)
    assert (bad.code, bad.stdout) == (1, "")
    assert bad.stderr.startswith("Error: The server broken ended before it answered.")


async def test_quiet_logs_what_was_asked_for(tmp_path: Path) -> None:
    arguments = ("run", write(tmp_path, good=GOOD), "--start-server", "-q")
    async with start_fluidmcp(*arguments, cwd=tmp_path, env={"FMCP_LOG_LEVEL": "info"}) as gateway:
        await gateway.stderr.wait_for("good answers")
    assert gateway.stdout.lines == []


async def test_quiet_does_not_hide_a_token_that_nobody_would_ever_see(tmp_path: Path) -> None:
    done = await run_fluidmcp("run", write(tmp_path, good=GOOD), "--start-server", "--secure", "-q", cwd=tmp_path)
    assert read_error(done)[0] == "--quiet would not show the token that --secure makes."
    assert done.stdout == ""
