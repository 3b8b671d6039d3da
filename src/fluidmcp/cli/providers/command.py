"""`fluidmcp providers`: the arguments and their help."""

import click

from fluidmcp.cli import deferred
from fluidmcp.cli.completion.names import complete_from, list_presets

_EPILOG = """\b
Examples:
  fluidmcp providers             all of them
  fluidmcp providers github      what to click, and the entry to copy
"""


@click.command(epilog=_EPILOG, short_help="Show the providers that an auth block can name, and what each wants.")
@click.argument("name", metavar="[NAME]", required=False, shell_complete=complete_from(list_presets))
@click.option(
    "--package",
    default="mypackage",
    show_default=True,
    metavar="NAME",
    help="The name of the package in your file; it is part of the redirect URI.",
)
@click.option(
    "--public-url",
    metavar="URL",
    help="How browsers will reach the gateway; the redirect URI begins with it. "
    "[default: FMCP_PUBLIC_URL, else http://localhost:8099]",
)
def providers(name: str | None, package: str, public_url: str | None) -> None:
    """List the providers that an `auth` block can name with "provider", or show one: what to click there, the entry to
    copy, and what is to know. Nothing is asked of the provider.
    """
    if name is None:
        deferred.list_providers()
    else:
        deferred.show_provider(name, package=package, public_url=public_url)
