"""The gateway of `fluidmcp run --start-server`: bind, announce, serve, and tell which servers came up."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from fluidmcp.cli import deferred
from fluidmcp.cli.output import print_line, print_warning
from fluidmcp.cli.serving.checks import CheckResult, check_servers
from fluidmcp.cli.serving.guarding import announce_guard, open_guard
from fluidmcp.cli.serving.listening.activation import READY, STOPPING, notify
from fluidmcp.cli.serving.listening.sockets import open_all
from fluidmcp.cli.serving.progress import ServerRow, StartView, can_draw, open_view
from fluidmcp.cli.serving.report import (
    announce,
    announce_addresses,
    announce_isolation,
    describe_address,
    describe_connection,
    describe_registrations,
    print_ready,
    report_failure,
    report_mistakes,
)
from fluidmcp.cli.serving.serve import Patience, Stop, run_in_loop, serve, stop_on_signals
from fluidmcp.config.entries import ServerEntry
from fluidmcp.config.settings import GatewaySettings
from fluidmcp.errors import ConfigurationError
from fluidmcp.gateway.garbage import spare_the_start
from fluidmcp.packages.resolve import LoadedServers

if TYPE_CHECKING:
    from fluidmcp.cli.serving.listening.tls import Certificate
    from fluidmcp.gateway.lifecycle import Gateway

logger = logging.getLogger(__name__)

EXIT_NONE_STARTED: Final = 1


def start_gateway(
    loaded: LoadedServers,
    faults: Mapping[str, ConfigurationError],
    settings: GatewaySettings,
    environ: Mapping[str, str],
    given: socket.socket | None = None,
    *,
    is_quiet: bool = False,
) -> int:
    """Serve until a signal comes, or until it is clear that no server can start; the exit code.

    `given` is a socket that is open already. `faults` are the servers, by name, of which it is known already that they
    cannot be launched. `is_quiet`: nobody sees stdout, so nothing is asked for its sake.

    Raises:
        PortInUseError, ConfigurationError: the sockets cannot be opened.
        ConfigurationError, AuthError: the guard cannot be set up.
        ConfigurationError: the certificate cannot be used.
    """
    certificate = None if settings.tls is None else deferred.Certificate(settings.tls)
    with open_all(settings, given) as sockets:
        return run_in_loop(_serve_all(loaded, faults, settings, environ, sockets, certificate, is_quiet))


class _Service:
    """The gateway, and the service manager that is told what it is told."""

    def __init__(self, gateway: "Gateway", environ: Mapping[str, str]) -> None:
        self.count_calls = gateway.count_calls
        self._gateway = gateway
        self._environ = environ

    def leave(self) -> None:
        notify(self._environ, STOPPING)
        self._gateway.leave()


async def _serve_all(
    loaded: LoadedServers,
    faults: Mapping[str, ConfigurationError],
    settings: GatewaySettings,
    environ: Mapping[str, str],
    sockets: Sequence[socket.socket],
    certificate: "Certificate | None",
    is_quiet: bool,
) -> int:

    async with contextlib.AsyncExitStack() as closing:
        stop = closing.enter_context(stop_on_signals(None if certificate is None else certificate.reload))
        guarding = await closing.enter_async_context(open_guard(settings, environ))
        gateway = deferred.Gateway(
            settings,
            loaded.entries,
            environ,
            deferred.GatewayOptions(
                guard=guarding.guard,
                gateway_provider=guarding.gateway_provider,
                foreign_issuer=guarding.foreign_issuer,
            ),
            background=guarding.background,
        )
        ending = await closing.enter_async_context(contextlib.AsyncExitStack())
        ending.push_async_callback(gateway.close)
        await gateway.start()
        usable = [entry for entry in loaded.entries if entry.name not in faults]
        announce(usable, settings)
        announce_guard(guarding, usable, settings)
        draws = can_draw(environ)
        has_gateway_login = guarding.gateway_provider is not None
        announce_addresses(usable, settings, has_gateway_login=has_gateway_login, in_table=draws)
        spare_the_start()
        async with asyncio.TaskGroup() as group:
            notify(environ, READY)
            watching = None if certificate is None else group.create_task(certificate.watch())
            report = _report_start(gateway, loaded, faults, settings, stop, draws=draws, is_quiet=is_quiet)
            reporting = group.create_task(report)
            await serve(
                gateway.app,
                sockets,
                stop=stop,
                protocol=gateway.choose_protocol(),
                service=_Service(gateway, environ),
                patience=Patience(notice=settings.notice_seconds, drain=settings.drain_seconds),
                on_shutdown=ending.aclose,
                tls=None if certificate is None else certificate.context,
                handshake_seconds=settings.connections.header_seconds,
            )
            if watching is not None:
                watching.cancel()
            reporting.cancel()
        none_started = reporting.done() and not reporting.cancelled() and not reporting.result()
        return EXIT_NONE_STARTED if none_started else stop.exit_code


async def _report_start(
    gateway: "Gateway",
    loaded: LoadedServers,
    faults: Mapping[str, ConfigurationError],
    settings: GatewaySettings,
    stop: Stop,
    *,
    draws: bool,
    is_quiet: bool,
) -> bool:
    """Say what the operator must know after the start; false, and a request to stop, when no server is fine.

    `draws`: stdout is a terminal, on which the servers are shown in a table while they come up. `is_quiet`: nobody sees
    stdout.
    """
    usable = [entry for entry in loaded.entries if entry.name not in faults]
    for entry in usable:
        for line in describe_registrations(entry, settings):
            print_line(line)
    announce_isolation(gateway.walls)
    report_mistakes(loaded, faults)
    missing = {entry.name: gateway.missing_variables(entry.name) for entry in usable}
    _warn_of_missing(missing)
    not_started = set(faults)
    rows = _list_rows(loaded, faults, settings)

    def say(line: str) -> None:
        if not stop.requested.is_set():
            print_line(line)

    def report(result: CheckResult, view: StartView) -> None:
        if stop.requested.is_set():
            return  # that a server did not start is no news when the gateway ends
        if result.error is None:
            logger.info("%s answers", result.name)
        if not result.is_usable:
            not_started.add(result.name)
        report_failure(result)
        view.end(result)

    with open_view(gateway, usable, missing, rows, draws=draws, say=say) as view:
        await check_servers(gateway, usable, partial(report, view=view), view.follow, counts_tools=not is_quiet)
    if stop.requested.is_set():
        return True
    print_ready(loaded, not_started, missing)
    if len(not_started) < len(loaded.entries):
        if draws:
            _print_connection([entry for entry in usable if entry.name not in not_started], settings)
        return True
    stop.request()
    return False


def _list_rows(
    loaded: LoadedServers, faults: Mapping[str, ConfigurationError], settings: GatewaySettings
) -> list[ServerRow]:
    """Of all servers, those too that are not started."""
    rows: list[ServerRow] = []
    for entry in loaded.entries:
        row = ServerRow(name=entry.name, address=describe_address(entry, settings))
        rows.append(row.fail(faults[entry.name]) if entry.name in faults else row)
    return rows + [ServerRow(name=refused.name).fail(refused.error) for refused in loaded.refused]


def _print_connection(entries: Sequence[ServerEntry], settings: GatewaySettings) -> None:
    print_line()
    for line in describe_connection(entries, settings):
        print_line(line)


def _warn_of_missing(missing: Mapping[str, Sequence[str]]) -> None:
    for name, variables in missing.items():
        if variables:
            names = " and ".join(variables)
            print_warning(f"the login of {name} cannot work before {names} is exported and fluidmcp restarted.")
