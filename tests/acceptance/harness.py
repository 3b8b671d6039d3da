"""The real `fluidmcp` executable as a child process: started, watched, stopped, and nothing of it left behind."""

import asyncio
import fcntl
import os
import secrets
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Literal

import httpx2
import psutil

from tests.front import HAS_FRONT

BIN: Final = Path(sys.executable).parent
"""The folder of the executables of the environment that runs the tests."""

START_LIMIT_SECONDS: Final = 60.0
STOP_LIMIT_SECONDS: Final = 60.0
COMMAND_LIMIT_SECONDS: Final = 60.0
PIPE_END_LIMIT_SECONDS: Final = 10.0
PORTS_LIMIT_SECONDS: Final = 100.0
HOLD_LIMIT_SECONDS: Final = 15.0
POLL_SECONDS: Final = 0.02
PORT_ATTEMPTS: Final = 3

DOCUMENTED_PORT: Final = 8099
DOCUMENTED_ALIAS_PORT: Final = 8090
FREE_PORTS: Final = range(15_000, 32_000)
"""Below those that the system gives to outgoing connections: nobody gets one of them without asking for it."""


class DiedAtStartError(AssertionError):
    """The gateway ended before it answered; the text holds its exit code and all that it wrote."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that ended."""

    code: int
    stdout: str
    stderr: str


class Output:
    """What a child writes to one pipe, line by line; waiting for a text is waiting for an event."""

    def __init__(self, stream: asyncio.StreamReader) -> None:
        self.lines: list[str] = []
        self._changed = asyncio.Condition()
        self._ended = False
        self._reading = asyncio.create_task(self._read(stream))

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    async def wait_for(self, text: str, *, limit_seconds: float = 60.0) -> str:
        """The first line that holds `text`. Raises AssertionError when the pipe ends or the time is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_seconds), self._changed:
                await self._changed.wait_for(lambda: self._ended or self._find(text) is not None)
        line = self._find(text)
        assert line is not None, f"{text!r} was not written within {limit_seconds} s; there is:\n{self.text}"
        return line

    async def finish(self) -> None:
        """Wait until the pipe ends; a grandchild that holds it open does not keep the test."""
        await asyncio.wait({self._reading}, timeout=PIPE_END_LIMIT_SECONDS)
        self._reading.cancel()

    def _find(self, text: str) -> str | None:
        return next((line for line in self.lines if text in line), None)

    async def _read(self, stream: asyncio.StreamReader) -> None:
        while line := await stream.readline():
            async with self._changed:
                self.lines.append(line.decode(errors="replace").rstrip("\r\n"))
                self._changed.notify_all()
        async with self._changed:
            self._ended = True
            self._changed.notify_all()


@dataclass(frozen=True, slots=True)
class RunningGateway:
    """A gateway that answers at `url` (no slash at the end)."""

    url: str
    port: int
    process: asyncio.subprocess.Process
    stdout: Output
    stderr: Output

    @property
    def pid(self) -> int:
        return self.process.pid

    def descendants(self) -> list[psutil.Process]:
        """The processes that the gateway started, and theirs."""
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    async def stop(self, *, with_signal: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal, wait for the end, and fail when a process of the tree is left. The exit code."""
        family = self.descendants()
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                self.process.send_signal(with_signal)
        try:
            async with asyncio.timeout(STOP_LIMIT_SECONDS):
                code = await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await asyncio.to_thread(kill_left, family)
            raise AssertionError(f"the gateway did not stop in {STOP_LIMIT_SECONDS} s:\n{self.report()}") from None
        left = await asyncio.to_thread(kill_left, family)
        await asyncio.gather(self.stdout.finish(), self.stderr.finish())
        assert not left, f"the gateway left processes behind: {left}\n{self.report()}"
        return code

    def report(self) -> str:
        return f"exit code {self.process.returncode}\n-- stdout\n{self.stdout.text}\n-- stderr\n{self.stderr.text}"


def free_port() -> int:
    """A port that is free on 127.0.0.1 and, where there is IPv6, on ::1.

    Somebody else may take it before the gateway does: `start_fluidmcp` then tries another one.
    """
    addresses = [(socket.AF_INET, "127.0.0.1"), *([(socket.AF_INET6, "::1")] if _has_ipv6() else [])]
    while True:
        # Not `random`: Hypothesis gives it the same seed in every process.
        port = secrets.choice(FREE_PORTS)
        with suppress(OSError), ExitStack() as opened:
            for family, address in addresses:
                opened.enter_context(socket.socket(family)).bind((address, port))
            return port


def environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """This environment without settings of FluidMCP, with the executables of the tests first in PATH."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("FMCP_", "MCP_"))}
    path = f"{BIN}{os.pathsep}{kept.get('PATH', os.defpath)}"
    return kept | {"PATH": path, "FMCP_FRONT": "on" if HAS_FRONT else "off"} | dict(changes or {})


def add_port(args: Sequence[str], port: int) -> tuple[str, ...]:
    """The command line with `--port`, before the command that stands behind `--`, if one does."""
    end = args.index("--") if "--" in args else len(args)
    return (*args[:end], "--port", str(port), *args[end:])


async def run_fluidmcp(
    *args: str, env: Mapping[str, str] | None = None, cwd: Path | None = None, program: str = "fluidmcp"
) -> Finished:
    """Run a command that ends by itself. `env` is added to `environment()`.

    One that would start a gateway gets a free port: the documented ones may be those of another test, which would be
    the first thing that it complains about.
    """
    if "--start-server" in args and "--port" not in args:
        args = add_port(args, free_port())
    process = await asyncio.create_subprocess_exec(
        str(BIN / program),
        *args,
        env=environment(env),
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(COMMAND_LIMIT_SECONDS):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    return Finished(await process.wait(), out.decode(errors="replace"), err.decode(errors="replace"))


@asynccontextmanager
async def start_fluidmcp(
    *args: str,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    port: int | None = None,
    says_port: bool = True,
    before: Sequence[str] = (),
) -> AsyncGenerator[RunningGateway]:
    """A gateway that answers `/health`, stopped at the end of the block, with nothing left of its processes.

    `port` None means a free one. `says_port` False leaves `--port` away: then `port` is where it is expected.
    `before` is a command that runs the one behind it, in its own place (tests/ordinary.py).

    Raises:
        DiedAtStartError: it ended before it answered.
    """
    gateway = await _start(args, env, cwd, port, says_port, before)
    try:
        yield gateway
    finally:
        await gateway.stop()


@asynccontextmanager
async def start_on_documented_ports(
    *args: str,
    says: str,
    alias: Literal["free", "busy", "any"],
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> AsyncGenerator[RunningGateway]:
    """As `start_fluidmcp`, without `--port`: the ports are those that the documents name.

    One test at a time has them, in whatever process it runs. Where another program has them, wait until they are free,
    and fail if they never are. `says` is in a line that the command writes to stdout when it serves: what answers at
    these ports may be that other program. `alias` tells what the second port has to be; `busy` makes it so.
    """
    async with AsyncExitStack() as running:
        running.enter_context(await _lock_documented_ports())
        if alias == "busy":
            running.enter_context(await _hold_port(DOCUMENTED_ALIAS_PORT))
        give_up_at = time.monotonic() + PORTS_LIMIT_SECONDS
        while True:
            async with AsyncExitStack() as attempt:
                starting = start_fluidmcp(*args, env=env, cwd=cwd, port=DOCUMENTED_PORT, says_port=False)
                try:
                    gateway = await attempt.enter_async_context(starting)
                    await gateway.stdout.wait_for(says)
                except AssertionError as error:
                    is_busy = not isinstance(error, DiedAtStartError) or "is in use" in str(error)
                    if not is_busy or time.monotonic() > give_up_at:
                        raise
                    continue
                if alias == "free" and f"port {DOCUMENTED_ALIAS_PORT} is busy" in gateway.stderr.text:
                    assert time.monotonic() < give_up_at, f"port {DOCUMENTED_ALIAS_PORT} was never free"
                    continue
                await running.enter_async_context(attempt.pop_all())
            break
        yield gateway


async def _lock_documented_ports() -> IO[bytes]:
    """A file whose lock its holder has until it is closed."""
    file = (Path(tempfile.gettempdir()) / f"fluidmcp-tests-ports-{os.getuid()}.lock").open("ab")
    try:
        async with asyncio.timeout(PORTS_LIMIT_SECONDS):
            while not _try_lock(file):
                await asyncio.sleep(0.05)
    except BaseException:
        file.close()
        raise
    return file


async def _hold_port(port: int) -> socket.socket:
    """A socket that listens there. One that another program keeps all the time is as good."""
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with suppress(TimeoutError):
        async with asyncio.timeout(HOLD_LIMIT_SECONDS):
            while not _listen(holder, port):
                await asyncio.sleep(0.05)
    return holder


def _listen(holder: socket.socket, port: int) -> bool:
    try:
        holder.bind(("127.0.0.1", port))
        holder.listen()
    except OSError:
        return False
    return True


def _try_lock(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def _start(
    args: Sequence[str],
    env: Mapping[str, str] | None,
    cwd: Path | None,
    port: int | None,
    says_port: bool,
    before: Sequence[str],
) -> RunningGateway:
    for _ in range(PORT_ATTEMPTS):
        chosen = free_port() if port is None else port
        arguments = add_port(args, chosen) if says_port else args
        gateway = await _spawn(arguments, chosen, env, cwd, before)
        try:
            await _wait_until_healthy(gateway)
        except DiedAtStartError:
            if port is None and "in use" in gateway.stderr.text:
                continue
            raise
        return gateway
    raise AssertionError(f"each of {PORT_ATTEMPTS} free ports was taken before the gateway could have it")


async def spawn(
    *args: str, env: Mapping[str, str] | None = None, cwd: Path | None = None, before: Sequence[str] = ()
) -> asyncio.subprocess.Process:
    """A command that goes on while the test does something; the test waits for its end."""
    return await asyncio.create_subprocess_exec(
        *before,
        str(BIN / "fluidmcp"),
        *args,
        env=environment(env),
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=1024 * 1024,
    )


async def _spawn(
    args: Sequence[str], port: int, env: Mapping[str, str] | None, cwd: Path | None, before: Sequence[str]
) -> RunningGateway:
    process = await spawn(*args, env=env, cwd=cwd, before=before)
    assert process.stdout is not None
    assert process.stderr is not None
    return RunningGateway(f"http://localhost:{port}", port, process, Output(process.stdout), Output(process.stderr))


async def _wait_until_healthy(gateway: RunningGateway) -> None:
    """Ask `/health` until it answers 200; between two questions wait for the end of the child, which ends it all."""
    end = asyncio.create_task(gateway.process.wait())
    try:
        async with asyncio.timeout(START_LIMIT_SECONDS), httpx2.AsyncClient(trust_env=False, timeout=10.0) as client:
            while not await _is_healthy(client, gateway.port):
                done, _ = await asyncio.wait({end}, timeout=POLL_SECONDS)
                if done:
                    await asyncio.gather(gateway.stdout.finish(), gateway.stderr.finish())
                    raise DiedAtStartError(f"the gateway ended at its start: {gateway.report()}")
    except TimeoutError:
        report = gateway.report()
        await gateway.stop(with_signal=signal.SIGKILL)
        raise AssertionError(f"the gateway did not answer /health in {START_LIMIT_SECONDS} s: {report}") from None
    finally:
        end.cancel()


async def _is_healthy(client: httpx2.AsyncClient, port: int) -> bool:
    try:
        return (await client.get(f"http://127.0.0.1:{port}/health")).status_code == 200
    except httpx2.TransportError:
        return False


def kill_left(family: Sequence[psutil.Process], *, limit_seconds: float = 30.0) -> list[str]:
    """Give the processes a moment to end, kill those that stay, and tell their command lines."""
    _, alive = psutil.wait_procs(family, timeout=limit_seconds)
    left: list[str] = []
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                left.append(f"{process.pid} {' '.join(process.cmdline())}")
            process.kill()
    return left


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
