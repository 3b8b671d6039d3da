"""What the operator is told about the servers of a run, in the words that documents and scripts rely on."""

import logging
from collections.abc import Mapping, Sequence

from fluidmcp.cli.checks import CheckResult
from fluidmcp.cli.output import print_error, print_line, print_warning
from fluidmcp.config.entries import ServerEntry
from fluidmcp.config.settings import GatewaySettings
from fluidmcp.errors import ConfigurationError, ServerProcessError
from fluidmcp.packages.resolve import LoadedServers
from fluidmcp.processes.isolation import Wall

logger = logging.getLogger(__name__)


def build_login_url(entry: ServerEntry, settings: GatewaySettings) -> str:
    """Where a person logs in to a package."""
    return f"{settings.public_url}/{entry.name}/auth/login"


def build_callback_url(entry: ServerEntry, settings: GatewaySettings) -> str:
    """The redirect URI that the operator registers with the package's provider."""
    return f"{settings.public_url}/{entry.name}/auth/callback"


def announce(entries: Sequence[ServerEntry], settings: GatewaySettings) -> None:
    """The documented start lines; people and scripts look for exactly these."""
    for entry in entries:
        if entry.auth is None:
            print_line(f"Added {entry.name} endpoints")
        else:
            print_line(f"Added {entry.name} endpoints with OAuth support")
            print_line(f"  Login: {build_login_url(entry, settings)}")
    print_line(f"Starting FastAPI server on port {settings.port}")


def announce_client_logins(
    entries: Sequence[ServerEntry], settings: GatewaySettings, *, has_gateway_login: bool
) -> None:
    """What people type into an MCP client that logs in by itself; nothing where a client cannot do it alone."""
    names = [entry.name for entry in entries if has_gateway_login or (entry.auth and settings.guard is None)]
    for name in names:
        print_line(f"MCP clients log in by themselves at {settings.public_url}/{name}/mcp")
    if has_gateway_login and names:
        print_line(f"Register this redirect URI with the provider of the gateway: {settings.public_url}/auth/callback")
    if names and not settings.seal_keys:
        logger.info(
            "FMCP_SEAL_KEYS is not set: after a restart everybody has to log in to their MCP clients again "
            "(`openssl rand -base64 32` makes a key)"
        )


def announce_isolation(walls: Mapping[str, Wall]) -> None:
    """What keeps the processes of two people apart, and what it lacks on this machine."""
    names: dict[str, list[str]] = {}
    for name, wall in walls.items():
        names.setdefault(wall.describe(), []).append(name)
    for described, packages in names.items():
        who = f" ({', '.join(packages)})" if len(names) > 1 else ""
        print_line(f"Isolation of server processes: {described}{who}")
    for weakness in dict.fromkeys(wall.weakness for wall in walls.values() if wall.weakness):
        print_warning(f"isolation: {weakness}")


def report_mistakes(loaded: LoadedServers, faults: Mapping[str, ConfigurationError]) -> None:
    """The entries that cannot be served, and those that cannot be launched (`faults`, by package name)."""
    for refused in loaded.refused:
        print_error(refused.error, subject=refused.name)
    for name, error in faults.items():
        print_error(error, subject=name)
    if loaded.disabled:
        logger.info("disabled in the file: %s", ", ".join(loaded.disabled))


def report_failure(result: CheckResult) -> None:
    """A server that was started and failed, with the last lines of its stderr; nothing for one that is fine."""
    if result.error is not None:
        detail = result.error.stderr_tail if isinstance(result.error, ServerProcessError) else ()
        print_error(result.error, subject=result.name, detail=detail)
