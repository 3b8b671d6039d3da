"""The start-up checks: can this server be launched, and does it answer the MCP handshake?"""

import asyncio
import os
import shutil
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from fluidmcp.cli import deferred
from fluidmcp.config.entries import ServerEntry
from fluidmcp.errors import ConfigurationError, FluidMCPError, ServerProcessError, ServerStartError, hide_values
from fluidmcp.processes.isolation.reach import find_too_wide
from fluidmcp.processes.isolation.wall import paths_too_wide
from fluidmcp.processes.launch.environment import build_environment
from fluidmcp.processes.launch.home import homes_folder

if TYPE_CHECKING:
    from fluidmcp.cli.serving.diagnosis import Verdict

_INSTALL_HINTS: Final = {
    "npx": "Install Node.js, which brings npx, or FluidMCP with its extra node",
    "node": "Install Node.js, or FluidMCP with its extra node",
    "npm": "Install Node.js, which brings npm, or FluidMCP with its extra node",
    "uvx": "Install uv, which brings uvx, or FluidMCP with its extra uv",
    "uv": "Install uv, or FluidMCP with its extra uv",
    "docker": "Install Docker",
    "python": "Write python3, or install Python",
}


class ServerChecker(Protocol):
    """What a gateway offers to the checks."""

    async def check_server(self, name: str) -> float: ...

    async def count_tools(self, name: str) -> int | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What a check of one server found; `error` is None when it is fine.

    A server that did not start may still be usable: it was tried without a token. `verdict` says what it lacked.
    """

    name: str
    error: FluidMCPError | None = None
    verdict: "Verdict" = "fault"
    seconds: float = 0.0
    """How long the start took of one that is fine."""
    tools: int | None = None
    """How many it serves, where that is asked and it says so."""

    @property
    def is_usable(self) -> bool:
        return self.error is None or self.verdict != "fault"


def check_launch(entry: ServerEntry, environ: Mapping[str, str], *, is_guarded: bool = False) -> None:
    """Whether the server of `entry` could be launched, without launching it; `is_guarded`: for somebody known.

    Raises:
        ConfigurationError: its command is not there, or a variable that it requires is not set. No value shows that
            was filled in and is a secret.
    """
    try:
        _check_launch(entry, environ, is_guarded=is_guarded)
    except ConfigurationError as error:
        hide_values(error, (secret.reveal() for secret in entry.hidden))
        raise


def _check_launch(entry: ServerEntry, environ: Mapping[str, str], *, is_guarded: bool) -> None:
    # A person's token is not there yet; whether one is needed does not change the rest of the environment.
    person_known = entry.auth is not None or (is_guarded and not entry.shared)
    environment = build_environment(entry, environ, person_known=person_known)
    if not entry.directory.is_dir():
        raise ConfigurationError(
            f"The working directory of {entry.name} is not there.",
            why=f"{entry.directory} is not a directory.",
            hint="Create it, or start fluidmcp in another directory."
            if entry.default_directory is None
            else f"Create it, or correct `cwd` in {entry.source}.",
        )
    paths = (*entry.paths.read, *entry.paths.write)
    too_wide = find_too_wide(paths, environ.get("HOME", ""), str(homes_folder())) if person_known else None
    if too_wide is not None:
        raise paths_too_wide(entry.name, too_wide)
    absent = next((path for path in paths if not os.path.exists(path)), None)
    if absent is not None:
        raise ConfigurationError(
            f"A path of {entry.name} is not there: {absent}",
            why="Its `paths` name it, and what is not there cannot be opened to its processes.",
            hint=f"Create it, or correct `paths` in {entry.source}.",
        )
    if _find_program(entry.command, entry, environment.get("PATH", os.defpath)) is not None:
        return
    where = "PATH" if os.sep not in entry.command else str(entry.directory)
    program, _, arguments = entry.command.strip().partition(" ")
    if arguments and _find_program(program, entry, environment.get("PATH", os.defpath)) is not None:
        raise ConfigurationError(
            f"The command of {entry.name} is not found: {entry.command}",
            why="It is taken as the name of one program, spaces included.",
            hint=f"Leave {program} as its command in {entry.source}, and move what follows into its args, a list.",
        )
    install = _INSTALL_HINTS.get(entry.command, "Install it")
    raise ConfigurationError(
        f"The command of {entry.name} is not found: {entry.command}",
        why=f"There is no such program in {where}." if where == "PATH" else f"It is no program below {where}.",
        hint=f"{install}, or correct the command in {entry.source}.",
    )


def find_launch_faults(
    entries: Sequence[ServerEntry], environ: Mapping[str, str], *, is_guarded: bool = False
) -> dict[str, ConfigurationError]:
    """The faults that show before anything is started, by package name."""
    faults: dict[str, ConfigurationError] = {}
    for entry in entries:
        try:
            check_launch(entry, environ, is_guarded=is_guarded)
        except ConfigurationError as error:
            faults[entry.name] = error
    return faults


async def check_servers(
    gateway: ServerChecker,
    entries: Sequence[ServerEntry],
    report: Callable[[CheckResult], None],
    follow: Callable[[str], Coroutine[Any, Any, None]],
    *,
    counts_tools: bool = False,
) -> None:
    """Start a process of each package, all at once and without a token; `report` gets each result when it is known.

    `follow` runs beside each start, with the name, and is cancelled at its end. `counts_tools`: those are asked how
    many tools they have that go on running.
    """
    async with asyncio.TaskGroup() as group:
        for entry in entries:
            group.create_task(_check(gateway, entry, report, follow, counts_tools=counts_tools))


async def _check(
    gateway: ServerChecker,
    entry: ServerEntry,
    report: Callable[[CheckResult], None],
    follow: Callable[[str], Coroutine[Any, Any, None]],
    *,
    counts_tools: bool,
) -> None:
    following = asyncio.create_task(follow(entry.name))
    try:
        seconds = await gateway.check_server(entry.name)
    except FluidMCPError as error:
        if entry.start_hint and isinstance(error, ServerStartError):
            error.hint = f"{error.hint} {entry.start_hint}".strip()
        report(CheckResult(name=entry.name, error=error, verdict=_judge(entry, error)))
    else:
        following.cancel()
        tools = await gateway.count_tools(entry.name) if counts_tools else None
        report(CheckResult(name=entry.name, seconds=seconds, tools=tools))
    finally:
        following.cancel()


def _judge(entry: ServerEntry, error: FluidMCPError) -> "Verdict":
    """Whether a login would help; a server without `auth` has to start without one."""
    if entry.auth is None or not isinstance(error, ServerProcessError):
        return "fault"
    if isinstance(error, ServerStartError) and not error.has_run:
        return "fault"
    exit_code = error.exit_code if isinstance(error, ServerStartError) else None
    return deferred.diagnose(
        exit_code,
        error.stderr_tail,
        variables=entry.personal_variables,
        brings_more=bool(entry.files or entry.personal_args),
    )


def _find_program(command: str, entry: ServerEntry, search_path: str) -> str | None:
    """The program, found as the child's start will find it: a relative path counts from its working directory."""
    if os.sep in command:
        return shutil.which(entry.directory / command)
    absolute = os.pathsep.join(str(entry.directory / folder) for folder in search_path.split(os.pathsep))
    return shutil.which(command, path=absolute)
