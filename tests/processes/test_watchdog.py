import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil
import pytest

from fluidmcp.processes.launch.launcher import ColdLauncher
from fluidmcp.processes.launch.spec import LaunchSpec
from fluidmcp.processes.watchdog import MARK_NAME, Watchdog

SERVERS = Path(__file__).parents[1] / "servers"
LIMIT_SECONDS = 60.0


class Family:
    """A loopback port to which every member of a family holds a connection for as long as it lives."""

    def __init__(self) -> None:
        self.port = 0
        self.arrivals: asyncio.Queue[tuple[int, str]] = asyncio.Queue()
        self.ends: asyncio.Queue[int] = asyncio.Queue()
        self._greetings: set[asyncio.Task[None]] = set()

    def greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._greetings.add(asyncio.create_task(self._greet(reader, writer)))

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pid, _, home = (await reader.readline()).decode().strip().partition(" ")
        self.arrivals.put_nowait((int(pid), home))
        try:
            await reader.read()
        except ConnectionResetError:
            # A killed process may end its connection so.
            pass
        self.ends.put_nowait(int(pid))
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async def part(self) -> None:
        """Wait until every connection is closed, so that none outlives the event loop of its test."""
        if self._greetings:
            await asyncio.wait(self._greetings, timeout=LIMIT_SECONDS)

    async def arrived(self) -> tuple[int, str]:
        async with asyncio.timeout(LIMIT_SECONDS):
            return await self.arrivals.get()

    async def ended(self) -> int:
        async with asyncio.timeout(LIMIT_SECONDS):
            return await self.ends.get()


@asynccontextmanager
async def open_family() -> AsyncGenerator[Family]:
    family = Family()
    server = await asyncio.start_server(family.greet, "127.0.0.1", 0)
    family.port = server.sockets[0].getsockname()[1]
    yield family
    server.close()
    await server.wait_closed()
    await family.part()


def exists(path: str) -> bool:
    return Path(path).exists()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_SECONDS):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
async def test_nothing_is_left_of_a_gateway_that_was_killed(signum: signal.Signals) -> None:
    await kill_a_gateway(lambda gateway: gateway.send_signal(signum))


async def test_the_watchdog_outlives_what_kills_the_whole_group_of_the_gateway() -> None:
    await kill_a_gateway(lambda gateway: os.killpg(gateway.pid, signal.SIGKILL))


async def test_a_grandchild_that_left_its_group_is_found() -> None:
    await kill_a_gateway(lambda gateway: gateway.kill(), "stray")


async def kill_a_gateway(kill: Callable[[asyncio.subprocess.Process], None], *options: str) -> None:
    """Start a stand-in gateway with a child and a grandchild, kill it, and see both go and their home with them."""
    async with open_family() as family:
        gateway = await start_gateway(family.port, *options)
        members = {await family.arrived(), await family.arrived()}
        assert len({pid for pid, _ in members}) == 2
        (home,) = {home for _, home in members}
        assert exists(home)
        kill(gateway)
        await gateway.communicate()
        assert {await family.ended(), await family.ended()} == {pid for pid, _ in members}
        await until(lambda: not exists(home))


async def test_a_gateway_killed_in_the_moment_of_a_birth_leaves_nothing() -> None:
    async with open_family() as family:
        gateway = await start_gateway(family.port, "die-at-spawn")
        await gateway.communicate()
        # The child may be killed before it comes here; if it comes, it goes again.
        await until(lambda: not any(is_member(process, family.port) for process in psutil.process_iter(["cmdline"])))


def is_member(process: psutil.Process, port: int) -> bool:
    command: list[str] = process.info["cmdline"] or []
    return str(port) in command and any(part.endswith("child_family.py") for part in command)


async def start_gateway(port: int, *options: str) -> asyncio.subprocess.Process:
    loop = "uvloop" if "uvloop" in type(asyncio.get_running_loop()).__module__ else "asyncio"
    return await asyncio.create_subprocess_exec(
        sys.executable,
        str(SERVERS / "child_gateway.py"),
        loop,
        str(port),
        *options,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )


async def test_another_watchdog_takes_over_and_knows_what_lives(
    watchdog: Watchdog, launcher: ColdLauncher, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fluidmcp.processes.watchdog.RESTART_DELAY_SECONDS", 0.05)
    async with open_family() as family:
        process = await launcher.launch(family_spec(family.port))
        members = {await family.arrived(), await family.arrived()}
        first = watchdog.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await until(lambda: watchdog.pid not in (None, first))
        assert "another one" in caplog.text
        assert process.is_alive
        # What is still registered when the gateway closes its watchdog goes with it.
        await watchdog.close()
        assert {await family.ended(), await family.ended()} == {pid for pid, _ in members}
        await process.wait_exited()
        await process.stop()


async def test_a_stopped_process_is_forgotten(watchdog: Watchdog, launcher: ColdLauncher) -> None:
    async with open_family() as family:
        process = await launcher.launch(family_spec(family.port))
        home = (await family.arrived())[1]
        await family.arrived()
        await process.stop()
        assert {await family.ended(), await family.ended()}
        assert not exists(home)
        # What the watchdog still remembered it would delete at its end.
        os.mkdir(home)
        await watchdog.close()
        assert exists(home)


def family_spec(port: int) -> LaunchSpec:
    return LaunchSpec(
        package="family",
        command=sys.executable,
        args=("-I", str(SERVERS / "child_family.py"), str(port)),
        environment={},
        directory=Path("/"),
        private_home=True,
    )


async def test_the_watchdog_holds_nothing_of_the_gateway(watchdog: Watchdog, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = watchdog.pid
    assert pid is not None
    process = psutil.Process(pid)
    # Until it has become another program, it has no command line and would pass for anything.
    await until(lambda: process.cmdline()[1:3] == ["-I", "-S"])
    # Its first act is to close what it inherited.
    await until(lambda: set(os.listdir(f"/proc/{pid}/fd")) == {"0", "1", "2"})
    assert os.getsid(pid) == pid
    assert process.environ() == {}
    assert watchdog.mark[1] not in " ".join(process.cmdline())
    assert watchdog.mark[0] == MARK_NAME
