"""A stand-in for the gateway: a watchdog and one server process with a private home, until somebody ends it.

`child_gateway.py LOOP PORT [stray] [die-at-spawn]`. SIGTERM and SIGINT have their default effect, as in a program that
crashes. With `die-at-spawn` it kills itself in the very moment in which the child is born, before it is registered.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

import uvloop

from fluidmcp.processes.launch.launcher import ColdLauncher
from fluidmcp.processes.launch.spec import LaunchSpec
from fluidmcp.processes.watchdog import Watchdog

FAMILY = Path(__file__).with_name("child_family.py")


class DeadlyWatchdog(Watchdog):
    """Kills the gateway in the moment in which a child is there and nobody has been told."""

    def register(self, pgid: int, home: Path | None) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


async def main(port: str, options: list[str]) -> None:
    watchdog = DeadlyWatchdog() if "die-at-spawn" in options else Watchdog()
    await watchdog.start()
    spec = LaunchSpec(
        package="family",
        command=sys.executable,
        args=("-I", str(FAMILY), port, *(option for option in options if option == "stray")),
        environment={"PATH": "/usr/bin:/bin"},
        directory=Path("/"),
        private_home=True,
    )
    process = await ColdLauncher(watchdog).launch(spec)
    process.connect(lambda line: None, lambda: None)
    sys.stdout.write(f"{watchdog.pid} {process.pid}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    new_loop = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}[sys.argv[1]]
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main(sys.argv[2], sys.argv[3:]))
