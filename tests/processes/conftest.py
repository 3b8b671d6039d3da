"""A watchdog and a launcher of real processes. What depends on the event loop runs under uvloop and plain asyncio.

Tests marked `asyncio(loop_factories=["jumping"])` have a loop whose time is theirs, and no real process.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvloop

from fluidmcp.config.secret import Secret
from fluidmcp.processes.launch.launcher import ColdLauncher
from fluidmcp.processes.launch.spec import LaunchSpec
from fluidmcp.processes.process import ServerProcess
from fluidmcp.processes.watchdog import Watchdog
from tests.processes.reaching import Ground
from tests.timing import JumpingLoop

CHILD = Path(__file__).parents[1] / "servers" / "child_lines.py"
LIMIT_SECONDS = 60.0
ON_BOTH_LOOPS = ("test_process.py", "test_watchdog.py")


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if any("jumping" in mark.kwargs.get("loop_factories", ()) for mark in item.iter_markers("asyncio")):
        return {"jumping": JumpingLoop}
    factories: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"uvloop": uvloop.new_event_loop}
    if item.path.name in ON_BOTH_LOOPS:
        factories["asyncio"] = asyncio.new_event_loop
    return factories


@dataclass
class Child:
    """A launched process and what it said so far."""

    process: ServerProcess
    lines: "asyncio.Queue[bytes]" = field(default_factory=lambda: asyncio.Queue[bytes]())
    exits: list[int] = field(default_factory=lambda: list[int]())

    def __post_init__(self) -> None:
        # `exits` notes how many lines were there when the exit was told.
        self.process.connect(self.lines.put_nowait, lambda: self.exits.append(self.lines.qsize()))

    async def line(self) -> bytes:
        async with asyncio.timeout(LIMIT_SECONDS):
            return await self.lines.get()

    async def exited(self) -> None:
        async with asyncio.timeout(LIMIT_SECONDS):
            await self.process.wait_exited()


Launch = Callable[..., Awaitable[Child]]


@pytest.fixture
async def watchdog() -> AsyncIterator[Watchdog]:
    watchdog = Watchdog()
    await watchdog.start()
    yield watchdog
    await watchdog.close()


@pytest.fixture
def launcher(watchdog: Watchdog, tmp_path: Path) -> ColdLauncher:
    """Its processes have little time to end: those that will not shall not keep a test."""
    return ColdLauncher(watchdog, homes=tmp_path / "homes", stop_timeout_seconds=0.3)


@pytest.fixture
def patient_launcher(watchdog: Watchdog, tmp_path: Path) -> ColdLauncher:
    """Its processes have more time to end than any machine takes to let them."""
    return ColdLauncher(watchdog, homes=tmp_path / "homes", stop_timeout_seconds=LIMIT_SECONDS)


@pytest.fixture
async def launch(launcher: ColdLauncher) -> AsyncIterator[Launch]:
    """Launch `child_lines.py` with the given arguments; whatever still runs at the end is stopped."""
    children: list[Child] = []

    async def launch(
        *args: str,
        environment: dict[str, str] | None = None,
        private_home: bool = False,
        secrets: tuple[Secret, ...] = (),
        launcher: ColdLauncher = launcher,
    ) -> Child:
        spec = LaunchSpec(
            package="lines",
            command=sys.executable,
            args=("-I", str(CHILD), *args),
            environment=environment or {},
            directory=Path("/"),
            private_home=private_home,
            secrets=secrets,
        )
        child = Child(await launcher.launch(spec))
        children.append(child)
        return child

    yield launch
    await asyncio.gather(*(child.process.stop() for child in children))


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    ground = Ground(tmp_path)
    ground.write("bin/server", "#!/bin/sh\n").chmod(0o755)
    ground.write("homes/operator/.ssh/id", "secret")
    ground.work.mkdir()
    return ground
