"""Programs of runners: asked for once, installed for nobody in particular, started directly for each person.

A script stands in for `npx`: it fails, waits and answers as it is told. What the real ones do is in
tests/isolation/test_real_servers.py.
"""

import asyncio
import errno
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fluidmcp.config.filling.files import PrivateFile
from fluidmcp.errors import ServerStartError
from fluidmcp.processes.process import ServerProcess
from fluidmcp.processes.starter_child import landlock
from fluidmcp.processes.watchdog import Watchdog
from tests.processes.conftest import Child
from tests.processes.isolation.test_starter import Stage, open_stage
from tests.processes.test_watchdog import until

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or landlock.abi() == 0, reason="there is no Landlock on this machine"
)

NPX = """#!/bin/sh
case " $* " in *" -c "*) ;; *) echo "npx itself: $*"; exec cat;; esac
echo "${TOKEN:-nobody}" >> "$npm_config_cache/questions"
[ -p "$npm_config_cache/gate" ] && read -r _ < "$npm_config_cache/gate"
. "$npm_config_cache/behaviour"
"""
PROGRAM = """#!/bin/sh
if touch "$(dirname "$0")/planted" 2>/dev/null; then echo planted; else echo refused; fi
echo "program: $*, token: $TOKEN, cache: $npm_config_cache, first: ${PATH%%:*}"
exec cat
"""
INSTALL = """mkdir -p "$npm_config_cache/_npx"
cp -R "$npm_config_cache/package" "$npm_config_cache/_npx/1"
printf '%s:%s' "$npm_config_cache/_npx/1/node_modules/.bin" "$PATH"
"""


@dataclass
class Runner:
    """A stand-in for npx with a cache of its own, and somebody who starts servers by it."""

    stage: Stage
    folder: Path

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def bin(self) -> Path:
        return self.cache / "_npx" / "1" / "node_modules" / ".bin"

    def behave(self, script: str) -> None:
        (self.cache / "behaviour").write_text(script)

    def describe(self, **manifest: object) -> None:
        """The package.json of the package that is installed."""
        (self.cache / "package" / "node_modules" / "server" / "package.json").write_text(json.dumps(manifest))

    def questions(self) -> list[str]:
        """For whom each of them was put."""
        file = self.cache / "questions"
        return file.read_text().split() if file.exists() else []

    async def start(self, person: str = "ada", **changes: Any) -> Child:
        environment = {"PATH": f"{self.folder}/bin:/usr/bin:/bin", "npm_config_cache": str(self.cache), "TOKEN": person}
        asked: dict[str, Any] = {
            "command": "npx",
            "args": ("-y", "server", "--flag", "a"),
            "environment": environment,
            "personal_variables": frozenset({"TOKEN"}),
            **changes,
        }
        return await self.stage.launch("landlock", **asked)

    async def open_gate(self) -> None:
        """Let a question that waits go on."""
        while True:
            try:
                gate = os.open(self.cache / "gate", os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                assert error.errno == errno.ENXIO, "nobody waits there yet"
                await asyncio.sleep(0)
                continue
            os.write(gate, b"go\n")
            os.close(gate)
            return


@pytest.fixture
async def runner(watchdog: Watchdog, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Runner]:
    """It has 600 seconds to install, if the test does not say otherwise."""
    (tmp_path / "homes").mkdir()
    async with open_stage(watchdog, tmp_path, install_timeout_seconds=getattr(request, "param", 600.0)) as stage:
        runner = Runner(stage, tmp_path)
        modules = runner.cache / "package" / "node_modules"
        for path, text in ((tmp_path / "bin" / "npx", NPX), (modules / "server" / "cli.sh", PROGRAM)):
            path.parent.mkdir(parents=True)
            path.write_text(text)
            path.chmod(0o755)
        (modules / ".bin").mkdir()
        (modules / ".bin" / "serve").symlink_to("../server/cli.sh")
        runner.describe(bin={"serve": "cli.sh"})
        runner.behave(INSTALL)
        yield runner


async def test_each_person_starts_the_program_itself_and_the_runner_is_asked_once_for_nobody(runner: Runner) -> None:
    for person in ("ada", "grace"):
        child = await runner.start(person)
        assert await child.line() == b"refused", "it cannot write where the next person's process comes from"
        told = f"program: --flag a, token: {person}, cache: , first: {runner.bin}"
        assert await child.line() == told.encode()
    assert runner.questions() == ["nobody"]
    assert not (runner.bin / "planted").exists()


async def test_those_who_come_at_once_wait_for_one_question(runner: Runner) -> None:
    children = await asyncio.gather(*(runner.start(f"person-{number}") for number in range(5)))
    assert [await child.line() for child in children] == [b"refused"] * 5
    assert runner.questions() == ["nobody"]


async def test_other_arguments_are_another_question(runner: Runner) -> None:
    await runner.start()
    await runner.start(args=("-y", "server"))
    await runner.start(args=("-y", "server"))
    assert len(runner.questions()) == 2


async def test_who_goes_away_does_not_take_the_question_of_the_others_along(runner: Runner) -> None:
    os.mkfifo(runner.cache / "gate")
    first = asyncio.create_task(runner.start("ada"))
    await until(lambda: runner.questions() == ["nobody"])
    second = asyncio.create_task(runner.start("grace"))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait({first})
    assert first.cancelled()
    async with asyncio.timeout(60):
        await runner.open_gate()
        child = await second
    assert await child.line() == b"refused"
    assert runner.questions() == ["nobody"]


async def test_an_installation_that_fails_says_what_the_runner_wrote_and_is_tried_again(runner: Runner) -> None:
    runner.behave("echo 'E404 there is no such package' >&2; exit 1")
    failures = await asyncio.gather(runner.start(), runner.start(), return_exceptions=True)
    for failure in failures:
        assert isinstance(failure, ServerStartError)
        assert failure.what == "The server of 'confined' could not be installed."
        assert failure.why == "`npx` was asked where its program is: exit code 1."
        assert failure.stderr_tail == ("E404 there is no such package",)
    assert len(runner.questions()) == 1
    runner.behave(INSTALL)
    assert await (await runner.start()).line() == b"refused"
    assert len(runner.questions()) == 2
    assert runner.stage.homes == [runner.stage.children[0].process._home]  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("exit 0", "exit code 0"),
        ("echo relative/path", "exit code 0"),
        ("printf '/nowhere:/bin'", "exit code 0"),
        (f"{INSTALL}\nexit 3", "exit code 3"),
        (f"{INSTALL}\nkill -9 $$", "killed by SIGKILL"),
    ],
)
async def test_an_answer_that_is_none_is_a_failure(runner: Runner, script: str, why: str) -> None:
    runner.behave(script)
    with pytest.raises(ServerStartError) as caught:
        await runner.start()
    assert caught.value.why == f"`npx` was asked where its program is: {why}."
    assert runner.stage.homes == []


@pytest.mark.parametrize(
    "manifest",
    [{}, {"bin": {}}, {"bin": {"one": "a", "two": "b"}}, {"bin": {"../../../escape": "cli.sh"}}, {"bin": ["serve"]}],
    ids=str,
)
async def test_a_package_that_names_no_program_is_a_failure(runner: Runner, manifest: dict[str, object]) -> None:
    runner.describe(**manifest)
    with pytest.raises(ServerStartError, match="could not be installed"):
        await runner.start()


async def test_what_is_said_before_the_answer_is_no_answer(runner: Runner) -> None:
    runner.behave(f"echo 'npm notice: a new version'; echo /etc:/bin; {INSTALL}")
    assert await (await runner.start()).line() == b"refused"


async def test_a_program_that_vanished_is_asked_for_again(runner: Runner) -> None:
    await runner.start()
    shutil.rmtree(runner.cache / "_npx")
    assert await (await runner.start("grace")).line() == b"refused"
    assert runner.questions() == ["nobody"] * 2


@pytest.mark.parametrize("runner", [0.2], indirect=True)
async def test_an_installation_that_never_ends_is_ended(runner: Runner) -> None:
    os.mkfifo(runner.cache / "gate")
    with pytest.raises(ServerStartError) as caught:
        await runner.start()
    assert caught.value.why == "`npx` was asked where its program is: no answer within 0.2 seconds."
    assert runner.stage.homes == []


async def test_what_hangs_is_ended_when_nobody_waits_for_it_any_more_and_asked_again(runner: Runner) -> None:
    os.mkfifo(runner.cache / "gate")
    waiting = [asyncio.create_task(runner.start(person)) for person in ("ada", "grace")]
    await until(lambda: runner.questions() == ["nobody"])
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    (runner.cache / "gate").unlink()
    child = await runner.start("linus")  # while the first question is being ended
    assert await child.line() == b"refused"
    assert runner.questions() == ["nobody"] * 2
    await until(lambda: runner.stage.homes == [child.process._home])  # pyright: ignore[reportPrivateUsage]


async def test_whoever_waits_is_told_of_the_runner_that_installs(runner: Runner) -> None:
    os.mkfifo(runner.cache / "gate")
    runner.behave(f"echo 'downloading' >&2; {INSTALL}")
    told: list[ServerProcess] = []
    first = asyncio.create_task(runner.start("ada", on_install=told.append))
    await until(lambda: runner.questions() == ["nobody"])
    second = asyncio.create_task(runner.start("grace", on_install=told.append))
    await until(lambda: len(told) == 2)
    assert told[0] is told[1]
    assert (told[0].is_alive, told[0].stderr_reads) == (True, 0)
    async with asyncio.timeout(60):
        await runner.open_gate()
        children = await asyncio.gather(first, second)
    assert told[0].stderr_tail() == ("downloading",)
    assert told[0].stderr_reads == 1
    assert {told[0].pid}.isdisjoint(child.process.pid for child in children)
    await runner.start("linus", on_install=told.append)
    assert len(told) == 2, "nothing is installed any more"


async def test_a_folder_outside_of_the_caches_is_not_believed(runner: Runner) -> None:
    foreign = runner.folder / "foreign" / "node_modules"
    shutil.copytree(runner.cache / "package" / "node_modules", foreign, symlinks=True)
    (runner.cache / "link").symlink_to(foreign)
    for folder in (foreign, runner.cache / "link", f"{runner.cache}/../foreign/node_modules"):
        runner.behave(f"printf '{folder}/.bin:/bin'")
        child = await runner.start(args=("-y", "server", str(folder)))
        assert (await child.line()).startswith(b"npx itself: -y server "), "with caches of its own"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"private_home": False}, b"npx itself: -y server --flag a"),
        ({"isolation": "none"}, b"npx itself: -y server --flag a"),
        ({"args": ("--unknown", "server")}, b"npx itself: --unknown server"),
    ],
    ids=["nobody", "no-wall", "not-understood"],
)
async def test_a_runner_that_need_not_or_cannot_be_asked_is_started_as_it_is(
    runner: Runner, changes: dict[str, Any], said: bytes
) -> None:
    level = changes.pop("isolation", "landlock")
    environment = {"PATH": f"{runner.folder}/bin:/usr/bin:/bin", "npm_config_cache": str(runner.cache)}
    asked = {"command": "npx", "args": ("-y", "server", "--flag", "a"), "environment": environment}
    child = await runner.stage.launch(level, **asked | changes)
    assert await child.line() == said
    assert runner.questions() == []


async def test_what_installs_for_everybody_finds_no_file_of_a_person(runner: Runner) -> None:
    runner.behave(f'ls -A "$HOME" > "$npm_config_cache/seen"\n{INSTALL}')
    await runner.start("ada", files=(PrivateFile(target=".login.json", text="{}"),))
    seen = (runner.cache / "seen").read_text().split()
    assert ".config" in seen
    assert ".login.json" not in seen


async def test_an_argument_of_a_person_reaches_their_process_and_no_question(runner: Runner) -> None:
    for person in ("ada", "grace"):
        args = ("-y", "server", "--flag", "\0${auth.access_token}")
        child = await runner.start(person, args=args, personal_args={args[-1]: person})
        assert await child.line() == b"refused"
        assert (await child.line()).startswith(f"program: --flag {person}, token: {person}".encode())
    assert runner.questions() == ["nobody"]
    with pytest.raises(ServerStartError) as caught:
        args = ("--index", "\0https://${auth.access_token}@index.example", "server")
        await runner.start("ada", command="uvx", args=args, personal_args={args[1]: "https://ada@index.example"})
    assert "is installed once for everybody" in caught.value.why
