"""`fluidmcp connect`: the options and their help."""

import click

from fluidmcp.cli import deferred
from fluidmcp.cli.completion.names import complete_from, list_packages
from fluidmcp.packages.clients.snippets import CLIENT_KEYS

_EPILOG = """\b
Clients:
  claude-code, claude-desktop, cursor, vscode, codex, gemini, windsurf, zed, opencode
  claude, chatgpt, curl, python (shown only: they have no file)

\b
Examples:
  fluidmcp connect cursor gmail-mock             show what to paste, and where
  fluidmcp connect claude-code --write           write all packages into Claude Code's own file
  fluidmcp connect claude-code --remove          take them out again
  fluidmcp connect codex mail --url https://mcp.example.com
  fluidmcp connect cursor --write --token-env FMCP_SECURE_TOKEN   of a gateway with --secure

\b
Exit codes:
  0    shown, written, or nothing had to change
  1    no gateway answers at the address, and no PACKAGE is named
  2    a mistake in what was typed, or a file that is left as it is; the error says why
"""


@click.command(epilog=_EPILOG, short_help="Connect an MCP client to packages: show how, or write its file.")
@click.argument("client", metavar="CLIENT", type=click.Choice(CLIENT_KEYS))
@click.argument("package", metavar="[PACKAGE]", required=False, shell_complete=complete_from(list_packages))
@click.option(
    "--url",
    metavar="URL",
    help="The gateway, with its path if it has one.  [default: FMCP_PUBLIC_URL, else http://localhost:8099]",
)
@click.option("--as", "own_name", metavar="NAME", default="", help="What the client shall call it.  [default: PACKAGE]")
@click.option(
    "--token-env",
    metavar="NAME",
    default="",
    help="The client shall send the token that it finds in this environment variable, as with --secure.",
)
@click.option("--write", is_flag=True, help="Write it into the client's own file; a copy of the old one is kept.")
@click.option("--remove", is_flag=True, help="Take it out of the client's own file.")
def connect(
    client: str, package: str | None, url: str | None, own_name: str, token_env: str, write: bool, remove: bool
) -> None:
    """Show how CLIENT is connected to PACKAGE, or to every package of the gateway: the exact text, and the file that it
    belongs in. It is the file of the person, for all projects; entries of a project come before it in most clients.

    With --write the entry is put into that file. All else in it stays as it was written, comments included.
    """
    if write and remove:
        raise click.UsageError("--write and --remove exclude each other.")
    if own_name and not package:
        raise click.UsageError("--as is for one package: name it.")
    if token_env and remove:
        raise click.UsageError("--token-env is for what is shown or written; --remove takes it out with its entry.")
    deferred.connect_client(
        client, package, url=url, own_name=own_name, token_env=token_env, write=write, remove=remove
    )
