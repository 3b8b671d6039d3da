"""A measurement: all gateways up, driven in alternation A B C A B C: what the machine does meanwhile hits all alike."""

import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx2
import psutil

from benchmarks.cases import Case, ServerName
from benchmarks.gateways import Gateway
from benchmarks.install import InstallError
from benchmarks.load import drive
from benchmarks.logins import LoginError
from benchmarks.running import Running, StartError, running, wait_until_ready
from benchmarks.samples import Figures, Run, make_failed
from benchmarks.servers import find_server
from benchmarks.workshop import CACHE, Workshop

SITES: Final = CACHE / f"sites-{os.getpid()}"
PROBES: Final = {
    "echo": Case(name="probe", title="", connections=1, message_bytes=20),
    "everything": Case(name="probe", title="", connections=1, message_bytes=20, server="everything"),
    "time": Case(name="probe", title="", connections=1, tool="convert_time", server="time"),
}
"""One request that shows that a gateway and its server are there."""


@dataclass(slots=True, kw_only=True)
class Measurement:
    """Collects what is measured; `say` tells a person how far it is."""

    workshop: Workshop
    say: Callable[[str], None]
    runs: list[Run] = field(default_factory=list[Run])
    faults: dict[str, str] = field(default_factory=dict[str, str])
    """Why a gateway could not be installed."""
    starts: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    readies: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    idle_mb: dict[str, float] = field(default_factory=dict[str, float])
    after_mb: dict[str, float] = field(default_factory=dict[str, float])

    def install(self, gateways: Sequence[Gateway]) -> None:
        for gateway in gateways:
            try:
                gateway.install()
            except InstallError as error:
                self.faults[gateway.name] = str(error)
                self.say(f"{gateway.name} {error}")

    def measure_starts(self, gateways: Sequence[Gateway], rounds: int) -> None:
        """From the command until it listens, and until it has answered, each gateway in turn."""
        for number in range(rounds):
            for gateway in gateways:
                self.say(f"start {number + 1} of {rounds}: {gateway.name}")
                with ExitStack() as opened:
                    started = self._start(opened, gateway, "echo", ())
                    if started is not None:
                        ready = time.perf_counter() - started.began
                        self.starts.setdefault(gateway.name, []).append(started.start_seconds)
                        self.readies.setdefault(gateway.name, []).append(ready)

    def measure(self, gateways: Sequence[Gateway], cases: Sequence[Case], rounds: int) -> None:
        """The cases of one server after the other's; memory is that of the gateways before the first server."""
        servers: dict[ServerName, list[Case]] = {}
        for case in cases:
            servers.setdefault(case.server, []).append(case)
        for server, its_cases in servers.items():
            with ExitStack() as opened:
                self.say(f"starting {len(gateways)} gateways before {server}")
                up = [self._start(opened, gateway, server, its_cases) for gateway in gateways]
                ready = [gateway for gateway in up if gateway is not None]
                self._note_memory(ready, self.idle_mb)
                for case in its_cases:
                    self._measure_case(ready, case, rounds)
                self._note_memory(ready, self.after_mb)

    def figures(self, gateways: Sequence[Gateway]) -> tuple[Figures, ...]:
        return tuple(
            Figures(
                gateway=gateway.name,
                title=gateway.title,
                fault=self.faults.get(gateway.name, ""),
                start_seconds=tuple(self.starts.get(gateway.name, ())),
                ready_seconds=tuple(self.readies.get(gateway.name, ())),
                idle_mb=self.idle_mb.get(gateway.name, 0.0),
                after_mb=self.after_mb.get(gateway.name, 0.0),
            )
            for gateway in gateways
        )

    def _measure_case(self, gateways: Sequence[Running], case: Case, rounds: int) -> None:
        failed: set[str] = set()
        for number in range(rounds):
            for gateway in gateways:
                if gateway.name in failed:
                    continue
                sample = drive(self.workshop, gateway.target, case)
                self.runs.append(Run(gateway=gateway.name, case=case.name, round=number, sample=sample))
                done = f"{case.name}, round {number + 1} of {rounds}: {gateway.name}"
                self.say(f"{done} {sample.per_second:.0f}/s {sample.fault}")
                if not sample.is_good:
                    failed.add(gateway.name)

    def _start(self, opened: ExitStack, gateway: Gateway, server: ServerName, cases: Sequence[Case]) -> Running | None:
        """None: it failed, which is noted for these cases."""
        folder = make_folder(SITES / f"{gateway.name}-{server}")
        fault = self.faults.get(gateway.name, "")
        try:
            if not fault:
                command = find_server(self.workshop, server, gateway.server_arguments)
                started = opened.enter_context(running(gateway, command, server, folder))
                wait_until_ready(self.workshop, started, PROBES[server])
                return started
        except (StartError, LoginError, LookupError, httpx2.HTTPError) as error:
            fault = f"cannot start: {error}"
        self.say(f"{gateway.name} {fault}")
        self.runs += [Run(gateway=gateway.name, case=case.name, round=0, sample=make_failed(fault)) for case in cases]
        return None

    def _note_memory(self, gateways: Sequence[Running], memory: dict[str, float]) -> None:
        for gateway in gateways:
            if psutil.pid_exists(gateway.target.pid):
                memory.setdefault(gateway.name, gateway.read_memory_mb())


def make_folder(folder: Path) -> Path:
    """A path at which nothing is; the folder above it exists."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    return folder
