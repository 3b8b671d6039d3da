"""`fluidmcp completion`: the lines that a shell has to read once. Names and options are found by click itself."""

import click
from click.shell_completion import get_completion_class

from fluidmcp.cli.output import print_block

SHELLS = ("bash", "zsh", "fish")

_EPILOG = """\b
For the shell that is open:
  eval "$(fluidmcp completion bash)"                bash 4.4 or newer
  eval "$(fluidmcp completion zsh)"                 zsh, after compinit
  fluidmcp completion fish | source                 fish

\b
For every new shell, put the same line into ~/.bashrc, ~/.zshrc or ~/.config/fish/config.fish, or keep its output:
  fluidmcp completion bash > ~/.local/share/bash-completion/completions/fluidmcp
"""


@click.command(epilog=_EPILOG, short_help="Let your shell complete commands, options and names.")
@click.argument("shell", metavar="SHELL", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print what SHELL (bash, zsh or fish) has to read, so that Tab completes commands, options and names: installed
    packages, known servers, providers and MCP clients. Nothing is asked over the network for that.
    """
    kind = get_completion_class(shell)
    assert kind is not None  # it is one of click's own
    root = click.get_current_context().find_root()
    print_block(kind(root.command, {}, "fluidmcp", "_FLUIDMCP_COMPLETE").source())
