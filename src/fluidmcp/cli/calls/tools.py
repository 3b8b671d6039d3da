"""`fluidmcp tools`: the arguments and their help."""

from typing import Any, Final

import click

from fluidmcp.cli import deferred
from fluidmcp.cli.calls.options import TOOLS_EXIT_CODES, CallOptions, add_options
from fluidmcp.cli.completion.names import complete_from, list_packages

_EPILOG: Final = (
    """\b
Examples:
  fluidmcp tools                       all packages of the gateway on this machine
  fluidmcp tools gmail-mock            one package, each tool with its arguments
  fluidmcp tools gmail-mock --json     as the server describes them

"""
    + TOOLS_EXIT_CODES
)


@click.command(epilog=_EPILOG, short_help="Show the tools of a package, or of all packages.")
@click.argument("package", metavar="[PACKAGE]", required=False, shell_complete=complete_from(list_packages))
@add_options
def tools(package: str | None, **options: Any) -> int:
    """Show the tools of PACKAGE with their arguments, or the names of those of every package of the gateway. Where
    PACKAGE needs a login, the browser opens; without PACKAGE no login is begun.
    """
    return deferred.run_tools(package, CallOptions(**options))
