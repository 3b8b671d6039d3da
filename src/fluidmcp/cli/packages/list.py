"""`fluidmcp list`."""

import click

from fluidmcp.cli import deferred


@click.command(short_help="Show what is installed.")
def list() -> None:
    """Show the packages in .fmcp-packages below the working directory (or in MCP_INSTALLATION_DIR)."""
    deferred.show_installed()
