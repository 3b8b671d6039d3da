"""Which process a caller gets, with real servers; what callers hear of one another stands in tests/gateway."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fluidmcp.bridge.channel import Channel
from fluidmcp.bridge.servers import ChannelLease, PackageServers
from fluidmcp.config.entries import ServerEntry
from fluidmcp.config.settings import ProcessLimits
from fluidmcp.processes.launch.launcher import ColdLauncher
from fluidmcp.processes.pool.pool import Pool
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
        return await servers.acquire_stateless(None, None, capabilities=ASKED, wants_logs=False, is_alone=True)


async def test_who_may_wait_for_a_process_of_the_group_does_not_wait_for_room(only_one: PackageServers) -> None:
    first = await ask_alone(only_one)
    waiting = asyncio.create_task(ask_alone(only_one))
    await asyncio.sleep(0)
    first.release()
    second = await waiting
    # Room would have been made by ending this very process.
    assert second.worker is first.worker
    second.release()
