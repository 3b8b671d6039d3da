"""What `fluidmcp demo` does: the shipped gmail-mock and the bundled provider, each on its port, in one event loop.

The gateway is the same as under `run`. Only the addresses in the package's `auth` block are the provider's, and the
client id and secret are made for this run and stay in memory.
"""

import asyncio
import contextlib
import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from fluidmcp.cli import deferred
from fluidmcp.cli.account.session import has_browser, open_browser
from fluidmcp.cli.output import print_line
from fluidmcp.cli.serving.listening.ports import open_sockets
from fluidmcp.cli.serving.report import announce, build_callback_url
from fluidmcp.cli.serving.serve import hide_memory, run_in_loop, serve, stop_on_signals
from fluidmcp.config.auth_block import AuthBlock
from fluidmcp.config.entries import EnvVariable, ServerEntry
from fluidmcp.config.listening.choose import DEFAULT_PORT
from fluidmcp.config.settings import GatewaySettings, load_settings, read_environment
from fluidmcp.errors import PortInUseError, UserError
from fluidmcp.gateway.lifecycle import Gateway
from fluidmcp.observability.logs import configure_logging
from fluidmcp.packages.resolve import SHIPPED_DIRECTORY, find_packages, load_packages

if TYPE_CHECKING:
    from fluidmcp.demo.registration import Registration

PACKAGE: Final = "gmail-mock"
PROVIDER_HOST: Final = "127.0.0.1"


def run_demo(*, port: int, provider_port: int, no_browser: bool = False) -> int:
    """Serve until a signal comes; the exit code.

    Raises:
        UserError: a port is taken, or a setting in the environment is wrong.
    """
    if port == provider_port:
        raise UserError(
            f"The gateway and the provider cannot share port {port}.", hint="Give --port and --provider-port two ports."
        )
    # It answers this machine over plain http, whatever else is set up here.
    environ = {name: value for name, value in read_environment().items() if not name.startswith("FMCP_TLS_")}
    settings = load_settings(environ, port=port, public_url=f"http://localhost:{port}")
    # The lines that say what to do next are the output; routine log lines would push them out of sight.
    level = settings.log_level if environ.get("FMCP_LOG_LEVEL", "").strip() else "warning"
    configure_logging(level, settings.log_format)
    hide_memory()
    with contextlib.ExitStack() as opened:
        provider_sockets = _open_provider_sockets(provider_port)
        opened.callback(_close_all, provider_sockets)
        gateway_sockets = open_sockets(settings)
        opened.callback(_close_all, gateway_sockets)
        return run_in_loop(_serve_both(settings, environ, gateway_sockets, provider_sockets, provider_port, no_browser))


def point_at_provider(entry: ServerEntry, registration: "Registration") -> ServerEntry:
    """The entry, its logins and its mail now those of the provider.

    `introspection_url` makes the provider's word count for every token, so that one that was revoked ends at once.
    """
    assert isinstance(entry.auth, AuthBlock)
    issuer = registration.issuer
    auth = replace(
        entry.auth,
        authorization_url=f"{issuer}/authorize",
        token_url=f"{issuer}/token",
        introspection_url=f"{issuer}/introspect",
        issuer=issuer,
    )
    env = {**dict(entry.env), "GMAIL_API_URL": EnvVariable(value=issuer)}
    return replace(entry, auth=auth, env=tuple(env.items()))


def add_client(environ: Mapping[str, str], entry: ServerEntry, registration: "Registration") -> dict[str, str]:
    """The environment with the client id and secret of this run under the names that the entry's `auth` block gives."""
    assert isinstance(entry.auth, AuthBlock)
    assert entry.auth.client_id_env is not None
    assert entry.auth.client_secret_env is not None
    return {
        **environ,
        entry.auth.client_id_env: registration.client_id,
        entry.auth.client_secret_env: registration.client_secret.reveal(),
    }


async def _serve_both(
    settings: GatewaySettings,
    environ: Mapping[str, str],
    gateway_sockets: Sequence[socket.socket],
    provider_sockets: Sequence[socket.socket],
    provider_port: int,
    no_browser: bool,
) -> int:

    shipped = _load_entry()
    registration = deferred.Registration(port=provider_port, redirect_uri=build_callback_url(shipped, "", settings))
    entry = point_at_provider(shipped, registration)
    gateway = Gateway(settings, [entry], add_client(environ, entry, registration))
    with stop_on_signals() as stop:
        async with contextlib.AsyncExitStack() as ending:
            ending.push_async_callback(gateway.close)
            await gateway.start()
            announce([entry], settings)
            opens = has_browser(environ) and not no_browser
            _explain(settings, environ, opens_browser=opens)
            async with asyncio.TaskGroup() as group:
                group.create_task(serve(deferred.create_provider(registration), provider_sockets, stop=stop))
                group.create_task(
                    serve(
                        gateway.app,
                        gateway_sockets,
                        stop=stop,
                        protocol=gateway.choose_protocol(),
                        on_shutdown=ending.aclose,
                    )
                )
                if opens:
                    open_browser(f"{settings.public_url}/")  # the sockets listen already
        return stop.exit_code


def _load_entry() -> ServerEntry:
    print_line("Reading metadata.json...")
    # The shipped one on purpose: an installed package of that name is not what is tried here.
    packages = [package for package in find_packages(SHIPPED_DIRECTORY, is_shipped=True) if package.name == PACKAGE]
    loaded = load_packages(packages)
    for refused in loaded.refused:
        raise refused.error
    return loaded.entries[0]


def _open_provider_sockets(port: int) -> list[socket.socket]:
    try:
        return open_sockets(GatewaySettings(host=PROVIDER_HOST, port=port))
    except PortInUseError as error:
        hint = "Choose another port for the provider with --provider-port."
        raise PortInUseError(error.what, why=error.why, hint=hint) from error


def _close_all(sockets: Sequence[socket.socket]) -> None:
    for opened in sockets:
        opened.close()


def _explain(settings: GatewaySettings, environ: Mapping[str, str], *, opens_browser: bool) -> None:
    page, base = f"{settings.public_url}/", f"{settings.public_url}/{PACKAGE}"
    # What the other commands take for the gateway where nothing is said.
    is_default = page == f"http://localhost:{DEFAULT_PORT}/" and not environ.get("FMCP_PUBLIC_URL")
    url = "" if is_default else f" --url {settings.public_url}"
    hint = ", in the browser that opens" if opens_browser else ""
    for line in (
        "",
        "The demo runs. Its provider, its two people and their mail are made up; it answers this machine only.",
        "",
        f"1. The page: log in as one of the two people, and try the tools{hint}:",
        f"     {page}",
        "2. In another terminal, as the person that you choose in the browser:",
        f"     fluidmcp tools {PACKAGE}{url}",
        f"     fluidmcp call {PACKAGE} whoami{url}",
        "3. Your MCP client: what to put where (--write does it). It logs in by itself, with this address alone:",
        f"     fluidmcp connect claude-code {PACKAGE}{url}   (or cursor, vscode, codex, ...)",
        f"     {base}/mcp",
        "4. The gateway as Claude, Cursor, VS Code and ChatGPT see it, step by step:",
        f"     fluidmcp doctor {base}/mcp",
        "5. Without any client: open this in a browser and choose who you are,",
        f"     {base}/auth/login",
        "   then put the access_token of the answer in place of YOUR_ACCESS_TOKEN, and ask this or that:",
        f"     {_write_curl(base, 'tools/call', name='whoami')}",
        f"     {_write_curl(base, 'tools/list')}",
        "Be two people at once: log in again in a private window or another browser, and choose the other one.",
        "",
        f"All endpoints: {settings.public_url}/docs   Stop: Ctrl-C",
    ):
        print_line(line)


def _write_curl(base: str, method: str, **params: str) -> str:
    message = {"jsonrpc": "2.0", "id": 1, "method": method} | ({"params": params} if params else {})
    return (
        f'curl -X POST {base}/mcp -H "Authorization: Bearer YOUR_ACCESS_TOKEN" '
        f"-H \"Content-Type: application/json\" -d '{json.dumps(message)}'"
    )
