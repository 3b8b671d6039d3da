"""Driving one gateway for a moment: the options of the load generator, and what it says."""

import subprocess
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from benchmarks.cases import Case
from benchmarks.samples import Sample
from benchmarks.workshop import Workshop

WARM_SECONDS: Final = 0.25
LIMIT_SECONDS: Final = 180.0
"""For opening sessions and draining; the run itself is short."""

Style = Literal["bare", "session", "stateless", "rest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Speech:
    """How a gateway wants to be spoken to."""

    style: Style = "bare"
    path: str = "/mcp"
    revision: str = "2025-06-18"
    progress_accept: str = "application/json, text/event-stream"
    """What `Accept` has to say for a stream of notifications."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A gateway that runs."""

    port: int
    pid: int
    speech: Speech
    headers: tuple[str, ...] = ()


def drive(workshop: Workshop, target: Target, case: Case, *, requests: int = 0) -> Sample:
    """Run the case once, or until so many requests are answered."""
    speech = target.speech
    options = {
        "port": target.port,
        "pid": target.pid,
        "path": speech.path,
        "style": speech.style,
        "revision": speech.revision,
        "server": case.server,
        "connections": case.connections,
        "bytes": case.message_bytes,
        "tool": case.tool,
        "seconds": case.seconds,
        "warm": 0 if requests else WARM_SECONDS,
        "requests": requests,
    }
    if case.tool == "progress":
        options["accept"] = speech.progress_accept
    command = [*workshop.load]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    for header in target.headers:
        command += ["--header", header]
    limit = LIMIT_SECONDS + case.seconds + requests / 100
    done = subprocess.run(command, check=True, capture_output=True, timeout=limit)
    return msgspec.json.decode(done.stdout, type=Sample)
