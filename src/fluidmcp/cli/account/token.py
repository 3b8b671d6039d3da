"""`fluidmcp token`: the options and their help. What it does stands in `account`, imported when it is called."""

import click

from fluidmcp.cli import deferred


@click.command(short_help="Print a fresh access token, for scripts.")
@click.option("--refresh", is_flag=True, help="Refresh it first, whatever the clock says: the last one was refused.")
def token(refresh: bool) -> int:
    """Print a fresh access token, and nothing else, on standard output.

    \b
      curl -H "Authorization: Bearer $(fluidmcp token)" ...
    """
    return deferred.print_token(refresh=refresh)
