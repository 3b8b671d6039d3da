"""`fluidmcp call`: the arguments and their help."""

from typing import Any, Final

import click

from fluidmcp.cli import deferred
from fluidmcp.cli.calls.options import CALL_EXIT_CODES, CallOptions, add_options
from fluidmcp.cli.completion.names import complete_from, list_packages

_EPILOG: Final = (
    """\b
Examples:
  fluidmcp call gmail-mock whoami
  fluidmcp call gmail-mock list_messages limit=3
  fluidmcp call charts plot values=1 values=2 title="Two bars" -o chart.png
  fluidmcp call notes add --args '{"tags": ["a"], "text": "x"}' --json
  generate | fluidmcp call notes add --args -

\b
Values:
  key=value    as the tool's schema says: a text as it is, a number, true or false, an array or object as JSON;
               the same key again adds to an array
  key:=JSON    JSON, whatever the schema says

"""
    + CALL_EXIT_CODES
)


@click.command(epilog=_EPILOG, short_help="Call a tool of a package, and print what it answers.")
@click.argument("package", metavar="PACKAGE", shell_complete=complete_from(list_packages))
@click.argument("tool", metavar="TOOL")
@click.argument("values", metavar="[KEY=VALUE]...", nargs=-1)
@click.option("--args", "document", metavar="JSON", help="All arguments as one JSON object; - reads it from stdin.")
@click.option(
    "-o",
    "--output",
    metavar="PATH",
    help="Where images, sounds and files of the answer go: a new file, or a folder that is there.",
)
@add_options
def call(
    package: str, tool: str, values: tuple[str, ...], document: str | None, output: str | None, **options: Any
) -> int:
    """Call TOOL of PACKAGE. Its answer goes to stdout, everything else to stderr. Where the package needs a login, the
    browser opens; the login is kept for the next call. Questions of the tool are asked in the terminal.
    """
    return deferred.run_call(package, tool, values, document=document, output=output, options=CallOptions(**options))
