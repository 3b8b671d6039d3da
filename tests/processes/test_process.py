import asyncio
import json
import os
import select
import signal
from pathlib import Path

import psutil
import pytest

from fluidmcp.config.secret import Secret
from fluidmcp.errors import CapacityError, ServerExitedError, ServerStartError
from fluidmcp.processes.launch.launcher import ColdLauncher
from fluidmcp.processes.launch.spec import LaunchSpec
from tests.timing import limit_of_processor_time, limit_of_running_time

from .conftest import LIMIT_SECONDS, Launch

TRIES = 5


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def has_ended(pidfd: int, *, limit_seconds: float) -> bool:
    """Whether a process ends within the time; Linux makes the descriptor readable then."""
    return bool(select.select([pidfd], [], [], limit_seconds)[0])


def mode_of(path: str | Path) -> int:
    return Path(path).stat().st_mode & 0o777


def exists(path: str | Path) -> bool:
    return Path(path).exists()


def entries(path: Path) -> list[Path]:
    return list(path.iterdir())


def count_write_calls() -> int:
    """Calls of write(2) by this process, as the kernel counts them."""
    (line,) = [line for line in Path("/proc/self/io").read_text().splitlines() if line.startswith("syscw:")]
    return int(line.split()[1])


def command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


async def test_lines_go_in_and_come_out(launch: Launch) -> None:
    child = await launch("echo")
    child.process.write(b"one")
    child.process.write("zwei \u2028 ü".encode())
    assert await child.line() == b"one"
    assert await child.line() == "zwei \u2028 ü".encode()
    assert child.process.is_alive
    assert child.process.exit_description() == "running"


async def test_a_line_of_30_megabytes_arrives_whole(launch: Launch) -> None:
    child = await launch("long_line")
    # Putting the parts together again for every part would cost many times that.
    with limit_of_processor_time(3):
        assert await child.line() == b"a" * (30 * 1024 * 1024)
    # A carriage return belongs to the newline, and blank lines are no messages.
    assert await child.line() == b"short"
    assert child.lines.empty()


async def test_writes_of_one_turn_of_the_loop_are_one_write(launch: Launch) -> None:
    child = await launch("read_sizes")
    child.process.write(b"ready")
    assert await child.line() == b"6"
    before = count_write_calls()
    for _ in range(100):
        child.process.write(b"123456789")
    assert await child.line() == b"1000"
    # The loop writes a little for itself; a hundred writes it must not be.
    assert count_write_calls() - before < 20


async def test_the_last_lines_come_before_the_exit(launch: Launch) -> None:
    child = await launch("last_words")
    await child.exited()
    assert [child.lines.get_nowait() for _ in range(3)] == [b"one", b"two", b"three"]
    assert child.exits == [3]
    assert child.process.exit_description() == "exit code 3"
    assert not child.process.is_alive


async def test_kill_9_is_noticed_within_a_second(launch: Launch) -> None:
    child = await launch("echo")
    child.process.write(b"ready")
    await child.line()
    os.kill(child.process.pid, signal.SIGKILL)
    async with limit_of_running_time(1):
        await child.process.wait_exited()
    assert child.exits == [0]
    assert child.process.exit_description() == "killed by SIGKILL"
    with pytest.raises(ServerExitedError) as caught:
        child.process.write(b"too late")
    assert caught.value.why == "killed by SIGKILL"


@pytest.mark.parametrize("mode", ["family", "stray"])
async def test_a_death_is_told_at_once_although_a_grandchild_holds_the_pipes(launch: Launch, mode: str) -> None:
    child = await launch(mode)
    grandchild = int(await child.line())
    os.kill(child.process.pid, signal.SIGKILL)
    async with limit_of_running_time(1):
        await child.process.wait_exited()
    assert len(child.exits) == 1
    if mode == "stray":
        assert is_running(grandchild), "it still holds the pipes"
        os.kill(grandchild, signal.SIGKILL)


async def test_a_grandchild_dies_with_the_leader(launch: Launch) -> None:
    child = await launch("family")
    grandchild = os.pidfd_open(int(await child.line()))
    try:
        assert not has_ended(grandchild, limit_seconds=0)
        os.kill(child.process.pid, signal.SIGKILL)
        await child.exited()
        # It has been killed by now; the kernel closes its pipes a moment before it counts as dead.
        assert await asyncio.to_thread(has_ended, grandchild, limit_seconds=LIMIT_SECONDS)
    finally:
        os.close(grandchild)


async def test_a_server_that_ends_with_its_input_is_not_signalled(
    launch: Launch, patient_launcher: ColdLauncher
) -> None:
    child = await launch("echo", launcher=patient_launcher)
    child.process.write(b"last")
    await child.process.stop()
    assert await child.line() == b"last"
    assert child.process.exit_description() == "exit code 0"


async def test_stopping_goes_from_the_end_of_input_to_sigterm(launch: Launch) -> None:
    endings: list[str] = []
    # On a machine that stands still at that moment it is killed before it could obey.
    while len(endings) < TRIES and "exit code 7" not in endings:
        child = await launch("obeys_sigterm")
        await child.line()
        await child.process.stop()
        endings.append(child.process.exit_description())
    assert endings[-1] == "exit code 7", endings


async def test_a_server_that_ignores_sigterm_is_killed_with_its_family(launch: Launch) -> None:
    child = await launch("stubborn")
    assert await child.line() == b"ready"
    await child.process.stop()
    assert child.process.exit_description() == "killed by SIGKILL"
    assert not is_running(child.process.pid)


async def test_a_server_is_asked_to_end_before_it_is_killed(launch: Launch) -> None:
    said: list[bytes] = []
    # On a machine that stands still at that moment it is killed before it could say so.
    for _ in range(TRIES):
        child = await launch("stubborn")
        assert await child.line() == b"ready"
        await child.process.stop()
        if not child.lines.empty():
            said.append(child.lines.get_nowait())
            break
    assert said == [b"not now"]


async def test_stop_may_be_called_by_many_and_a_cancelled_caller_changes_nothing(launch: Launch) -> None:
    child = await launch("stubborn")
    await child.line()
    first = asyncio.create_task(child.process.stop())
    others = [asyncio.create_task(child.process.stop()) for _ in range(5)]
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(*others)
    assert first.cancelled()
    assert not child.process.is_alive
    assert child.exits == [1]
    await child.process.stop()


async def test_the_exit_is_told_to_one_who_connects_late(launcher: ColdLauncher) -> None:
    process = await launcher.launch(
        LaunchSpec(
            package="late",
            command="/bin/sh",
            args=("-c", "echo early; exit 4"),
            environment={},
            directory=Path("/"),
        )
    )
    await process.wait_exited()
    lines: list[bytes] = []
    told = asyncio.Event()
    process.connect(lines.append, told.set)
    async with asyncio.timeout(LIMIT_SECONDS):
        await told.wait()
    assert lines == [b"early"]
    await process.stop()


async def test_a_flood_on_stderr_stops_nothing(launch: Launch) -> None:
    child = await launch("flood_stderr")
    assert await child.line() == b"done"
    await child.process.stop()
    tail = child.process.stderr_tail()
    assert len(tail) == 20
    assert {len(line) for line in tail} == {500}


async def test_a_shell_script_may_open_its_stderr_by_name(launcher: ColdLauncher) -> None:
    process = await launcher.launch(
        LaunchSpec(
            package="script",
            command="sh",
            args=("-c", "echo complaint >/dev/stderr; echo answer >/dev/stdout"),
            environment={"PATH": "/usr/bin:/bin"},
            directory=Path("/"),
        )
    )
    lines: list[bytes] = []
    process.connect(lines.append, lambda: None)
    await process.wait_exited()
    assert (lines, process.stderr_tail()) == ([b"answer"], ("complaint",))
    await process.stop()


async def test_the_tail_of_stderr_shows_no_secret(launch: Launch) -> None:
    text = r"token=s3cr3t-t\xc3\xb6ken \x1b[31mred\x1b[0m\n\x07bell\r\nlast s3cr3t-t%C3%B6ken"
    child = await launch("complain", text, secrets=(Secret("s3cr3t-töken"),))
    await child.line()
    await child.process.stop()
    assert child.process.stderr_tail() == ("token=*** red", "bell", "last ***")


async def test_a_server_that_does_not_read_is_noticed(launch: Launch) -> None:
    child = await launch("deaf")
    line = b"x" * (1024 * 1024)
    with pytest.raises(CapacityError):
        for _ in range(70):
            child.process.write(line)
    await child.process.stop()


async def test_a_server_that_closed_its_input_is_as_good_as_gone(launch: Launch) -> None:
    child = await launch("closes_input")
    await child.line()
    with pytest.raises(ServerExitedError):
        async with asyncio.timeout(LIMIT_SECONDS):
            while True:
                child.process.write(b"hello?")
                await asyncio.sleep(0)


async def test_a_process_has_its_own_session_and_no_foreign_descriptors(launch: Launch) -> None:
    child = await launch("show")
    shown = json.loads(await child.line())
    assert shown["group"] == shown["session"] == child.process.pid
    # Its three pipes, and the directory it lists.
    assert len(shown["descriptors"]) == 4
    assert shown["directory"] == "/"


@pytest.mark.threat("B29")
@pytest.mark.promise(84)
async def test_the_token_is_in_the_environment_and_in_no_command_line(launch: Launch) -> None:
    token = "canary-4711-token"
    child = await launch("show", environment={"MAIL_TOKEN": token}, secrets=(Secret(token),))
    shown = json.loads(await child.line())
    assert shown["environment"]["MAIL_TOKEN"] == token
    assert token not in shown["command_line"]
    for pid in (os.getpid(), child.process.pid):
        assert token.encode() not in command_line(pid)
    assert token not in repr(child.process)


async def test_a_private_home_is_0700_and_deleted_at_the_end(launch: Launch, tmp_path: Path) -> None:
    child = await launch("show", environment={"HOME": "/root", "TMPDIR": "/tmp"}, private_home=True)
    shown = json.loads(await child.line())
    home = Path(shown["environment"]["HOME"])
    assert home.parent == tmp_path / "homes"
    assert shown["home_mode"] == "0o700"
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "TMPDIR"):
        directory = Path(shown["environment"][name])
        assert home in directory.parents
        assert mode_of(directory) == 0o700
    await child.process.stop()
    assert not exists(home)


async def test_a_home_is_deleted_whatever_the_server_did_with_it(launch: Launch) -> None:
    child = await launch("litter", private_home=True)
    home = Path(os.fsdecode(await child.line()))
    os.kill(child.process.pid, signal.SIGKILL)
    await child.process.stop()
    assert not exists(home)
    assert exists("/etc")


async def test_two_processes_never_share_a_home(launch: Launch) -> None:
    first = await launch("show", private_home=True)
    second = await launch("show", private_home=True)
    homes = {json.loads(await child.line())["environment"]["HOME"] for child in (first, second)}
    assert len(homes) == 2


@pytest.mark.parametrize(
    ("command", "directory", "why"),
    [
        ("no-such-command-4711", "/", "was not found"),
        ("./missing", "/", "was not found"),
        ("/etc/passwd", "/", "may not be executed"),
        ("sh", "/no/such/directory", "does not exist"),
    ],
)
async def test_a_start_that_cannot_work_says_why(
    launcher: ColdLauncher, tmp_path: Path, command: str, directory: str, why: str
) -> None:
    spec = LaunchSpec(
        package="broken",
        command=command,
        environment={"PATH": "/usr/bin:/bin"},
        directory=Path(directory),
        private_home=True,
    )
    with pytest.raises(ServerStartError) as caught:
        await launcher.launch(spec)
    assert why in caught.value.why
    assert caught.value.hint
    assert not exists(tmp_path / "homes")


@pytest.mark.parametrize(
    ("first_line", "why"), [("#!/no/such/interpreter", "interpreter"), ("neither", "not a program for this machine")]
)
async def test_a_script_that_cannot_run_leaves_no_home(
    launcher: ColdLauncher, tmp_path: Path, first_line: str, why: str
) -> None:
    script = tmp_path / "script"
    script.write_text(first_line + "\n")
    script.chmod(0o755)
    spec = LaunchSpec(package="broken", command="./script", environment={}, directory=tmp_path, private_home=True)
    with pytest.raises(ServerStartError) as caught:
        await launcher.launch(spec)
    assert why in caught.value.why
    assert not entries(tmp_path / "homes")


async def test_an_argument_with_nul_is_a_start_error(launcher: ColdLauncher) -> None:
    spec = LaunchSpec(package="broken", command="sh", args=("a\0b",), environment={"PATH": "/bin"}, directory=Path("/"))
    with pytest.raises(ServerStartError, match="could not be started"):
        await launcher.launch(spec)


async def test_a_cancelled_start_leaves_nothing(launcher: ColdLauncher, tmp_path: Path) -> None:
    spec = LaunchSpec(
        package="cancelled",
        command="cat",
        args=("-", "-"),
        environment={"PATH": "/usr/bin:/bin"},
        directory=Path("/"),
        private_home=True,
    )
    for turns in range(12):
        task = asyncio.create_task(launcher.launch(spec))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        try:
            process = await task
        except asyncio.CancelledError:
            continue
        await process.stop()
    assert not [child for child in psutil.Process().children() if child.name() == "cat"]
    assert not entries(tmp_path / "homes")
