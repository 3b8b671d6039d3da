"""`fluidmcp status`. What it does stands in `account`, imported when it is called."""

import click


@click.command(short_help="Show who is logged in, until when, and with which scopes.")
def status() -> int:
    """Show who is logged in, until when, and with which scopes; never the token. Exit code 1 when nobody is."""
    from fluidmcp.cli.account.session import show_status

    return show_status()
