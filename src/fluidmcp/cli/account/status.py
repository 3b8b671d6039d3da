"""`fluidmcp status`. What it does stands in `account`, imported when it is called."""

import click

from fluidmcp.cli import deferred


@click.command(short_help="Show who is logged in, until when, and with which scopes.")
def status() -> int:
    """Show who is logged in, until when, and with which scopes; never the token. Exit code 1 when nobody is."""
    return deferred.show_status()
