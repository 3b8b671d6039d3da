"""A stand-in for the gateway: watchdog, starter and one confined server of a known person, until somebody ends it.

`confined_gateway.py LEVEL HOMES ARGUMENT ...` starts child_confined.py with the arguments, and says the numbers of all.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

import uvloop

from fluidmcp.config.isolation import parse_level
from fluidmcp.config.settings import IsolationSettings
from fluidmcp.processes.isolation.confinement import Confinement
from fluidmcp.processes.launch.launcher import ColdLauncher
from fluidmcp.processes.launch.spec import LaunchSpec
from fluidmcp.processes.watchdog import Watchdog

CHILD = Path(__file__).with_name("child_confined.py")


async def main(level: str, homes: str, *args: str) -> None:
    watchdog = Watchdog()
    await watchdog.start()
    confinement = Confinement(IsolationSettings(), operator_home="/nowhere")
    spec = LaunchSpec(
        package="confined",
        command=sys.executable,
        args=("-I", str(CHILD), *args),
        environment={"PATH": "/usr/bin:/bin"},
        directory=Path("/"),
        private_home=True,
        isolation=parse_level(level),
    )
    process = await ColdLauncher(watchdog, confinement=confinement, homes=Path(homes)).launch(spec)
    process.connect(lambda line: None, lambda: None)
    numbers = {"watchdog": watchdog.pid, "starter": confinement.starter_pid, "keeper": process.pid}
    sys.stdout.write(json.dumps(numbers) + "\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    os.umask(0o022)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(*sys.argv[1:]))
