"""Gateways as child processes: started, watched from outside by /proc, and stopped with all that they started."""

import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from benchmarks.cases import Case
from benchmarks.gateways import Gateway, Site
from benchmarks.load import Target, drive
from benchmarks.workshop import Workshop

LISTEN_LIMIT_SECONDS: Final = 60.0
READY_LIMIT_SECONDS: Final = 30.0
STOP_LIMIT_SECONDS: Final = 20.0
POLL_SECONDS: Final = 0.005
READY_PAUSE_SECONDS: Final = 0.02
FREE_PORTS: Final = range(15_000, 32_000)
"""Below those that the system gives to outgoing connections."""


class StartError(Exception):
    """A gateway did not come up; the text says how, with the last of what it wrote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A gateway that listens."""

    gateway: Gateway
    target: Target
    began: float
    """When its command was given, by `time.perf_counter`."""
    start_seconds: float

    @property
    def name(self) -> str:
        return self.gateway.name

    def read_memory_mb(self) -> float:
        """What its process has in memory (RSS)."""
        return psutil.Process(self.target.pid).memory_info().rss / 1e6


@contextmanager
def running(gateway: Gateway, server: tuple[str, ...], server_name: str, folder: Path) -> Generator[Running]:
    """Start the gateway in front of the server, until it listens.

    Raises:
        StartError: it ends, or does not listen in time.
    """
    folder.mkdir(parents=True)
    site = Site(port=find_port(), folder=folder, server_name=server_name, server=server)
    start = gateway.prepare(site)
    with ExitStack() as opened:
        for index, (port, command) in enumerate(start.beside):
            helper = opened.enter_context(_child(command, {}, folder, f"beside{index}"))
            _wait_until_listening(helper, port, folder / f"beside{index}.log")
        began = time.perf_counter()
        process = opened.enter_context(_child(start.command, start.environ, folder, "gateway"))
        _wait_until_listening(process, site.port, folder / "gateway.log")
        took = time.perf_counter() - began
        target = Target(port=site.port, pid=process.pid, speech=gateway.speak(site), headers=gateway.log_in(site))
        yield Running(gateway=gateway, target=target, began=began, start_seconds=took)


def wait_until_ready(workshop: Workshop, gateway: Running, case: Case) -> None:
    """Ask once, again and again, until a right answer comes: some listen before they can serve.

    Raises:
        StartError: none came in time.
    """
    end = time.monotonic() + READY_LIMIT_SECONDS
    while True:
        sample = drive(workshop, gateway.target, case, requests=1)
        if sample.all_answers and not sample.fault:
            return
        if time.monotonic() > end:
            raise StartError(sample.fault or "no answer")
        time.sleep(READY_PAUSE_SECONDS)


def find_port() -> int:
    while True:
        port = secrets.choice(FREE_PORTS)
        with suppress(OSError), socket.socket() as tried:
            tried.bind(("127.0.0.1", port))
            return port


@contextmanager
def _child(
    command: tuple[str, ...], environ: Mapping[str, str], folder: Path, name: str
) -> Generator[subprocess.Popen[bytes]]:
    home = folder / "home"
    home.mkdir(exist_ok=True)
    kept = {key: os.environ[key] for key in ("PATH", "LANG", "LC_ALL") if key in os.environ}
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            env={**kept, "HOME": str(home), **environ},
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, and after a while SIGKILL to whatever is left of the family."""
    family: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_LIMIT_SECONDS)
    if process.poll() is None:
        process.kill()
        process.wait(STOP_LIMIT_SECONDS)
    _, left = psutil.wait_procs(family, timeout=2)
    for child in left:
        with suppress(psutil.NoSuchProcess):
            child.kill()
    psutil.wait_procs(left, timeout=2)


def _wait_until_listening(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + LISTEN_LIMIT_SECONDS
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        if process.poll() is not None or time.monotonic() > end:
            said = log.read_text(encoding="utf-8", errors="replace")[-400:].strip()
            raise StartError(f"did not listen (exit code {process.poll()}): {said}")
        time.sleep(POLL_SECONDS)
