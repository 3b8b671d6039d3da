"""Somebody with an empty folder, who types what README and docs/connect.md say, one command after the other."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

from fluidmcp.demo.mailboxes import Person
from tests import parts
from tests.acceptance.harness import Output, environment, kill_left
from tests.demo.demo_client import log_in

STEP_LIMIT_SECONDS: Final = 200.0
"""For one command, when nothing is in the caches yet."""
STOP_LIMIT_SECONDS: Final = 60.0
SENDER: Final = "import socket, sys; socket.create_connection(('127.0.0.1', {port})).sendall(sys.argv[1].encode())"


@dataclass
class Newcomer:
    """A person, the folder in which they begin, and what their commands said.

    `distribution` is what `uvx --from` takes: a wheel.
    """

    folder: Path
    distribution: str
    env: dict[str, str]
    said: list[str] = field(default_factory=list[str])

    @property
    def command(self) -> tuple[str, ...]:
        uvx = str(parts.require("uvx"))
        return (uvx, "--quiet", "--python", sys.executable, "--from", self.distribution, "fluidmcp")

    async def type(self, *args: str) -> str:
        """What a command that ends by itself writes to stdout. Raises AssertionError when it fails."""
        process = await self._spawn(*args)
        try:
            async with asyncio.timeout(STEP_LIMIT_SECONDS):
                out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode == 0, f"{args} ended with {process.returncode}: {err.decode(errors='replace')}"
        self.said.append(out.decode())
        return out.decode()

    @asynccontextmanager
    async def keep_running(self, *args: str) -> AsyncGenerator[Output]:
        """What a command that goes on writes to stdout; at the end it gets Ctrl-C, and must leave nothing behind."""
        process = await self._spawn(*args)
        assert process.stdout is not None
        assert process.stderr is not None
        stdout, stderr = Output(process.stdout), Output(process.stderr)
        try:
            yield stdout
        except BaseException as error:
            error.add_note(f"-- stdout\n{stdout.text}\n-- stderr\n{stderr.text}")
            raise
        finally:
            family: list[psutil.Process] = []
            with suppress(psutil.NoSuchProcess, ProcessLookupError):
                family = psutil.Process(process.pid).children(recursive=True)
                process.terminate()
            async with asyncio.timeout(STOP_LIMIT_SECONDS):
                await process.wait()
            left = await asyncio.to_thread(kill_left, family)
            await asyncio.gather(stdout.finish(), stderr.finish())
        assert not left, f"{args} left processes behind: {left}"

    async def _spawn(self, *args: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self.command,
            *args,
            env=self.env,
            cwd=self.folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )


def build_wheel(folder: Path) -> Path:
    """The wheel of this tree, as a release has it."""
    uv = str(parts.require("uvx").with_name("uv"))
    command = (uv, "build", "--quiet", "--wheel", "--out-dir", str(folder), str(parts.ROOT))
    subprocess.run(command, check=True, timeout=STEP_LIMIT_SECONDS)
    (wheel,) = folder.glob("*.whl")
    return wheel


def make_newcomer(folder: Path, distribution: str, changes: Mapping[str, str] | None = None) -> Newcomer:
    """Their home and the folder in which they begin are empty; the caches of uv and npm are this machine's."""
    home, work, programs = folder / "home", folder / "work", folder / "bin"
    for made in (home, work, programs):
        made.mkdir(parents=True)
    (programs / "node").symlink_to(parts.require("node"))
    npx = parts.npx_path()
    assert npx is not None, "npx is part of the wheel that brings node"
    (programs / "npx").symlink_to(npx)
    search_path = os.pathsep.join(map(str, (programs, parts.require("uvx").parent, "/usr/bin", "/bin")))
    caches = {
        "UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR") or str(Path.home() / ".cache" / "uv"),
        "npm_config_cache": os.environ.get("npm_config_cache") or str(Path.home() / ".npm"),
    }
    more = {"NODE_USE_SYSTEM_CA": "1", "npm_config_update_notifier": "false", "UV_PYTHON_DOWNLOADS": "never"}
    env = environment({"HOME": str(home), "PATH": search_path, **caches, **more, **(changes or {})})
    return Newcomer(work, distribution, env)


@asynccontextmanager
async def open_browser(person: Person, folder: Path) -> AsyncGenerator[Mapping[str, str]]:
    """The environment in which whatever opens a browser opens one in which the person allows and logs in."""
    failures: list[BaseException] = []

    async def browse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        url = (await reader.read()).decode()
        writer.close()
        try:
            await log_in(url, person)
        except Exception as error:
            failures.append(error)

    server = await asyncio.start_server(browse, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    folder.mkdir()
    program = folder / "browser"
    program.write_text(f"#!{sys.executable}\n{SENDER.format(port=port)}\n")
    program.chmod(0o700)
    async with server:
        yield {"BROWSER": f"{program} %s"}
    assert not failures, failures
