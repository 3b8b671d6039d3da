"""`fluidmcp import`: the options and their help."""

import click

from fluidmcp.cli import deferred
from fluidmcp.cli.completion.names import complete_files

_EPILOG = """\b
Examples:
  fluidmcp import ~/.cursor/mcp.json .vscode/mcp.json -o fluidmcp.json
  fluidmcp import --all -o fluidmcp.json
  fluidmcp import .vscode/mcp.json --ask-each-person -o fluidmcp.json
  fluidmcp import ~/.codex/config.toml                show what would be written

\b
Exit codes:
  0    everything was written
  2    an entry was left out, a file cannot be read, or there is nothing to write
"""


@click.command("import", epilog=_EPILOG, short_help="Make one clean file out of those of other programs.")
@click.argument("files", metavar="[FILE...]", nargs=-1, shell_complete=complete_files)
@click.option(
    "-o",
    "--output",
    metavar="PATH",
    default="",
    help="The file to write, readable by you alone.  [default: standard output]",
)
@click.option(
    "--all", "find_all", is_flag=True, help="Also read what is in the usual places of your home and this directory."
)
@click.option(
    "--ask-each-person",
    "per_person",
    is_flag=True,
    help="Secrets that a file asks its user for are typed by each person, on a page of the gateway.",
)
@click.option("--force", is_flag=True, help="Write over a file that is there.")
def import_(files: tuple[str, ...], output: str, find_all: bool, per_person: bool, force: bool) -> int:
    """Write one file with the servers of FILE, which other programs wrote. Those files are not changed.

    Secrets do not come along: ${NAME} stands in their place, and what to export is listed on standard error, by name
    and with where the value is found.
    """
    if not files and not find_all:
        raise click.UsageError("Name a file, or add --all.", click.get_current_context())
    return deferred.import_files(files, output=output, find_all=find_all, force=force, per_person=per_person)
