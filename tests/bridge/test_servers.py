"""Which process a caller gets, with real servers; what callers hear of one another stands in tests/gateway."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from fluidmcp.bridge.channel import Channel
from fluidmcp.bridge.servers import ChannelLease, PackageServers
from fluidmcp.config.entries import EnvVariable, ServerEntry
from fluidmcp.config.settings import ProcessLimits
from fluidmcp.errors import ServerStartError
from fluidmcp.processes.launch.launcher import ColdLauncher, ignore_install
from fluidmcp.processes.launch.spec import LaunchSpec
from fluidmcp.processes.pool.pool import Pool
from fluidmcp.processes.process import ServerProcess
from fluidmcp.processes.watchdog import Watchdog

SERVER = Path(__file__).parents[1] / "servers" / "asking_server.py"
LIMIT_SECONDS = 60.0
ASKED = b'{"elicitation":{}}'


@pytest.fixture
async def only_one(tmp_path: Path) -> AsyncIterator[PackageServers]:
    """A handshake-era server of which only one process may run."""
    watchdog = Watchdog()
    await watchdog.start()
    limits = ProcessLimits(max_processes_per_package=1, start_timeout_seconds=LIMIT_SECONDS)
    pool = Pool[Channel](limits)
    launcher = ColdLauncher(watchdog, homes=tmp_path)
    entry = ServerEntry(
        name="asking",
        command=sys.executable,
        args=("-I", str(SERVER), "handshake"),
        directory=tmp_path,
        source="a test",
    )
    yield PackageServers(entry, {"PATH": "/usr/bin:/bin"}, pool=pool, launcher=launcher, limits=limits)
    await pool.close()
    await watchdog.close()


async def ask_alone(servers: PackageServers) -> ChannelLease:
    async with asyncio.timeout(LIMIT_SECONDS):
        return await servers.acquire_stateless(None, (), capabilities=ASKED, wants_logs=False, is_alone=True)


async def test_who_may_wait_for_a_process_of_the_group_does_not_wait_for_room(only_one: PackageServers) -> None:
    first = await ask_alone(only_one)
    waiting = asyncio.create_task(ask_alone(only_one))
    await asyncio.sleep(0)
    first.release()
    second = await waiting
    # Room would have been made by ending this very process.
    assert second.worker is first.worker
    second.release()


class RefusingLauncher:
    """Starts nothing, and keeps what it was asked for."""

    def __init__(self) -> None:
        self.specs: list[LaunchSpec] = []

    async def launch(
        self, spec: LaunchSpec, *, on_install: Callable[[ServerProcess], None] = ignore_install
    ) -> ServerProcess:
        self.specs.append(spec)
        raise ServerStartError("Nothing is started here.")


async def test_variables_of_an_entry_that_sound_secret_do_not_show_in_what_its_server_says(tmp_path: Path) -> None:
    values = {"DB_PASS": "secret-1", "DATABASE_URL": "secret-2", "PASSPHRASE": "secret-3", "REGION": "europe"}
    env = tuple((name, EnvVariable(value=value)) for name, value in values.items())
    entry = ServerEntry(name="a", command="x", directory=tmp_path, source="a test", env=env)
    limits = ProcessLimits()
    launcher = RefusingLauncher()
    servers = PackageServers(entry, {}, pool=Pool[Channel](limits), launcher=launcher, limits=limits)
    with pytest.raises(ServerStartError):
        async with asyncio.timeout(LIMIT_SECONDS):
            await servers.acquire(None, ())
    hidden = {secret.reveal() for secret in launcher.specs[0].secrets}
    assert hidden == {"secret-1", "secret-2", "secret-3"}
