"""`fluidmcp logout`. What it does stands in `account`, imported when it is called."""

import click

from fluidmcp.cli import deferred


@click.command(short_help="Remove the stored tokens, and revoke them where the provider can.")
def logout() -> int:
    """Remove the stored tokens, and revoke them where the provider can.

    The file is removed in any case, without a network and without any setting, too.
    """
    return deferred.run_logout()
