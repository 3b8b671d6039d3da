"""FluidMCP itself, in each way that costs differently, from this checkout or from another one."""

import json
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from benchmarks.gateways import Gateway, Site, Start
from benchmarks.load import Speech, Style
from benchmarks.workshop import ROOT

STATELESS_REVISION: Final = "2026-07-28"
MANY: Final = "1000"
SESSION_ENVIRON: Final = {
    # A session has a process of its own, and 256 of them are somebody's right in a measurement.
    "FMCP_MAX_PROCESSES": MANY,
    "FMCP_MAX_PROCESSES_PER_PACKAGE": MANY,
    "FMCP_MAX_PROCESSES_PER_PRINCIPAL": MANY,
    "FMCP_MAX_SESSIONS_PER_PRINCIPAL": MANY,
}
RUN_MAIN: Final = "import sys; from fluidmcp.cli.main import main; sys.exit(main())"


def make_ours(checkout: Path = ROOT, *, suffix: str = "") -> tuple[Gateway, ...]:
    """All kinds. `suffix` goes behind each name, to tell two checkouts apart."""
    secret = secrets.token_urlsafe(32)

    def show_secret(site: Site) -> tuple[str, ...]:
        return (f"Authorization: Bearer {secret}",)

    def kind(
        name: str,
        title: str,
        *,
        style: Style = "bare",
        options: tuple[str, ...] = (),
        environ: Mapping[str, str] | None = None,
        **rest: Any,
    ) -> Gateway:
        def prepare(site: Site) -> Start:
            return start_ours(checkout, site, options=options, environ=environ or {})

        return Gateway(
            name=name + suffix,
            title=f"FluidMCP{suffix}, {title}",
            prepare=prepare,
            speak=lambda site: speak_to_ours(site, style),
            **rest,
        )

    return (
        kind("open", "open"),
        kind(
            "secure",
            "`--secure`",
            options=("--secure",),
            environ={"FMCP_SECURE_TOKEN": secret},
            log_in=show_secret,
        ),
        kind("logged", "a JSON line for each call", environ={"FMCP_LOG_FORMAT": "json"}),
        kind("session", "a session per connection", style="session", environ=SESSION_ENVIRON),
        kind("stateless", "2026-07-28 to a stateless server", style="stateless", server_arguments=("both",)),
        kind("crossing", "2026-07-28 to a handshake server", style="stateless"),
    )


def start_ours(
    checkout: Path,
    site: Site,
    *,
    options: tuple[str, ...] = (),
    environ: Mapping[str, str] | None = None,
    auth: Mapping[str, object] | None = None,
    beside: tuple[tuple[int, tuple[str, ...]], ...] = (),
) -> Start:
    """`fluidmcp run` with a file that names the one server."""
    entry: dict[str, object] = {"command": site.server[0], "args": list(site.server[1:])}
    if auth is not None:
        entry["auth"] = dict(auth)
    config = site.folder / "config.json"
    config.write_text(json.dumps({"mcpServers": {site.server_name: entry}}), encoding="utf-8")
    program, its_environ = find_program(checkout)
    command = (*program, "run", str(config), "--start-server", "--port", str(site.port), *options)
    return Start(command=command, environ={**its_environ, **(environ or {})}, beside=beside)


def find_program(checkout: Path) -> tuple[tuple[str, ...], dict[str, str]]:
    """The command `fluidmcp` of a checkout: its own environment, or else this one's libraries with its source."""
    if checkout == ROOT:
        return (str(Path(sys.executable).with_name("fluidmcp")),), {}
    program = checkout / ".venv" / "bin" / "fluidmcp"
    if program.exists():
        return (str(program),), {}
    if not (checkout / "src" / "fluidmcp").is_dir():
        raise LookupError(f"{checkout} is no checkout of FluidMCP")
    return (sys.executable, "-c", RUN_MAIN), {"PYTHONPATH": str(checkout / "src")}


def speak_to_ours(site: Site, style: Style) -> Speech:
    return Speech(
        style=style,
        path=f"/{site.server_name}/mcp",
        revision=STATELESS_REVISION if style == "stateless" else "2025-06-18",
        progress_accept="text/event-stream" if style == "bare" else "application/json, text/event-stream",
    )
