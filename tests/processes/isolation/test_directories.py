"""Where a server runs whose entry names a working directory (`cwd`); nothing opens by that alone. Behind real walls."""

import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fluidmcp.config.isolation import IsolationLevel, Paths
from fluidmcp.errors import ServerStartError
from fluidmcp.processes.launch.spec import LaunchSpec, find_program, spawn_failure
from fluidmcp.processes.starter_child import landlock
from fluidmcp.processes.watchdog import Watchdog
from tests.processes.isolation.test_starter import WALLS, Stage, open_stage, skip_without

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or landlock.abi() == 0, reason="there is no Landlock on this machine"
)


@pytest.fixture
async def stage(watchdog: Watchdog, tmp_path: Path) -> AsyncIterator[Stage]:
    (tmp_path / "homes").mkdir()
    async with open_stage(watchdog, tmp_path) as stage:
        yield stage


@pytest.fixture(params=WALLS)
async def level(request: pytest.FixtureRequest, stage: Stage) -> IsolationLevel:
    await skip_without(stage, request.param)
    return request.param


@dataclass
class Cwd:
    """A working directory that an entry names, outside of the usual one."""

    folder: Path
    secret: Path
    asked: dict[str, Any]


@pytest.fixture
def cwd(stage: Stage) -> Cwd:
    folder, usual = stage.folder / "elsewhere", stage.folder / "usual"
    for made in (folder, usual, usual / "inside"):
        made.mkdir()
    (usual / "inside" / "file").touch()
    secret = folder / "secret"
    secret.touch()
    return Cwd(folder, secret, {"directory": folder, "default_directory": usual})


async def test_a_directory_that_an_entry_names_has_to_be_in_its_paths(stage: Stage, level: IsolationLevel, cwd: Cwd):
    with pytest.raises(ServerStartError) as caught:
        await stage.facts(level, **cwd.asked)
    assert caught.value.why.startswith(f"Its `cwd` {cwd.folder} is out of reach of a process that serves one known")
    assert f'"paths": {{"read": ["{cwd.folder}"]}}' in caught.value.hint
    assert stage.homes == []
    facts = await stage.facts(level, cwd.secret, **cwd.asked, paths=Paths(read=(str(cwd.folder),)))
    assert (facts["directory"], facts["tried"]) == (str(cwd.folder), ["open"])


async def test_where_a_part_of_it_is_in_the_paths_the_rest_is_not_reached(
    stage: Stage, level: IsolationLevel, cwd: Cwd
):
    part = cwd.folder / "part"
    part.mkdir()
    facts = await stage.facts(level, cwd.secret, part, **cwd.asked, paths=Paths(read=(str(part),)))
    assert facts["directory"] == str(cwd.folder)
    assert facts["tried"] in (["PermissionError", "open"], ["FileNotFoundError", "open"])


async def test_one_inside_the_usual_directory_needs_nothing(stage: Stage, level: IsolationLevel, cwd: Cwd):
    usual = cwd.asked["default_directory"]
    inside = usual / "inside"
    facts = await stage.facts(level, inside / "file", directory=inside, default_directory=usual)
    assert (facts["directory"], facts["tried"]) == (str(inside), ["open"])


async def test_an_empty_one_can_be_run_in(stage: Stage, level: IsolationLevel, cwd: Cwd) -> None:
    empty = stage.folder / "empty"
    empty.mkdir()
    assert (await stage.facts(level, directory=empty))["directory"] == str(empty)


async def test_a_hidden_one_inside_the_usual_directory_is_out_of_reach(stage: Stage, level: IsolationLevel, cwd: Cwd):
    hidden = cwd.asked["default_directory"] / ".git"
    hidden.mkdir()
    with pytest.raises(ServerStartError) as caught:
        await stage.facts(level, directory=hidden, default_directory=hidden.parent)
    assert "out of reach" in caught.value.why


async def test_a_server_of_nobody_in_particular_runs_where_its_entry_says(
    stage: Stage, level: IsolationLevel, cwd: Cwd
):
    facts = await stage.facts(level, **cwd.asked, private_home=False)
    assert facts["directory"] == str(cwd.folder)


def test_one_that_is_not_there_is_named(tmp_path: Path) -> None:
    spec = LaunchSpec(package="lost", command="sh", environment={"PATH": "/bin"}, directory=tmp_path / "missing")
    with pytest.raises(ServerStartError) as caught:
        find_program(spec)
    assert caught.value.why == f"Its working directory {tmp_path / 'missing'} does not exist."
    assert "`cwd`" in caught.value.hint


def test_one_that_may_not_be_entered_is_told_from_a_program_that_may_not_be_executed(tmp_path: Path) -> None:
    # Root may enter every folder; nobody enters one that is not there.
    spec = LaunchSpec(package="lost", command="sh", environment={}, directory=tmp_path / "missing")
    assert "may not enter its working directory" in spawn_failure(spec, PermissionError(13, "")).why
    spec = LaunchSpec(package="lost", command="sh", environment={}, directory=tmp_path)
    assert spawn_failure(spec, PermissionError(13, "")).why == "The command 'sh' may not be executed."
