"""How each server of a run comes up, told while it happens: a table that is drawn again and again on a terminal, plain
lines everywhere else.
"""

import contextlib
import sys
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, Protocol

from fluidmcp.cli import deferred
from fluidmcp.cli.output import print_line
from fluidmcp.cli.serving.checks import CheckResult
from fluidmcp.cli.serving.slow_starts import SlowStarts, StartObserver
from fluidmcp.config.entries import ServerEntry
from fluidmcp.config.logins.keys import KeysBlock
from fluidmcp.errors import FluidMCPError
from fluidmcp.processes.pool.starts import StartProgress

Mood = Literal["busy", "good", "unsure", "bad"]

_POOR_TERMINALS: Final = ("", "dumb", "unknown")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerRow:
    """What is shown of one server."""

    name: str
    address: str = ""
    state: str = "waits for its turn"
    mood: Mood = "busy"
    tools: str = "-"

    def fail(self, error: FluidMCPError) -> "ServerRow":
        return replace(self, state=_name_failure(error), mood="bad", address="")

    def move(self, progress: StartProgress | None) -> "ServerRow":
        """The same while its start goes on."""
        return self if progress is None else replace(self, state=describe_progress(progress))

    def end(self, result: CheckResult, entry: ServerEntry, missing: Sequence[str]) -> "ServerRow":
        """The same when its start is over. `missing` are the variables that its login needs and that are not set."""
        end = judge_end(result, entry, missing)
        if end.mood == "bad":
            return replace(self, state=end.state, mood="bad", address="")
        tools = self.tools if end.tools is None else str(end.tools)
        return replace(self, state=end.state, mood=end.mood, tools=tools)


@dataclass(frozen=True, slots=True, kw_only=True)
class StartEnd:
    """How a start ended: in a table, and as what follows the name in a line. No line says ready: the last one does."""

    state: str
    line: str
    mood: Mood
    tools: int | None = None


class StartView(Protocol):
    """Who shows how servers come up."""

    async def follow(self, name: str) -> None:
        """What a start is doing, until it is cancelled."""
        ...

    def end(self, result: CheckResult) -> None:
        """A start is over."""
        ...


class PlainLines:
    """A line for each server that has started or failed, and for each start that takes long. `say` gets them."""

    def __init__(
        self,
        gateway: StartObserver,
        entries: Iterable[ServerEntry],
        missing: Mapping[str, Sequence[str]],
        say: Callable[[str], None],
    ) -> None:
        self._entries = {entry.name: entry for entry in entries}
        self._missing = missing
        self._say = say
        self.follow = SlowStarts(gateway, say).follow

    def end(self, result: CheckResult) -> None:
        end = judge_end(result, self._entries[result.name], self._missing[result.name])
        self._say(f"{result.name} {end.line}")


def can_draw(environ: Mapping[str, str]) -> bool:
    """Whether stdout is a terminal on which lines can be drawn again."""
    return sys.stdout.isatty() and environ.get("TERM", "") not in _POOR_TERMINALS


@contextlib.contextmanager
def open_view(
    gateway: StartObserver,
    entries: Sequence[ServerEntry],
    missing: Mapping[str, Sequence[str]],
    rows: Sequence[ServerRow],
    *,
    draws: bool,
    say: Callable[[str], None] = print_line,
) -> Generator[StartView]:
    """The view that suits: a table of `rows` that stays when it is closed, or lines for `say`."""
    if not draws:
        yield PlainLines(gateway, entries, missing, say)
        return
    with deferred.LiveTable(gateway, entries, missing, rows).drawn() as table:
        yield table


def judge_end(result: CheckResult, entry: ServerEntry, missing: Sequence[str]) -> StartEnd:
    """`missing` are the variables that its login needs and that are not set."""
    if result.error is not None and not result.is_usable:
        failed = _name_failure(result.error)
        return StartEnd(state=failed, line=failed, mood="bad")
    if missing:
        needs = f"needs {' and '.join(missing)}"
        return StartEnd(state=needs, line=f"{needs} before anybody can log in", mood="unsure")
    if result.error is not None and result.verdict == "unclear":
        unsure = "may start after a login: see the warning"
        return StartEnd(state=unsure, line=unsure, mood="unsure")
    if entry.auth is not None:
        wait = _name_wait(entry)
        return StartEnd(state=f"ready, {wait}", line=wait, mood="good")
    took = f"after {_show_seconds(result.seconds)}"
    tools = "" if result.tools is None else f", {result.tools} {'tool' if result.tools == 1 else 'tools'}"
    return StartEnd(state=f"ready {took}", line=f"answers {took}{tools}", mood="good", tools=result.tools)


def _name_failure(error: FluidMCPError) -> str:
    return f"failed: {error.why or error.what}"


def describe_progress(progress: StartProgress) -> str:
    """What a start is doing, for a table."""
    if progress.state == "waiting":
        return "waits for its turn"
    seconds = f"{progress.seconds:.0f} s"
    if progress.state == "starting":
        return f"starting, {seconds}"
    return f"installing ({progress.runner}), {seconds}" if progress.runner else f"installing or loading, {seconds}"


def _name_wait(entry: ServerEntry) -> str:
    return "waits for keys" if isinstance(entry.auth, KeysBlock) else "waits for a login"


def _show_seconds(seconds: float) -> str:
    return f"{seconds:.{2 if seconds < 1 else 1 if seconds < 10 else 0}f} s"
