"""Starts that hang, fail and wait, seen from outside: what people hear, and who waits for whom."""

import asyncio
import contextlib
import json
import sys
from pathlib import Path
from typing import Any, Final

import psutil
import pytest

from tests.acceptance import persons
from tests.acceptance.harness import RunningGateway, start_fluidmcp
from tests.acceptance.persons import ask, running_persons

Json = dict[str, Any]

SERVERS: Final = Path(__file__).parent.parent / "servers"
HANGING: Final[Json] = {"command": sys.executable, "args": ["-I", str(SERVERS / "hanging_server.py")]}
GOOD: Final[Json] = {"command": sys.executable, "args": ["-I", str(SERVERS / "stdlib_server.py")]}
TOKEN: Final = "canary-of-the-guard"
LIMIT_SECONDS: Final = 60.0


def write_config(folder: Path, **servers: Json) -> str:
    (folder / "servers.json").write_text(json.dumps({"mcpServers": servers}), encoding="utf-8")
    return "servers.json"


async def ask_until_it_hangs(gateway: RunningGateway, package: str, *, token: str = "") -> Json:
    """The answer after a start that hung; the pauses between failed starts have other answers."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while True:
            error = (await ask(gateway, package, token=token))["error"]
            if error["data"]["error"] == "server_timeout":
                return error
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("is_guarded", [True, False], ids=["one's own process", "everybody's process"])
async def test_a_start_that_hangs_says_why(tmp_path: Path, is_guarded: bool) -> None:
    config = write_config(tmp_path, hanging=HANGING, good=GOOD)
    guard = ("--secure", "--token", TOKEN) if is_guarded else ()
    # Long enough for an interpreter to write two lines; where it is not, the next start may do so.
    env = {"FMCP_START_TIMEOUT_SECONDS": "2"}
    async with start_fluidmcp("run", config, "--start-server", *guard, cwd=tmp_path, env=env) as gateway:
        async with asyncio.timeout(LIMIT_SECONDS):
            error = await ask_until_it_hangs(gateway, "hanging", token=TOKEN if is_guarded else "")
            while "  | loading model..." not in gateway.stderr.lines or (is_guarded and "stderr" not in error["data"]):
                error = await ask_until_it_hangs(gateway, "hanging", token=TOKEN if is_guarded else "")
        assert error["data"].get("stderr") == (
            ["loading model...", "Enter the name of the model:"] if is_guarded else None
        )
        assert "did not become ready in time" in error["message"]
        await gateway.stderr.wait_for("start of a server process of hanging failed")


async def wait_for_starts(gateway: RunningGateway, program: str, number: int) -> None:
    """Until so many processes of a server run."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while sum(_runs(process, program) for process in gateway.descendants()) < number:
            await asyncio.sleep(0.02)


def _runs(process: psutil.Process, program: str) -> bool:
    try:
        return any(argument.endswith(program) for argument in process.cmdline())
    except psutil.Error:
        return False


async def test_what_hangs_for_one_person_delays_nobody_else(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as running:
        auth = await running.enter_async_context(running_persons())
        config = write_config(tmp_path, hanging=HANGING | {"auth": auth}, good=GOOD | {"auth": auth})
        starting = start_fluidmcp("run", config, "--start-server", cwd=tmp_path, env=persons.ENVIRONMENT)
        gateway = await running.enter_async_context(starting)
        async with asyncio.TaskGroup() as group:
            # More than there are places; each waits until its start has taken too long.
            hanging = [
                group.create_task(ask(gateway, "hanging", token=persons.token("ada", number))) for number in range(4)
            ]
            await wait_for_starts(gateway, "hanging_server.py", 1 + 2)  # the first is the check at start
            answer = await ask(gateway, "good", token=persons.token("grace"))
            assert answer["result"]["tools"]
            # Nor do they keep one another waiting until they are given up.
            await wait_for_starts(gateway, "hanging_server.py", 1 + 4)
            assert not any(task.done() for task in hanging)
            for task in hanging:
                task.cancel()


async def test_more_people_than_processes_get_their_answers_one_after_the_other(tmp_path: Path) -> None:
    env = {**persons.ENVIRONMENT, "FMCP_MAX_PROCESSES": "3"}
    async with contextlib.AsyncExitStack() as running:
        auth = await running.enter_async_context(running_persons())
        config = write_config(tmp_path, good=GOOD | {"auth": auth})
        starting = start_fluidmcp("run", config, "--start-server", cwd=tmp_path, env=env)
        gateway = await running.enter_async_context(starting)
        answers = await asyncio.gather(
            *(ask(gateway, "good", token=persons.token(f"person{number}")) for number in range(6))
        )
        assert all(answer.get("result", {}).get("tools") for answer in answers), answers
