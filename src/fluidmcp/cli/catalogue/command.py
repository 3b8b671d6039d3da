"""`fluidmcp catalogue`: the arguments and their help."""

import click

from fluidmcp.cli import deferred
from fluidmcp.cli.completion.names import complete_from, list_known_servers

_EPILOG = """\b
Examples:
  fluidmcp catalogue             all of them
  fluidmcp catalogue linear      the entry, what to register and what to export
  fluidmcp add linear            write the entry into fluidmcp.json
"""


@click.command(epilog=_EPILOG, short_help="Show published servers with an entry that works.")
@click.argument("name", metavar="[NAME]", required=False, shell_complete=complete_from(list_known_servers))
@click.option(
    "--as",
    "own_name",
    metavar="NAME",
    default="",
    help="The name of the entry; it is part of the redirect URI.  [default: that of the server]",
)
@click.option(
    "--public-url",
    metavar="URL",
    help="How browsers will reach the gateway; the redirect URI begins with it. "
    "[default: FMCP_PUBLIC_URL, else http://localhost:8099]",
)
def catalogue(name: str | None, own_name: str, public_url: str | None) -> None:
    """List the published servers whose entry was tested with a login for each person, or show one: the entry, what to
    register with its provider, what to export, and what is to know. Nothing is written, and nobody is asked.
    """
    if name is None:
        deferred.list_servers()
    else:
        deferred.show_server(name, own_name=own_name, public_url=public_url)
