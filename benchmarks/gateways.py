"""The gateways that are measured: how each is started, and how it is spoken to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.load import Speech


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where a gateway is to run: its port, an empty folder of its own, and the command of the server behind it."""

    port: int
    folder: Path
    server_name: str
    server: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The command of a gateway. `beside` are commands of what it needs, each with the port at which that listens."""

    command: tuple[str, ...]
    environ: Mapping[str, str] = field(default_factory=dict[str, str])
    beside: tuple[tuple[int, tuple[str, ...]], ...] = ()


def needs_nothing() -> None:
    """For a gateway that is there already."""


def needs_no_login(site: Site) -> tuple[str, ...]:
    """For a gateway that wants no token."""
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """`prepare` writes files into the site's folder; `log_in` gets the headers that the running gateway wants."""

    name: str
    title: str
    prepare: Callable[[Site], Start]
    speak: Callable[[Site], Speech]
    server_arguments: tuple[str, ...] = ()
    """Further arguments of the echo server."""
    log_in: Callable[[Site], tuple[str, ...]] = needs_no_login
    install: Callable[[], None] = needs_nothing
