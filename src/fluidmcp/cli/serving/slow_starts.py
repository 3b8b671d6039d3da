"""Starts that take long: said once for each server while it goes on, and once when it answers."""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from fluidmcp.processes.pool.starts import SLOW_START_SECONDS, StartProgress

LOOK_SECONDS: Final = 0.5


class StartObserver(Protocol):
    """What a gateway tells of starts that go on."""

    def describe_start(self, name: str) -> StartProgress | None: ...


class SlowStarts:
    """Follows the first starts of servers. `say` gets one line at a time."""

    def __init__(self, gateway: StartObserver, say: Callable[[str], None]) -> None:
        self._gateway = gateway
        self._say = say
        self._told: dict[str, float] = {}
        """When those of which something was said had begun, by the time of the event loop."""

    async def follow(self, name: str) -> None:
        """Say so when the start of this server takes long. Runs until then, or until it is cancelled."""
        while name not in self._told:
            await asyncio.sleep(LOOK_SECONDS)
            progress = self._gateway.describe_start(name)
            if progress is not None and progress.state != "waiting" and progress.seconds >= SLOW_START_SECONDS:
                self._told[name] = asyncio.get_running_loop().time() - progress.seconds
                self._say(describe_slow_start(name, progress))

    def note_answer(self, name: str) -> None:
        """The server is ready: worth a line where it was said that it took long."""
        began_at = self._told.get(name)
        if began_at is not None:
            self._say(f"{name} answers after {asyncio.get_running_loop().time() - began_at:.0f} s")


def describe_slow_start(name: str, progress: StartProgress) -> str:
    if progress.state != "installing":
        return f"{name} is still starting"
    if progress.runner:
        return f"{name} is installing: its command ({progress.runner}) downloads what it needs; this can take minutes"
    return f"{name} is installing or loading: it writes to stderr and does not answer yet; this can take minutes"
