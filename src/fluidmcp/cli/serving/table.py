"""The table of `fluidmcp run` without `--start-server`: every server is started, looked at and ended again."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from fluidmcp.cli import deferred
from fluidmcp.cli.output import print_error, print_notice, print_table
from fluidmcp.cli.serving.checks import CheckResult, check_servers
from fluidmcp.cli.serving.report import build_login_url, describe_failure, report_failure, report_mistakes
from fluidmcp.cli.serving.serve import run_in_loop, stop_on_signals
from fluidmcp.cli.serving.slow_starts import SlowStarts
from fluidmcp.config.entries import ServerEntry
from fluidmcp.config.logins.keys import KeysBlock
from fluidmcp.config.logins.read import has_login_page
from fluidmcp.config.settings import GatewaySettings
from fluidmcp.errors import ConfigurationError
from fluidmcp.packages.importing.command_words import mask_args
from fluidmcp.packages.resolve import LoadedServers
from fluidmcp.processes.isolation.wall import Wall

EXIT_NONE_STARTED: Final = 1
EXIT_MISTAKE: Final = 2
_HEADER: Final = ("PACKAGE", "VERSION", "COMMAND", "OAUTH", "LOGIN", "ISOLATION", "STATUS")
_MAX_COMMAND_CHARACTERS: Final = 48


def show_table(
    loaded: LoadedServers,
    faults: Mapping[str, ConfigurationError],
    settings: GatewaySettings,
    environ: Mapping[str, str],
) -> int:
    """Print what there is and whether it starts; the exit code.

    `faults` are the servers, by name, of which it is known already that they cannot be launched.
    """
    results = {name: CheckResult(name=name, error=fault) for name, fault in faults.items()}
    missing: dict[str, tuple[str, ...]] = {}
    walls: dict[str, Wall] = {}
    checkable = [entry for entry in loaded.entries if entry.name not in faults]
    stopped_with = run_in_loop(_check_all(checkable, settings, environ, results, missing, walls)) if checkable else None
    if stopped_with is not None:
        return stopped_with
    rows = [
        (
            server.entry.name,
            server.version or "-",
            _show_command(server.entry),
            _describe_auth(server.entry),
            build_login_url(server.entry, settings) if has_login_page(server.entry.auth) else "-",
            walls[server.entry.name].describe() if server.entry.name in walls else "-",
            _describe_status(server.entry, results, missing),
        )
        for server in loaded.servers
    ]
    rows += [(refused.name, "-", "-", "-", "-", "-", "refused") for refused in loaded.refused]
    rows += [(name, "-", "-", "-", "-", "-", "disabled") for name in loaded.disabled]
    print_table(_HEADER, rows)
    report_mistakes(loaded, faults)
    for name, result in results.items():
        if name not in faults:
            report_failure(result)
    unusable = [name for name, variables in missing.items() if variables and results[name].is_usable]
    for name in unusable:
        print_error(_login_cannot_work(name, missing[name]), subject=name)
    if any(result.is_usable and name not in unusable for name, result in results.items()):
        return 0
    return EXIT_MISTAKE if len(faults) + len(unusable) == len(loaded.servers) else EXIT_NONE_STARTED


async def _check_all(
    entries: Sequence[ServerEntry],
    settings: GatewaySettings,
    environ: Mapping[str, str],
    results: dict[str, CheckResult],
    missing: dict[str, tuple[str, ...]],
    walls: dict[str, Wall],
) -> int | None:
    """Start everything without a person, note what comes of it, end it all again; an exit code after a signal."""

    gateway = deferred.Gateway(settings, entries, environ)
    slow_starts = SlowStarts(gateway, print_notice)

    def note(result: CheckResult) -> None:
        results[result.name] = result
        if result.error is None:
            slow_starts.note_answer(result.name)

    with stop_on_signals() as stop:
        try:
            await gateway.start()
            walls.update(gateway.walls)
            missing.update((entry.name, gateway.missing_variables(entry.name)) for entry in entries)
            checking = asyncio.create_task(check_servers(gateway, entries, note, slow_starts.follow))
            stopping = asyncio.create_task(stop.requested.wait())
            await asyncio.wait((checking, stopping), return_when=asyncio.FIRST_COMPLETED)
            for task in (checking, stopping):
                task.cancel()
            await asyncio.wait((checking, stopping))
            if not checking.cancelled():
                checking.result()
        finally:
            await gateway.close()
        return stop.exit_code if stop.requested.is_set() else None


def _login_cannot_work(name: str, variables: Sequence[str]) -> ConfigurationError:
    """A gateway would serve it all the same, and tell whoever logs in: here it is what was to be found."""
    return ConfigurationError(
        f"The login of {name} cannot work.",
        why=f"It needs {' and '.join(variables)}, which {'is' if len(variables) == 1 else 'are'} not set.",
        hint=f"Export {'it' if len(variables) == 1 else 'them'}, and run the command again.",
    )


def _describe_status(
    entry: ServerEntry, results: Mapping[str, CheckResult], missing: Mapping[str, tuple[str, ...]]
) -> str:
    result = results[entry.name]
    names = missing.get(entry.name, ())
    if names and result.is_usable:
        return f"needs {' and '.join(names)}"
    return describe_failure(result) or ("ok" if entry.auth is None else "ok, starts after a login")


def _describe_auth(entry: ServerEntry) -> str:
    if isinstance(entry.auth, KeysBlock):
        return "keys"
    return "no" if entry.auth is None else "yes"


def _show_command(entry: ServerEntry) -> str:
    program = entry.written_command or entry.command
    command = " ".join((program, *mask_args(program, entry.written_args)))
    return command if len(command) <= _MAX_COMMAND_CHARACTERS else command[: _MAX_COMMAND_CHARACTERS - 3] + "..."
