"""`fluidmcp uninstall`."""

import click

from fluidmcp.cli import deferred
from fluidmcp.cli.completion.names import complete_from, list_installed


@click.command(short_help="Remove installed packages.")
@click.argument("packages", metavar="PACKAGE...", nargs=-1, required=True, shell_complete=complete_from(list_installed))
def uninstall(packages: tuple[str, ...]) -> int:
    """Remove packages that `fluidmcp install` installed.

    PACKAGE is written as for install, or is the name under which it is served. Without a version all of them go.
    """
    return deferred.run_uninstall(packages)
