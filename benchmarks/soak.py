"""Very many requests to the open gateway: does its memory grow?"""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Final

from benchmarks.cases import Case
from benchmarks.load import drive
from benchmarks.ours import make_ours
from benchmarks.rounds import PROBES, SITES, make_folder
from benchmarks.running import running, wait_until_ready
from benchmarks.servers import find_server
from benchmarks.workshop import Workshop

CONNECTIONS: Final = 64
STEPS: Final = 10
CASE: Final = Case(name="soak", title="", connections=CONNECTIONS)


def soak(workshop: Workshop, requests: int, say: Callable[[str], None]) -> None:
    """Send so many requests in ten parts, and tell the memory after each.

    Raises:
        StartError: the gateway does not come up.
    """
    gateway = next(one for one in make_ours() if one.name == "open")
    with ExitStack() as opened:
        folder = make_folder(SITES / "soak")
        up = opened.enter_context(running(gateway, find_server(workshop, "echo"), "echo", folder))
        wait_until_ready(workshop, up, PROBES["echo"])
        say(f"before: {up.read_memory_mb():.1f} MB")
        part = max(requests // STEPS, 1)
        for sent in range(part, part * STEPS + 1, part):
            sample = drive(workshop, up.target, CASE, requests=part)
            fault = f" {sample.fault}" if not sample.is_good else ""
            say(f"{sent:,} requests: {up.read_memory_mb():.1f} MB, {sample.per_second:.0f}/s{fault}")
