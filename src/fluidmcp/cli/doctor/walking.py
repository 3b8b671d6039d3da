"""What `fluidmcp doctor URL` does: walk as clients do, print the table, and return an exit code."""

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from fluidmcp.cli.account.session import open_browser
from fluidmcp.cli.doctor.printing import EXIT_PROBLEM, choose_colours
from fluidmcp.cli.doctor.walk.address import Address, parse_address
from fluidmcp.cli.doctor.walk.calls import Caller, build_context
from fluidmcp.cli.doctor.walk.report import Report
from fluidmcp.cli.doctor.walk.walk import Wishes, walk
from fluidmcp.cli.given_token import read_token_variable
from fluidmcp.cli.output import Colour, print_coloured, print_line, print_notice, print_table
from fluidmcp.config.settings import read_environment
from fluidmcp.config.urls import is_loopback_host
from fluidmcp.errors import UserError
from fluidmcp.observability.logs import configure_logging


def run_url_doctor(
    text: str, *, token_env: str | None, login: bool, ca: Path | None, hold_seconds: float, as_json: bool
) -> int:
    """Look at a gateway from outside; the exit code.

    Raises:
        UserError: the address is none, the variable holds no token, or the file no certificates.
    """
    environ = read_environment()
    configure_logging("error")
    address = parse_address(text)
    token = None if token_env is None else read_token_variable(token_env)
    if (token is not None or login) and address.url.startswith("http:") and not is_loopback_host(address.host):
        raise UserError(
            "A token is not sent over plain http.",
            why=f"Everybody between here and {address.host} could read it.",
            hint="Use https in the address, or leave --token-env and --login out.",
        )
    wishes = Wishes(token=token, hold_seconds=hold_seconds, show_login=_show_login if login else None)
    if sys.stderr.isatty():
        print_notice("Taking the steps of each client. This takes some seconds.")
    report = asyncio.run(_walk(address, ca, wishes))
    if as_json:
        print_line(json.dumps(report.as_document()))
    else:
        show_report(report, choose_colours(environ))
    return EXIT_PROBLEM if report.has_problem else 0


async def _walk(address: Address, ca: Path | None, wishes: Wishes) -> Report:
    try:
        context = build_context(ca)
    except OSError as error:
        raise UserError(f"{ca} holds no certificate that can be read", hint="Name a file in PEM.") from error
    caller = Caller(typed_host=address.host, context=context, is_secure=address.url.startswith("https:"))
    try:
        return await walk(address, caller, wishes)
    finally:
        await caller.aclose()


def _show_login(url: str) -> None:
    """On stderr, because stdout may be for JSON."""
    print_notice("Log in as somebody who uses the package. If no browser opens, open this address on this machine:")
    print_notice(f"  {url}")
    open_browser(url)


def show_report(report: Report, colours: Mapping[str, Colour]) -> None:
    """The table, what was found, and how it ends; `colours` are those of levels."""
    print_line(report.url)
    print_line()
    print_table(
        ("as seen by", *(track.client for track in report.tracks)),
        report.rows(),
        colours=colours,
    )
    everybody = tuple(track.client for track in report.tracks)
    for finding in report.findings:
        found = finding.diagnosis
        who = "" if finding.clients == everybody else f", {', '.join(finding.clients)}"
        print_line()
        print_coloured(found.level, f" at {found.step}{who} [{found.code}]", colours.get(found.level))
        print_line(f"  {found.cause}")
        print_line(f"  Do: {found.remedy}")
    print_line()
    for note in report.notes:
        print_line(note)
    problems = sum(finding.diagnosis.level == "problem" for finding in report.findings)
    print_line(f"{problems} problem{'s' if problems > 1 else ''} found." if problems else "No problem found.")
