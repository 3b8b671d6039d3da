"""`fluidmcp validate`: the options and their help."""

import click

from fluidmcp.cli import deferred
from fluidmcp.cli.completion.names import complete_files

_EPILOG = """\b
Examples:
  fluidmcp validate ~/.cursor/mcp.json
  fluidmcp validate fluidmcp.json .vscode/mcp.json

\b
Exit codes:
  0    every entry that is not disabled can be started
  2    one cannot, or a file cannot be read
"""


@click.command(epilog=_EPILOG, short_help="Check files with servers without starting anything.")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, shell_complete=complete_files)
@click.option(
    "--allow-env",
    multiple=True,
    metavar="NAME",
    help="Let auth blocks read the client id or secret from this environment variable, although its name does not "
    "end in CLIENT_ID or CLIENT_SECRET. Repeatable.",
)
@click.option(
    "--allow-env-file",
    multiple=True,
    metavar="PATH",
    help="Let entries read this `envFile`, although it is outside of the folder of the file. Repeatable.",
)
def validate(files: tuple[str, ...], allow_env: tuple[str, ...], allow_env_file: tuple[str, ...]) -> int:
    """Read files with servers as `fluidmcp run` does, and say what is wrong with each entry. Nothing is started.

    Also checked: whether the commands are there, and whether the variables that the entries need are set. Inputs are
    not asked for; those that nobody has answered are listed.
    """
    return deferred.validate_files(files, allow_env=allow_env, allow_env_file=allow_env_file)
