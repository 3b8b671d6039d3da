"""What `fluidmcp run` does: read, check, then serve or show a table.

One bad server never stops the good ones: it is reported, and its neighbours run. Mistakes that show before anything
is started (a wrong entry, a command that is not there, a variable that is missing) end the command with exit code 2
when no good server is left; servers that were started and failed end it with exit code 1 when all of them did. A login
that lacks its client id is such a mistake where nothing is served; a gateway goes on, and says so to whoever logs in.
"""

import contextlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fluidmcp.cli import deferred
from fluidmcp.cli.output import print_error, print_line, silent_stdout
from fluidmcp.cli.serving.checks import find_launch_faults
from fluidmcp.cli.serving.guarding import check_guard
from fluidmcp.cli.serving.report import report_mistakes, warn_of_wrong_variables
from fluidmcp.cli.serving.sources import load_target, nothing_to_run
from fluidmcp.config.settings import (
    GatewaySettings,
    check_is_guarded,
    check_who_is_allowed,
    load_settings,
    read_environment,
)
from fluidmcp.errors import UserError
from fluidmcp.observability.logs import LogFormat, configure_logging
from fluidmcp.packages.command_line import load_command
from fluidmcp.packages.found import find_installation_directory
from fluidmcp.packages.resolve import ALL, LoadedServers, is_servers_file
from fluidmcp.packages.servers_file import ReadingOptions
from fluidmcp.packages.sources.runtimes import add_runtimes

EXIT_MISTAKE: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """The command line of `fluidmcp run`."""

    target: str = ""
    command: tuple[str, ...] = ()
    """A program and its arguments, in place of a target."""
    name: str = ""
    """The name under which a command is served; empty: one made from it."""
    is_file: bool = False
    start_server: bool = False
    host: str | None = None
    port: int | None = None
    public_url: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    uds: str | None = None
    trusted_proxies: str | None = None
    oauth: bool = False
    secure: bool = False
    token: str | None = field(default=None, repr=False)
    allow_insecure: bool = False
    allow_env: tuple[str, ...] = ()
    allow_env_file: tuple[str, ...] = ()
    allow_unisolated: bool = False
    drain_seconds: float | None = None
    log_format: LogFormat | None = None
    access_log: bool | None = None
    install: bool = False
    """Whether a package of a registry that is not installed is installed first."""
    quiet: bool = False
    """Whether nothing is printed on stdout, and nothing is logged but warnings and errors."""


def run_target(options: RunOptions) -> int:
    """Serve, or check and show; the exit code.

    Raises:
        UserError: nothing could be done, because of a mistake in what was typed, exported or written.
        AuthError: the guard of the gateway cannot be set up.
    """
    with silent_stdout() if options.quiet else contextlib.nullcontext():
        return _run_target(options)


def _run_target(options: RunOptions) -> int:
    environ = read_environment()
    environ = add_runtimes(environ, find_installation_directory(environ, working_directory=Path.cwd()))
    is_file = not options.command and is_servers_file(
        options.target, working_directory=Path.cwd(), file=options.is_file
    )
    given = deferred.take_given_socket(environ) if options.start_server else None
    settings = load_settings(
        environ,
        given_socket=None if given is None else given.described,
        host=options.host,
        port=options.port,
        public_url=options.public_url,
        tls_cert=options.tls_cert,
        tls_key=options.tls_key,
        uds=options.uds,
        trusted_proxies=options.trusted_proxies,
        allow_insecure=options.allow_insecure,
        oauth=options.oauth,
        secure=options.secure,
        token=options.token,
        allow_env=options.allow_env,
        allow_unisolated=options.allow_unisolated,
        drain_seconds=options.drain_seconds,
        log_format=options.log_format,
        access_log=options.access_log,
        single_package=bool(options.command) or not is_file and options.target != ALL,
    )
    if options.quiet:
        _check_quiet(settings)
    # Without a gateway to watch, the table is the output: what the checks log on the way would only drown it.
    is_quiet = (options.quiet or not options.start_server) and not environ.get("FMCP_LOG_LEVEL", "").strip()
    configure_logging("warning" if is_quiet else settings.log_level, settings.log_format)
    check_guard(settings, environ)
    loaded = _load(options, environ, settings, is_file=is_file)
    check_is_guarded(settings, loaded.entries)
    check_who_is_allowed(settings, loaded.entries)
    warn_of_wrong_variables(loaded.entries)
    faults = find_launch_faults(loaded.entries, environ, is_guarded=settings.guard is not None)
    if options.start_server and len(faults) == len(loaded.servers):
        report_mistakes(loaded, faults)
        return EXIT_MISTAKE

    deferred.hide_memory()
    deferred.allow_many_descriptors()
    if options.start_server:
        listener = None if given is None else given.listener
        return deferred.start_gateway(loaded, faults, settings, environ, listener, is_quiet=options.quiet)
    return deferred.show_table(loaded, faults, settings, environ)


def _check_quiet(settings: GatewaySettings) -> None:
    if settings.guard == "secure" and settings.secure_token is None:
        raise UserError(
            "--quiet would not show the token that --secure makes.",
            why="It is made for each run, and shown on stdout only.",
            hint="Choose a token and set FMCP_SECURE_TOKEN, or leave --quiet out.",
        )


def _load(
    options: RunOptions, environ: Mapping[str, str], settings: GatewaySettings, *, is_file: bool
) -> LoadedServers:
    reading = ReadingOptions(
        environ=environ,
        home=environ.get("HOME", ""),
        allowed_env_names=settings.allowed_env_names,
        allowed_env_files=frozenset(map(os.path.realpath, options.allow_env_file)),
        ask=deferred.ask_at_terminal if sys.stdin.isatty() else None,
    )
    if options.command:
        loaded = load_command(options.command, name=options.name, working_directory=Path.cwd())
    else:
        if is_file:
            print_line(f"Reading {Path(options.target).name}...")
        loaded = load_target(options.target, reading, is_file=is_file, may_install=options.install)
        if not is_file:
            print_line("Reading metadata.json...")
    if loaded.servers:
        return loaded
    if not loaded.refused:
        raise nothing_to_run(options.target, loaded.disabled)
    *others, last = loaded.refused
    for refused in others:
        print_error(refused.error)
    raise last.error
