"""The fixture servers: behind a gateway, or with their own HTTP."""

import asyncio
import json
import select
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final, Literal

from tests import parts
from tests.acceptance.harness import RunningGateway, environment, free_port, start_fluidmcp

FixtureName = Literal["dual", "handshake", "stateless"]
Commands = dict[FixtureName, tuple[str, ...]]

SERVERS: Final = Path(__file__).resolve().parent.parent / "servers"
MCP1: Final = parts.ROOT / ".parts" / "mcp1"
"""A virtual environment: the SDK 1.x cannot be beside 2.x."""

START_LIMIT_SECONDS: Final = 60.0
STOP_LIMIT_SECONDS: Final = 15.0
POLL_SECONDS: Final = 0.05


def mcp1_path() -> Path | None:
    """The Python of the environment with the SDK 1.x."""
    path = MCP1 / "bin" / "python"
    return path if path.is_file() and any(MCP1.glob("lib/python*/site-packages/mcp")) else None


def missing_fixture(name: FixtureName) -> str | None:
    """None when the fixture can run; otherwise what is missing."""
    if name == "handshake" and mcp1_path() is None:
        return "mcp1 is missing: run scripts/install-parts"
    return None


def fixture_command(name: FixtureName) -> tuple[str, ...]:
    """The command line of the fixture on stdio."""
    python = str(MCP1 / "bin" / "python") if name == "handshake" else sys.executable
    return (python, str(SERVERS / f"fixture_{name}.py"))


@contextmanager
def forked_commands(*names: FixtureName) -> Generator[Commands]:
    """Command lines that start the fixtures quickly: tests/servers/fixture_forks.py loads each once and forks it."""
    with tempfile.TemporaryDirectory(prefix="fixtures-") as folder, ExitStack() as stack:
        commands: Commands = {}
        for name in names:
            path = str(Path(folder) / name)
            stack.enter_context(_forking(name, path))
            commands[name] = (sys.executable, "-I", "-S", str(SERVERS / "fixture_fork.py"), path)
        yield commands


def write_fixtures(folder: Path, commands: Mapping[FixtureName, Sequence[str]]) -> Path:
    """A package file with the fixtures, each under its own name. The path of the file."""
    servers = {name: {"command": command[0], "args": list(command[1:])} for name, command in commands.items()}
    path = folder / "config.json"
    path.write_text(json.dumps({"mcpServers": servers}), encoding="utf-8")
    return path


@asynccontextmanager
async def start_gateway(folder: Path, commands: Mapping[FixtureName, Sequence[str]]) -> AsyncGenerator[RunningGateway]:
    """A gateway without guards that serves the fixtures at `/{name}/mcp`."""
    config = write_fixtures(folder, commands)
    async with start_fluidmcp("run", str(config), "--start-server", cwd=folder) as gateway:
        yield gateway


@asynccontextmanager
async def start_over_http(name: FixtureName) -> AsyncGenerator[str]:
    """The fixture with the HTTP of its SDK and no gateway. The URL of its endpoint."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *fixture_command(name),
        "--http",
        str(port),
        env=environment(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await _wait_until_open(port, process)
        yield f"http://localhost:{port}/mcp"
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(STOP_LIMIT_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def _wait_until_open(port: int, process: asyncio.subprocess.Process) -> None:
    """Try to connect; between two tries wait for the end of the process, which ends it all."""
    end = asyncio.create_task(process.wait())
    try:
        async with asyncio.timeout(START_LIMIT_SECONDS):
            while True:
                with suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    return
                done, _ = await asyncio.wait({end}, timeout=POLL_SECONDS)
                assert not done, f"the fixture ended at its start with exit code {process.returncode}"
    finally:
        end.cancel()


@contextmanager
def _forking(name: FixtureName, path: str) -> Generator[None]:
    python, _ = fixture_command(name)
    with subprocess.Popen(
        (python, str(SERVERS / "fixture_forks.py"), name, path), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            ready, _, _ = select.select([process.stdout], [], [], START_LIMIT_SECONDS)
            assert ready, f"the fixture {name} was not loaded within {START_LIMIT_SECONDS} s"
            assert process.stdout.readline() == b"ready\n", f"the fixture {name} ended at its start"
            yield
        finally:
            process.stdin.close()
            try:
                process.wait(STOP_LIMIT_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
