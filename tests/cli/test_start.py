"""E06: a gateway on machines that lack what isolates. The kernel itself refuses: a filter answers the calls."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from fluidmcp.processes.starter_child import landlock
from tests.acceptance.harness import Finished, free_port, spawn, start_fluidmcp
from tests.cli.test_guarded_run import SERVE, at, list_tools
from tests.cli.test_run import GOOD, install, read_error
from tests.forbidden_calls import is_known_machine

LIMIT_SECONDS: Final = 60.0
FORBID: Final = Path(__file__).resolve().parent.parent / "forbidden_calls.py"
TOKEN: Final = "a-token-of-our-own"
OFF_LOOPBACK: Final = ("--host", "0.0.0.0", "--secure", "--token", TOKEN)

pytestmark = [
    pytest.mark.threat("E06"),
    pytest.mark.skipif(not is_known_machine(), reason="the filter of this test knows Linux on x86_64 and aarch64"),
    pytest.mark.skipif(landlock.abi() == 0, reason="what is taken away here has to be there: Landlock is not"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working directory, which is HOME too."""
    install(tmp_path, "ann/mypackage@1.0.0", mypackage=GOOD)
    return tmp_path


def forbid(error: str, *calls: str) -> tuple[str, ...]:
    return (sys.executable, str(FORBID), error, ",".join(calls))


async def run_without(before: Sequence[str], *args: str, folder: Path, **env: str) -> Finished:
    """The end of a gateway that may not make some calls."""
    process = await spawn(*args, "--port", str(free_port()), env=at(folder, env), cwd=folder, before=before)
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    return Finished(await process.wait(), out.decode(), err.decode())


ASKED = "landlock_create_ruleset"
"""The call that tells whether there is Landlock."""
NO_LANDLOCK = f"Landlock: {ASKED}"


@pytest.mark.parametrize(
    ("calls", "error", "left", "warning"),
    [
        (("landlock",), "EPERM", "none", f"isolation: {NO_LANDLOCK}: Operation not permitted"),
        (("landlock", "mount"), "EOPNOTSUPP", "none", f"isolation: {NO_LANDLOCK}: Operation not supported"),
        (("namespaces",), "ENOSYS", "landlock", ""),
        (("mount",), "EPERM", "landlock", ""),
    ],
)
async def test_e06_auto_takes_what_is_left_and_says_so(
    folder: Path, calls: tuple[str, ...], error: str, left: str, warning: str
):
    async with start_fluidmcp(*SERVE, cwd=folder, env=at(folder), before=forbid(error, *calls)) as gateway:
        assert await gateway.stdout.wait_for("Isolation") == f"Isolation of server processes: {left}"
        if warning:
            assert warning in await gateway.stderr.wait_for("isolation: ")
        assert await list_tools(gateway, None) == 200


@pytest.mark.parametrize(
    ("level", "calls", "error", "why", "remedy"),
    [
        ("landlock", "landlock", "EPERM", f"landlock is missing: {ASKED}: Operation not permitted.", "seccomp profile"),
        ("uid", "landlock", "ENOSYS", f"landlock is missing: {ASKED}: Function not implemented.", "lsm=landlock"),
        ("namespace", "landlock", "ENOSYS", f"landlock is missing: {ASKED}: Function not implemented.", "lsm=landlock"),
        ("namespace", "namespaces", "EPERM", "namespace is missing: clone: Operation not permitted.", "CAP_SYS_ADMIN"),
        ("namespace", "mount", "EPERM", "namespace is missing: mount: Operation not permitted.", "SYS_ADMIN"),
    ],
)
async def test_e06_a_level_that_was_asked_for_and_cannot_be_had_ends_the_start(
    folder: Path, level: str, calls: str, error: str, why: str, remedy: str
):
    done = await run_without(forbid(error, calls), *SERVE, folder=folder, FMCP_ISOLATION=level)
    what, told, hint = read_error(done)
    assert what == f"The isolation `{level}` cannot be had on this machine."
    assert told == why
    assert remedy in hint
    assert "Added" not in done.stdout


async def test_e06_the_table_says_that_it_cannot_be_had_too(folder: Path):
    done = await run_without(forbid("ENOSYS", "landlock"), *SERVE[:2], folder=folder, FMCP_ISOLATION="landlock")
    assert read_error(done)[0] == "The isolation `landlock` cannot be had on this machine."


async def test_e06_a_range_of_ids_that_cannot_be_used_ends_the_start(folder: Path):
    (metadata,) = folder.rglob("metadata.json")
    metadata.write_text(metadata.read_text().replace('"command"', '"isolation": "uid", "command"', 1))
    what, why, hint = read_error(await run_without((), *SERVE, folder=folder))
    assert what == "The isolation `uid` cannot be had on this machine."
    assert why.startswith("uid is missing: ")
    assert "FMCP_UID_RANGE" in hint


async def test_e06_without_landlock_strangers_are_not_served(folder: Path):
    done = await run_without(forbid("ENOSYS", "landlock"), *SERVE, *OFF_LOOPBACK, folder=folder)
    what, why, hint = read_error(done)
    assert what == "The server processes of 'mypackage' would not be isolated."
    assert f"this machine has nothing to isolate with: {NO_LANDLOCK}: Function not implemented." in why
    assert "lsm=landlock" in hint
    assert "--allow-unisolated" in hint
    assert "Added" not in done.stdout


async def test_e06_without_landlock_strangers_are_served_with_a_warning_where_that_was_allowed(folder: Path):
    arguments = (*SERVE, *OFF_LOOPBACK, "--allow-unisolated")
    async with start_fluidmcp(*arguments, cwd=folder, env=at(folder), before=forbid("ENOSYS", "landlock")) as gateway:
        await gateway.stdout.wait_for("Isolation of server processes: none")
        await gateway.stderr.wait_for(f"Warning: isolation: {NO_LANDLOCK}: Function not implemented")
        assert await list_tools(gateway, TOKEN) == 200
        assert await list_tools(gateway, None) == 401
