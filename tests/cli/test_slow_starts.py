"""What the operator is told while servers take long to start."""

import asyncio
import sys
from pathlib import Path
from typing import Any, Final

import httpx2

from fluidmcp.cli.serving.slow_starts import SlowStarts
from fluidmcp.processes.pool.starts import StartProgress
from tests.acceptance.harness import RunningGateway, environment, spawn, start_fluidmcp
from tests.cli.test_start_checks import GOOD, SERVER, write
from tests.timing import JumpingLoop, elapse

Json = dict[str, Any]

SLOW: Final = SERVER.with_name("slow_server.py")
LIMIT_SECONDS: Final = 60.0


def slow(gate: Path, *options: str) -> Json:
    return {"command": sys.executable, "args": ["-I", str(SLOW), str(gate), *options]}


def make_runner(folder: Path) -> dict[str, str]:
    """The PATH with a `uvx` that downloads without a word for as long as the file is not there that it is given."""
    folder.mkdir()
    (folder / "uvx").write_text(f'#!/bin/sh\nexec {sys.executable} -I {SLOW} "$1" --silent\n')
    (folder / "uvx").chmod(0o755)
    return {"PATH": f"{folder}:{environment()['PATH']}"}


async def read_states(gateway: RunningGateway) -> dict[str, str]:
    async with httpx2.AsyncClient(trust_env=False, timeout=LIMIT_SECONDS) as client:
        told: Json = (await client.get(f"{gateway.url}/health?detail=1")).json()
    return {name: package["state"] for name, package in told["packages"].items()}


async def test_a_start_that_takes_long_is_told_once_and_so_is_its_end(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    servers = {
        "talking": slow(gate),
        "silent": slow(gate, "--silent"),
        "good": GOOD,
        "runner": {"command": "uvx", "args": [str(gate)]},
        "broken": {"command": "sh", "args": ["-c", "exit 3"]},
    }
    config = write(tmp_path, **servers)
    env = {**make_runner(tmp_path / "bin"), "FMCP_MAX_CONCURRENT_STARTS": "8"}
    async with start_fluidmcp("run", config, "--start-server", cwd=tmp_path, env=env) as gateway:
        lines = [
            "runner is installing: its command (uvx) downloads what it needs; this can take minutes",
            "talking is installing or loading: it writes to stderr and does not answer yet; this can take minutes",
            "silent is still starting",
        ]
        for line in lines:
            await gateway.stdout.wait_for(line)
        assert await read_states(gateway) == {
            "talking": "installing",
            "silent": "starting",
            "good": "ok",
            "runner": "installing",
            "broken": "failed",
        }
        gate.touch()
        for name in ("runner", "talking", "silent", "good"):
            assert " s, " in await gateway.stdout.wait_for(f"{name} answers after")
        await gateway.stdout.wait_for(" ready")
        assert gateway.stdout.lines[-1] == "4 of 5 ready; not ready: broken (cannot start)"
        told = [line for line in gateway.stdout.lines if line.startswith(tuple(servers)) and " answers at " not in line]
        assert len(told) == 3 + 5, told
        assert (await read_states(gateway))["talking"] == "ok"


async def test_the_table_waits_and_says_so_beside_it(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    process = await spawn("run", write(tmp_path, talking=slow(gate)), cwd=tmp_path)
    try:
        assert process.stderr is not None
        async with asyncio.timeout(LIMIT_SECONDS):
            while b"talking is installing or loading" not in await process.stderr.readline():
                pass
            gate.touch()
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert b"talking answers after" in err
    words = [line.split()[0] for line in out.decode().splitlines()]
    assert words == ["Reading", "PACKAGE", "talking"], "stdout is the table, as ever"
    assert process.returncode == 0


def test_what_waits_for_its_turn_is_not_called_slow() -> None:
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(_follow_start())


async def _follow_start() -> None:
    class Gateway:
        progress: StartProgress | None = None

        def describe_start(self, name: str) -> StartProgress | None:
            return self.progress

    gateway, said = Gateway(), list[str]()
    slow_starts = SlowStarts(gateway, said.append)
    following = asyncio.create_task(slow_starts.follow("files"))
    await elapse(100)
    gateway.progress = StartProgress("waiting", 0.0, "npx")
    await elapse(100)
    gateway.progress = StartProgress("starting", 4.9, "npx")
    await elapse(1)
    slow_starts.note_answer("files")
    assert said == []
    gateway.progress = StartProgress("installing", 5.1, "npx")
    await elapse(1)
    assert following.done()
    assert said == ["files is installing: its command (npx) downloads what it needs; this can take minutes"]
    await elapse(37)
    slow_starts.note_answer("files")
    assert said[1:] == ["files answers after 43 s"]
