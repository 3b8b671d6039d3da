"""`fluidmcp add`: the arguments and their help."""

import click

from fluidmcp.cli import deferred
from fluidmcp.cli.completion.names import complete_from, list_known_servers

_EPILOG = """\b
Examples:
  fluidmcp add linear                          into fluidmcp.json, made if it is not there
  fluidmcp add github --as work -o team.json   under another name, into another file

\b
Exit codes:
  0    the entry was written
  2    it was not: the file is as it was, and the error says why
"""


@click.command(epilog=_EPILOG, short_help="Write the entry of a published server into your file.")
@click.argument("name", metavar="NAME", shell_complete=complete_from(list_known_servers))
@click.option(
    "-o",
    "--file",
    metavar="PATH",
    default="fluidmcp.json",
    show_default=True,
    help="The file to add it to. One that is not there is made, readable by you alone.",
)
@click.option("--as", "own_name", metavar="NAME", default="", help="The name of the entry.  [default: NAME]")
@click.option(
    "--public-url",
    metavar="URL",
    help="How browsers will reach the gateway; the redirect URI begins with it. "
    "[default: FMCP_PUBLIC_URL, else http://localhost:8099]",
)
def add(name: str, file: str, own_name: str, public_url: str | None) -> None:
    """Write the entry of NAME, one of `fluidmcp catalogue`, into a file of our own form, and say what to register and
    what to export. What else is in the file stays as it is. No secret is written; an entry of that name is never
    replaced.
    """
    deferred.add_server(name, file=file, own_name=own_name, public_url=public_url)
