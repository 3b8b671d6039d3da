"""Real starters and what they start: confined as ordered, reported as it was, and nothing left of any of them."""

import asyncio
import json
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil
import pytest

from fluidmcp.config.isolation import IsolationLevel
from fluidmcp.config.settings import IsolationSettings
from fluidmcp.errors import ServerStartError
from fluidmcp.processes.isolation import starter
from fluidmcp.processes.isolation.confinement import Confinement
from fluidmcp.processes.launch.installed import OnInstall
from fluidmcp.processes.launch.launcher import ColdLauncher, ignore_install
from fluidmcp.processes.launch.spec import LaunchSpec
from fluidmcp.processes.starter_child import landlock
from fluidmcp.processes.watchdog import Watchdog
from tests.processes.conftest import LIMIT_SECONDS, Child
from tests.processes.test_watchdog import exists, open_family, until

SERVERS: Final = Path(__file__).parents[2] / "servers"
ORDINARY: Final = Path(__file__).parents[2] / "ordinary.py"
CHILD: Final = SERVERS / "child_confined.py"
WALLS: Final[Sequence[IsolationLevel]] = ("landlock", "namespace")
FIRST_USER_ID: Final = 500_000 + secrets.randbelow(100_000)
"""Nobody else on this machine has it, nor another run of these tests."""
NOBODY: Final = 65534

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or landlock.abi() == 0, reason="there is no Landlock on this machine"
)


@dataclass
class Stage:
    """A launcher that confines; `level` is what the next processes get."""

    launcher: ColdLauncher
    confinement: Confinement
    watchdog: Watchdog
    folder: Path
    children: list[Child] = field(default_factory=list[Child])

    async def launch(self, level: IsolationLevel, *args: str, **changes: Any) -> Child:
        """`child_confined.py` for a known person, unless `changes` say otherwise."""
        on_install: OnInstall = changes.pop("on_install", ignore_install)
        asked: dict[str, Any] = {
            "command": sys.executable,
            "args": ("-I", str(CHILD), *args),
            "environment": {"PATH": "/usr/bin:/bin"},
            "directory": Path("/"),
            "private_home": True,
            **changes,
        }
        spec = LaunchSpec(package="confined", isolation=level, **asked)
        child = Child(await self.launcher.launch(spec, on_install=on_install))
        self.children.append(child)
        return child

    async def facts(self, level: IsolationLevel, *tried: str | Path, **changes: Any) -> dict[str, Any]:
        """What a server says of itself and of the paths that it tried; an argument with their names would open them."""
        environment = {"PATH": "/usr/bin:/bin", "PATHS_TO_TRY": ":".join(map(str, tried))}
        child = await self.launch(level, "facts", **{"environment": environment, **changes})
        return json.loads(await child.line())

    @property
    def homes(self) -> list[Path]:
        return list((self.folder / "homes").iterdir())


@asynccontextmanager
async def open_stage(
    watchdog: Watchdog, folder: Path, *, install_timeout_seconds: float = 600.0, **settings: Any
) -> AsyncGenerator[Stage]:
    confinement = Confinement(IsolationSettings(**settings), operator_home=str(folder / "operator"))
    launcher = ColdLauncher(
        watchdog,
        confinement=confinement,
        homes=folder / "homes",
        stop_timeout_seconds=0.3,
        install_timeout_seconds=install_timeout_seconds,
    )
    stage = Stage(launcher, confinement, watchdog, folder)
    try:
        yield stage
    finally:
        await asyncio.gather(*(child.process.stop() for child in stage.children))
        await confinement.close()


@pytest.fixture
async def stage(watchdog: Watchdog, tmp_path: Path) -> AsyncIterator[Stage]:
    (tmp_path / "homes").mkdir()
    async with open_stage(watchdog, tmp_path) as stage:
        yield stage


async def skip_without(stage: Stage, level: IsolationLevel) -> None:
    """A container may have no namespaces to give."""
    await stage.confinement.choose_wall("auto")
    missing = stage.confinement._starter.machine.no_namespaces  # pyright: ignore[reportPrivateUsage]
    if level == "namespace" and missing:
        pytest.skip(f"there are no namespaces here: {missing}")


@pytest.fixture(params=WALLS)
async def level(request: pytest.FixtureRequest, stage: Stage) -> IsolationLevel:
    await skip_without(stage, request.param)
    return request.param


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder to which every user has a way."""
    with tempfile.TemporaryDirectory(prefix="fluidmcp-test-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "homes").mkdir()
        folder.joinpath("homes").chmod(0o711)
        yield folder


def server_of(child: Child) -> psutil.Process:
    """The server is the child of what the gateway knows as its process."""
    (server,) = psutil.Process(child.process.pid).children()
    return server


def is_running(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


# Orders


async def test_an_order_runs_confined(stage: Stage, level: IsolationLevel) -> None:
    secret = stage.folder / "secret.txt"
    secret.write_text("secret")
    neighbour = await stage.launch(level, "crowd", "0")
    await neighbour.line()
    (home,) = stage.homes
    facts = await stage.facts(level, secret, home / "tmp", f"/proc/{neighbour.process.pid}/environ")
    assert facts["no_new_privs"] == "1"
    assert facts["capabilities"] == 0
    assert facts["home"] == "open"
    assert set(facts["tried"]) <= {"PermissionError", "FileNotFoundError"}
    own = {name: os.readlink(f"/proc/self/ns/{name}") for name in facts["namespaces"]}
    shared = {name for name, link in facts["namespaces"].items() if link == own[name]}
    assert shared == (set() if level == "namespace" else set(own))
    assert facts["root"] == ("PermissionError" if level == "landlock" else facts["root"])


async def test_whoever_is_nobody_in_particular_keeps_the_files_of_the_operator(
    stage: Stage, level: IsolationLevel
) -> None:
    plain = stage.folder / "plain.txt"
    plain.write_text("plain")
    facts = await stage.facts(level, plain, private_home=False)
    assert facts["tried"] == ["open"]
    assert facts["no_new_privs"] == "1"


async def test_a_server_has_nothing_but_its_three_streams_and_the_signals_as_the_system_gives_them(
    stage: Stage, level: IsolationLevel
) -> None:
    inherited = os.open("/etc/passwd", os.O_RDONLY)
    try:
        os.set_inheritable(inherited, True)
        for _ in range(3):
            await stage.launch(level, "crowd", "0")
        facts = await stage.facts(level)
    finally:
        os.close(inherited)
    # The fourth is the folder that it lists.
    assert facts["descriptors"] == [0, 1, 2, 3]
    assert facts["session_of_keeper"]
    child = await stage.launch(level, command="sh", args=("-c", "exec cat /proc/self/status"))
    await child.exited()
    status = [child.lines.get_nowait().split() for _ in range(child.lines.qsize())]
    # Signal 32 is the C library's own: posix_spawn, which Python 3.13 starts processes with, leaves it ignored in them.
    own = ~(1 << 31)
    masks = {line[0]: int(line[1], 16) & own for line in status if line[0] in (b"SigBlk:", b"SigIgn:", b"SigCgt:")}
    assert masks == {b"SigBlk:": 0, b"SigIgn:": 0, b"SigCgt:": 0}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives out user ids")
async def test_an_order_with_a_user_id_runs_as_that_user_and_each_has_another_one(
    watchdog: Watchdog, open_folder: Path
) -> None:
    ids = range(FIRST_USER_ID, FIRST_USER_ID + 2)
    async with open_stage(watchdog, open_folder, user_ids=ids) as stage:
        # The way to this Python may be closed to others.
        asked = {"command": "sh", "args": ("-c", 'id -u; id -G; echo hi > "$HOME/file"; cat "$HOME/file"; cat')}
        first, second = [await stage.launch("uid", **asked) for _ in range(2)]
        for child, user_id in zip((first, second), ids, strict=True):
            assert [await child.line() for _ in range(3)] == [str(user_id).encode()] * 2 + [b"hi"]
            assert psutil.Process(child.process.pid).uids().real == 0
        await first.process.stop()
        again = await stage.launch("uid", **asked)
        assert await again.line() == str(ids[0]).encode()


async def test_an_environment_of_300_kilobytes_arrives_whole(stage: Stage, level: IsolationLevel) -> None:
    environment = {"PATH": "/usr/bin:/bin", **{f"LARGE_{number}": "x" * 100_000 for number in range(3)}}
    assert (await stage.facts(level, environment=environment))["environment_bytes"] > 300_000


async def test_fifty_orders_at_once_are_all_started(stage: Stage, level: IsolationLevel) -> None:
    async def launch(number: int) -> bytes:
        child = await stage.launch(level, command="cat", args=())
        child.process.write(b"%d" % number)
        return await child.line()

    said = await asyncio.gather(*map(launch, range(50)))
    assert said == [b"%d" % number for number in range(50)]
    assert len({child.process.pid for child in stage.children}) == 50


# Reports


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("#!/no/such/interpreter\n", "cannot be executed: No such file or directory."),
        ("no program at all", "is not a program for this machine."),
    ],
)
async def test_a_program_that_cannot_be_executed_is_reported(
    stage: Stage, level: IsolationLevel, text: str, why: str
) -> None:
    program = stage.folder / "program"
    program.write_text(text)
    program.chmod(0o755)
    with pytest.raises(ServerStartError) as caught:
        await stage.launch(level, command=str(program), args=())
    assert caught.value.what == "The server of 'confined' could not be started."
    assert why in caught.value.why
    assert str(program) in caught.value.why
    assert stage.homes == []
    # Not in the order of their numbers, which begin anew where the system has used them up.
    children = {child.pid for child in psutil.Process(os.getpid()).children()}
    assert children == {stage.watchdog.pid, stage.confinement.starter_pid}


async def test_a_directory_that_cannot_be_entered_is_reported(stage: Stage, level: IsolationLevel) -> None:
    closed = stage.folder / "closed"
    closed.mkdir(mode=0o000)
    with pytest.raises(ServerStartError) as caught:
        await stage.facts(level, directory=closed)
    assert caught.value.why == f"Its process may not enter its working directory {closed}: Permission denied."
    assert '"paths"' in caught.value.hint
    assert stage.homes == []


async def test_a_server_whose_directory_is_not_reached_starts_in_its_home(stage: Stage, level: IsolationLevel) -> None:
    operator = stage.folder / "operator"
    operator.mkdir()
    facts = await stage.facts(level, directory=operator)
    assert facts["directory"] == str(stage.homes[0])


@pytest.mark.parametrize(
    ("how", "described"),
    [
        ("0", "exit code 0"),
        ("3", "exit code 3"),
        ("127", "exit code 127"),
        ("255", "exit code 255"),
        ("SIGKILL", "killed by SIGKILL"),
        ("SIGSEGV", "killed by SIGSEGV"),
        ("SIGTERM", "killed by SIGTERM"),
        ("SIGUSR1", "killed by SIGUSR1"),
        ("SIGCHLD", "running"),
    ],
)
async def test_the_end_of_a_server_is_told_as_it_was(
    stage: Stage, level: IsolationLevel, how: str, described: str
) -> None:
    child = await stage.launch(level, "end", how)
    if described == "running":
        assert child.process.is_alive
        return
    await child.exited()
    assert child.process.exit_description() == described


async def test_a_server_that_another_kills_is_told_as_it_was(stage: Stage, level: IsolationLevel) -> None:
    child = await stage.launch(level, "crowd", "0")
    await child.line()
    server_of(child).send_signal(signal.SIGSEGV)
    await child.exited()
    assert child.process.exit_description() == "killed by SIGSEGV"


# Starters that die or stand still


async def replace_starter(stage: Stage) -> None:
    first = stage.confinement.starter_pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await until(lambda: not is_running(first))


async def test_another_starter_takes_over_and_what_runs_lives_on_with_its_limits(
    watchdog: Watchdog, tmp_path: Path
) -> None:
    async with open_stage(watchdog, tmp_path, max_tasks=3) as stage:
        child = await stage.launch("landlock", "crowd", "5")
        assert await child.line() == b"ready"
        first = stage.confinement.starter_pid
        await replace_starter(stage)
        other = await stage.launch("landlock", "crowd", "0")
        assert await other.line() == b"ready"
        assert stage.confinement.starter_pid not in (None, first)
        assert child.process.is_alive
        child.process.write(b"go")
        await child.exited()
        assert child.process.exit_description() == (
            "ended because it used 6 processes, and 3 are allowed (FMCP_MAX_TASKS)"
        )
        assert other.process.is_alive


async def test_what_ended_meanwhile_is_no_trouble_to_the_next_starter(stage: Stage) -> None:
    child = await stage.launch("landlock", "crowd", "0")
    await child.line()
    await replace_starter(stage)
    await child.process.stop()
    assert (await stage.facts("landlock"))["no_new_privs"] == "1"


async def test_a_starter_that_stands_still_is_replaced_and_what_it_was_to_start_is_never_started(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.facts("landlock")
    monkeypatch.setattr(starter, "ANSWER_SECONDS", 0.2)
    first = stage.confinement.starter_pid
    assert first is not None
    handle = psutil.Process(first)
    handle.suspend()
    try:
        with pytest.raises(ServerStartError, match="could not be isolated"):
            await stage.facts("landlock")
    finally:
        with suppress(psutil.NoSuchProcess):
            handle.resume()
    monkeypatch.undo()
    # One that is started now comes later than what would have been started then.
    assert (await stage.facts("landlock"))["no_new_privs"] == "1"
    known = {stage.watchdog.pid, stage.confinement.starter_pid, *(child.process.pid for child in stage.children)}
    assert {process.pid for process in psutil.Process(os.getpid()).children()} == known
    assert len(stage.homes) == 2


async def test_the_starter_ends_with_its_gateway_and_what_it_started_does_not(stage: Stage) -> None:
    child = await stage.launch("landlock", "crowd", "0")
    await child.line()
    pid = stage.confinement.starter_pid
    assert pid is not None
    await stage.confinement.close()
    assert not is_running(pid)
    assert child.process.is_alive


# Gateways that die


@asynccontextmanager
async def start_gateway(
    level: IsolationLevel, homes: Path, *args: str, before: Sequence[str] = ()
) -> AsyncGenerator[tuple[asyncio.subprocess.Process, dict[str, int]]]:
    """A stand-in for the gateway with one server, and the numbers of its processes; it is killed at the end."""
    process = await asyncio.create_subprocess_exec(
        *before,
        sys.executable,
        str(SERVERS / "confined_gateway.py"),
        level,
        str(homes),
        *args,
        stdout=asyncio.subprocess.PIPE,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(SERVERS.parents[1])},
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            yield process, json.loads(await process.stdout.readline())
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


KILLS: Final[dict[str, Callable[[int], None]]] = {
    "gateway": lambda pid: os.kill(pid, signal.SIGKILL),
    "gateway-as-by-a-service-manager": lambda pid: os.kill(pid, signal.SIGTERM),
}


@pytest.mark.threat("E04")
@pytest.mark.parametrize("kill", KILLS)
async def test_nothing_is_left_of_a_gateway_that_was_killed(
    stage: Stage, level: IsolationLevel, kill: str, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        family = await stack.enter_async_context(open_family())
        starting = start_gateway(level, tmp_path / "theirs", "runaway", str(family.port))
        gateway, numbers = await stack.enter_async_context(starting)
        arrived = dict([await family.arrived(), await family.arrived()])
        assert arrived.keys() == {1, 2}
        assert arrived[2] == "", "it has no environment"
        assert exists(arrived[1])
        KILLS[kill](gateway.pid)
        await gateway.wait()
        assert {await family.ended(), await family.ended()} == {1, 2}
        await until(lambda: not exists(arrived[1]))
        await until(lambda: not any(map(is_running, numbers.values())))


@pytest.mark.threat("E04")
async def test_a_keeper_takes_its_family_along_where_nobody_else_is_left_to_end_it(
    stage: Stage, level: IsolationLevel, tmp_path: Path
) -> None:
    async with open_family() as family:
        starting = start_gateway(level, tmp_path / "theirs", "runaway", str(family.port))
        async with starting as (gateway, numbers):
            await family.arrived()
            await family.arrived()
            for name in ("starter", "watchdog"):
                os.kill(numbers[name], signal.SIGKILL)
            gateway.kill()
            assert {await family.ended(), await family.ended()} == {1, 2}
            await until(lambda: not is_running(numbers["keeper"]))


@pytest.mark.threat("E04")
async def test_the_watchdog_takes_the_family_of_a_keeper_along_that_does_not_get_to_it(
    stage: Stage, level: IsolationLevel, tmp_path: Path
) -> None:
    async with open_family() as family:
        starting = start_gateway(level, tmp_path / "theirs", "runaway", str(family.port))
        async with starting as (gateway, numbers):
            await family.arrived()
            await family.arrived()
            os.kill(numbers["keeper"], signal.SIGSTOP)
            gateway.kill()
            assert {await family.ended(), await family.ended()} == {1, 2}
            await until(lambda: not is_running(numbers["keeper"]))


async def test_the_helpers_of_an_ordinary_user_belong_to_root_in_proc(
    stage: Stage, level: IsolationLevel, open_folder: Path
) -> None:
    """What is not dumpable has files in /proc that are root's: no process of the same user may open them."""
    user = NOBODY if os.geteuid() == 0 else os.geteuid()
    homes = open_folder / "homes"
    os.chown(homes, user, -1)
    before = [sys.executable, str(ORDINARY), str(user), str(user)]
    async with start_gateway(level, homes, "crowd", "0", before=before) as (gateway, numbers):
        owners = {name: os.stat(f"/proc/{pid}/environ").st_uid for name, pid in numbers.items()}
        assert owners == dict.fromkeys(("watchdog", "starter", "keeper"), 0)
        assert {psutil.Process(pid).uids().real for pid in numbers.values()} == {user}
        assert os.stat(f"/proc/{gateway.pid}/environ").st_uid == user, "the stand-in does not hide: this can be seen"
