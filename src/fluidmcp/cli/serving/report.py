"""What the operator is told about the servers of a run, in the words that documents and scripts rely on."""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from fluidmcp.cli import deferred
from fluidmcp.cli.output import print_error, print_line, print_warning
from fluidmcp.cli.serving.checks import CheckResult
from fluidmcp.config.auth_block import AuthBlock
from fluidmcp.config.entries import ServerEntry
from fluidmcp.config.environment import SECURE_TOKEN
from fluidmcp.config.listening.choose import DEFAULT_PORT
from fluidmcp.config.logins.keys import KeysBlock
from fluidmcp.config.logins.read import find_keys, has_login_page, list_logins
from fluidmcp.config.settings import GatewaySettings
from fluidmcp.errors import ConfigurationError, ServerProcessError
from fluidmcp.packages.catalogue.wrong_variables import find_wrong_variables
from fluidmcp.packages.resolve import LoadedServers
from fluidmcp.processes.isolation.wall import Wall

_MAX_LINE_CHARACTERS: Final = 80
"""What a table shows of a line that a server wrote."""

logger = logging.getLogger(__name__)


def build_login_url(entry: ServerEntry, settings: GatewaySettings) -> str:
    """Where a person logs in to a package."""
    return f"{settings.public_url}/{entry.name}/auth/login"


def build_callback_url(entry: ServerEntry, login: str, settings: GatewaySettings) -> str:
    """The redirect URI that the operator registers with the provider of a login; `login` is "" for the only one."""
    return f"{settings.public_url}/{entry.name}/auth/callback{login and '/'}{login}"


def describe_registrations(entry: ServerEntry, settings: GatewaySettings) -> Iterator[str]:
    """What the operator has to register, a line each."""
    for name, block in list_logins(entry.auth):
        if isinstance(block, AuthBlock):
            whose = f"{name} for {entry.name}" if name else f"the provider of {entry.name}"
            yield f"Register this redirect URI with {whose}: {build_callback_url(entry, name, settings)}"


def announce(entries: Sequence[ServerEntry], settings: GatewaySettings) -> None:
    """The documented start lines; people and scripts look for exactly these."""
    for entry in entries:
        if entry.auth is None:
            print_line(f"Added {entry.name} endpoints")
            continue
        kind = "a login by keys" if isinstance(entry.auth, KeysBlock) else "OAuth support"
        print_line(f"Added {entry.name} endpoints with {kind}")
        if has_login_page(entry.auth):
            print_line(f"  Login: {build_login_url(entry, settings)}")
        keys = find_keys(entry.auth)
        if keys is not None and "header" in keys.keys_from:
            print_line(f"  Keys in headers: {', '.join(key.header for key in keys.keys)}")
    print_line(f"Starting FastAPI server on port {settings.port}")


def describe_address(entry: ServerEntry, settings: GatewaySettings) -> str:
    """What people type into an MCP client."""
    renamed = f' ("{entry.written_name}" in the file)' if entry.written_name else ""
    return f"{settings.public_url}/{entry.name}/mcp{renamed}"


def describe_connection(entries: Sequence[ServerEntry], settings: GatewaySettings) -> tuple[str, ...]:
    """How to connect a client, as a line to paste, and the page that says more."""
    # A guarded gateway tells nobody its packages, so one is named.
    entry = next((entry for entry in entries if entry.auth is None), entries[0])
    name = f" {entry.name}" if len(entries) == 1 or settings.guard is not None else ""
    token = f" --token-env {SECURE_TOKEN}" if settings.guard == "secure" and entry.auth is None else ""
    url = "" if settings.public_url == f"http://localhost:{DEFAULT_PORT}" else f" --url {settings.public_url}"
    return (
        f"Connect a client: fluidmcp connect claude-code{name}{url}{token}   (or cursor, vscode, codex, ...)",
        f"In a browser: {settings.public_url}/",
    )


def announce_addresses(
    entries: Sequence[ServerEntry], settings: GatewaySettings, *, has_gateway_login: bool, in_table: bool = False
) -> None:
    """What people type into an MCP client, and whether it logs in by itself there. `in_table`: a table says where."""
    names = [
        entry.name for entry in entries if has_gateway_login or (has_login_page(entry.auth) and settings.guard is None)
    ]
    if not in_table:
        for entry in entries:
            what = "MCP clients log in by themselves" if entry.name in names else f"{entry.name} answers"
            print_line(f"{what} at {describe_address(entry, settings)}")
        for line in describe_connection(entries, settings):
            print_line(line)
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


def warn_of_wrong_variables(entries: Sequence[ServerEntry]) -> None:
    """A line for each variable that is known to be the wrong one for a person's token."""
    for entry in entries:
        for found in find_wrong_variables(entry):
            print_warning(found.text)


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
    error = result.error
    if error is None:
        return
    lines = error.stderr_tail if isinstance(error, ServerProcessError) else ()
    match result.verdict:
        case "fault":
            print_error(error, subject=result.name, detail=lines)
        case "login":
            logger.info("%s needs a login; without one it said: %s", result.name, deferred.choose_line(lines))
        case "unclear":
            print_warning(
                f"{result.name} did not start without a login, and it is not clear whether it will with one: "
                f"{error.why or error.what}",
                detail=lines,
            )


def describe_failure(result: CheckResult) -> str:
    """The same in a few words, for a table; empty for a server that is fine."""
    if result.error is None:
        return ""
    lines = result.error.stderr_tail if isinstance(result.error, ServerProcessError) else ()
    match result.verdict:
        case "fault":
            return "cannot start"
        case "login":
            return f"ok, needs a login: {deferred.choose_line(lines)[:_MAX_LINE_CHARACTERS]}"
        case "unclear":
            return "unclear without a login"


def print_ready(loaded: LoadedServers, not_started: Collection[str], missing: Mapping[str, Sequence[str]]) -> None:
    """The last line of the start: how many servers can be used, and why the others cannot.

    `missing` are the variables, by package name, that a login needs and that are not set. What starts after a login
    is ready.
    """
    reasons: list[str] = []
    for entry in loaded.entries:
        if entry.name in not_started:
            reasons.append(f"{entry.name} (cannot start)")
        elif missing.get(entry.name):
            reasons.append(f"{entry.name} (needs {' and '.join(missing[entry.name])})")
    reasons += [f"{refused.name} (refused)" for refused in loaded.refused]
    total = len(loaded.entries) + len(loaded.refused)
    ready = f"{total - len(reasons)} of {total} ready"
    print_line(f"{ready}; not ready: {', '.join(reasons)}" if reasons else ready)
