"""The eras that servers speak, found out with real processes that behave in every way seen in the field."""

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec import UNSET

from fluidmcp.bridge.channel import Channel, Era
from fluidmcp.bridge.start import (
    ChannelStarter,
    HandshakeRefusedError,
    ServerExitedBeforeAnswerError,
    build_initialize_params,
)
from fluidmcp.config.settings import ProcessLimits
from fluidmcp.processes.launch.launcher import ColdLauncher
from fluidmcp.processes.launch.spec import LaunchSpec
from fluidmcp.processes.pool.starts import StartReport
from fluidmcp.processes.watchdog import Watchdog

LIMIT_SECONDS = 60.0
SERVER = Path(__file__).parents[1] / "servers" / "era_server.py"


class Stage:
    """Starts `era_server.py` and tells what its processes were asked, process by process."""

    def __init__(self, starter: ChannelStarter, directory: Path) -> None:
        self.starter = starter
        self._directory = directory
        self._log = directory / "log"
        self.channels: list[Channel] = []

    async def start(self, wanted: Era, *options: str, report: StartReport | None = None) -> Channel:
        spec = LaunchSpec(
            package="era",
            command=sys.executable,
            args=("-I", str(SERVER), str(self._log), *options),
            environment={"PATH": "/usr/bin:/bin"},
            directory=self._directory,
        )
        channel = await self.starter.start(
            spec, wanted=wanted, initialize_params=build_initialize_params(), report=report or StartReport()
        )
        self.channels.append(channel)
        return channel

    async def wait_silent(self, *kinds: str) -> None:
        """Until these greetings, and no others, got no answer, and the server's stderr says so and is read."""
        silent = self._log.with_name("log.silent")
        async with asyncio.timeout(LIMIT_SECONDS):
            while not silent.exists() or silent.read_text().split() != list(kinds):
                await asyncio.sleep(0.005)
        await asyncio.sleep(0)

    async def read_log(self) -> list[list[str]]:
        """The methods that each process got, in order of birth, and forget them."""
        for channel in self.channels:
            if channel.is_alive:
                await channel.send_request("flush", UNSET).answer()
        processes: dict[str, list[str]] = {}
        for line in self._log.read_text().splitlines():
            pid, method = line.split(" ")
            if method != "flush":
                processes.setdefault(pid, []).append(method)
        self._log.unlink()
        return list(processes.values())


@asynccontextmanager
async def set_stage(directory: Path, *, probe_seconds: float) -> AsyncGenerator[Stage]:
    watchdog = Watchdog()
    await watchdog.start()
    launcher = ColdLauncher(watchdog, homes=directory)
    stage = Stage(ChannelStarter(launcher, ProcessLimits(), probe_seconds=probe_seconds), directory)
    try:
        yield stage
    finally:
        for channel in stage.channels:
            await channel.stop()
        await watchdog.close()


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with set_stage(tmp_path, probe_seconds=60) as stage:
        yield stage


@pytest.fixture
async def impatient_stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """Here a server that is slow to answer is taken for one that does not answer."""
    async with set_stage(tmp_path, probe_seconds=0.1) as stage:
        yield stage


GREETED = ["initialize", "notifications/initialized"]


@pytest.mark.parametrize("wanted", ["handshake", "stateless"])
async def test_a_server_of_both_eras_is_greeted_in_the_wanted_one_only(stage: Stage, wanted: Era) -> None:
    for _ in range(2):
        channel = await stage.start(wanted, "--lock")
        assert channel.era == wanted
    first = GREETED if wanted == "handshake" else ["server/discover"]
    assert await stage.read_log() == [first, first]


async def test_each_era_gets_a_process_of_its_own(stage: Stage) -> None:
    assert [(await stage.start(era, "--lock")).era for era in ("handshake", "stateless", "handshake")] == [
        "handshake",
        "stateless",
        "handshake",
    ]


@pytest.mark.parametrize("code", ["-32601", "-32602", "-32600", "-32603", "0", "-32022"])
async def test_any_error_to_discover_leads_to_the_handshake_in_the_same_process(stage: Stage, code: str) -> None:
    channel = await stage.start("stateless", "--discover", code)
    assert channel.era == "handshake"
    assert await stage.read_log() == [["server/discover", *GREETED]]


async def test_what_was_learnt_is_remembered(stage: Stage) -> None:
    await stage.start("stateless", "--discover", "-32601")
    await stage.read_log()
    await stage.start("stateless", "--discover", "-32601")
    assert (await stage.read_log())[-1] == GREETED


async def test_a_server_that_dies_of_discover_gets_a_new_process(stage: Stage) -> None:
    channel = await stage.start("stateless", "--discover", "die")
    assert channel.era == "handshake"
    assert await stage.read_log() == [["server/discover"], GREETED]


async def test_a_server_that_refuses_both_in_one_process_gets_a_new_one(stage: Stage) -> None:
    channel = await stage.start("stateless", "--discover", "-32601", "--lock")
    assert channel.era == "handshake"
    assert await stage.read_log() == [["server/discover", "initialize"], GREETED]


async def test_a_server_that_says_nothing_to_discover_is_greeted_after_a_while(impatient_stage: Stage) -> None:
    channel = await impatient_stage.start("stateless", "--discover", "silent")
    assert channel.era == "handshake"
    assert await impatient_stage.read_log() == [["server/discover", *GREETED]]


async def test_a_slow_server_may_still_answer_discover(impatient_stage: Stage) -> None:
    channel = await impatient_stage.start("stateless", "--discover", "late", "--initialize", "-32022")
    assert channel.era == "stateless"
    assert await impatient_stage.read_log() == [["server/discover", "initialize"]]


async def test_a_server_without_the_handshake_is_discovered_and_remembered(stage: Stage) -> None:
    first = await stage.start("handshake", "--initialize", "-32022")
    second = await stage.start("handshake", "--initialize", "-32022")
    assert (first.era, second.era) == ("stateless", "stateless")
    assert await stage.read_log() == [["initialize"], ["server/discover"], ["server/discover"]]


@pytest.mark.parametrize("wanted", ["handshake", "stateless"])
async def test_a_server_of_neither_era_does_not_start_and_leaves_nothing(stage: Stage, wanted: Era) -> None:
    with pytest.raises(HandshakeRefusedError):
        await stage.start(wanted, "--initialize", "-32603", "--discover", "-32603")
    assert [methods for methods in await stage.read_log() if "notifications/initialized" in methods] == []


@pytest.mark.parametrize("wanted", ["handshake", "stateless"])
async def test_a_server_that_dies_of_everything_does_not_start(stage: Stage, wanted: Era) -> None:
    with pytest.raises(ServerExitedBeforeAnswerError):
        await stage.start(wanted, "--initialize", "die", "--discover", "die")


@pytest.mark.parametrize(
    ("wanted", "options", "silent"),
    [
        ("handshake", ("--initialize", "silent"), ["initialize"]),
        ("stateless", ("--discover", "silent"), ["discover"]),
        ("handshake", ("--initialize", "-32022", "--discover", "silent"), ["discover"]),
        ("stateless", ("--discover", "-32601", "--initialize", "silent"), ["initialize"]),
        ("stateless", ("--discover", "die", "--initialize", "silent"), ["initialize"]),
    ],
    ids=["handshake", "stateless", "stateless after a refusal", "handshake after a refusal", "handshake after a death"],
)
async def test_a_start_that_is_given_up_keeps_what_the_server_wrote(
    stage: Stage, wanted: Era, options: tuple[str, ...], silent: list[str]
) -> None:
    report = StartReport()
    starting = asyncio.create_task(stage.start(wanted, *options, report=report))
    await stage.wait_silent(*silent)
    assert report.stderr_tail == ()
    starting.cancel()
    await asyncio.wait({starting})
    assert report.stderr_tail == (f"no answer to {silent[0]}",)


async def test_so_does_one_that_is_given_up_after_both_questions(impatient_stage: Stage) -> None:
    report = StartReport()
    options = ("--discover", "silent", "--initialize", "silent")
    starting = asyncio.create_task(impatient_stage.start("stateless", *options, report=report))
    await impatient_stage.wait_silent("discover", "initialize")
    starting.cancel()
    await asyncio.wait({starting})
    assert report.stderr_tail == ("no answer to discover", "no answer to initialize")
