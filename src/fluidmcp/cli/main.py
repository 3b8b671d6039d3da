"""The console script `fluidmcp`: finds the command, calls it, and turns every failure into an exit code.

0 done, or stopped with SIGTERM; 1 no server could start; 2 a mistake in what was typed, exported or written in a
file; 70 a fault of FluidMCP itself; 130 stopped with Ctrl-C.

Commands are imported when they are called: `--help` must not wait for the libraries of a gateway.
"""

import importlib
import keyword
import sys
import traceback
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Final

import click
from click.shell_completion import CompletionItem

from fluidmcp import __version__
from fluidmcp.cli import deferred
from fluidmcp.cli.output import print_error, print_line, print_traceback
from fluidmcp.errors import FluidMCPError, InstallError, UserError

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERNAL: Final = 70  # EX_SOFTWARE of sysexits.h
EXIT_INTERRUPTED: Final = 130  # 128 + SIGINT, as shells report it

_COMMANDS: Final = {
    "run": ("fluidmcp.cli.serving.command", "Serve packages over HTTP, or check that they start."),
    "validate": ("fluidmcp.cli.files.validate", "Check files with servers without starting anything."),
    "import": ("fluidmcp.cli.files.importing", "Make one clean file out of those of other programs."),
    "catalogue": ("fluidmcp.cli.catalogue.command", "Show published servers with an entry that works."),
    "add": ("fluidmcp.cli.catalogue.add", "Write the entry of a published server into your file."),
    "install": ("fluidmcp.cli.packages.install", "Install packages from npm or PyPI, or bundles (.mcpb)."),
    "list": ("fluidmcp.cli.packages.list", "Show what is installed."),
    "uninstall": ("fluidmcp.cli.packages.uninstall", "Remove installed packages."),
    "providers": ("fluidmcp.cli.providers.command", "Show the providers that an auth block can name."),
    "connect": ("fluidmcp.cli.connect.command", "Connect an MCP client to packages: show how, or write its file."),
    "tools": ("fluidmcp.cli.calls.tools", "Show the tools of a package, or of all packages."),
    "call": ("fluidmcp.cli.calls.call", "Call a tool of a package, and print what it answers."),
    "completion": ("fluidmcp.cli.completion.command", "Let your shell complete commands, options and names."),
    "doctor": ("fluidmcp.cli.doctor.command", "Find what is wrong with a gateway, seen from outside, or with a login."),
    "login": ("fluidmcp.cli.account.login", "Log in at your OAuth provider and keep the tokens on this machine."),
    "logout": ("fluidmcp.cli.account.logout", "Remove the stored tokens, and revoke them where the provider can."),
    "status": ("fluidmcp.cli.account.status", "Show who is logged in, until when, and with which scopes."),
    "token": ("fluidmcp.cli.account.token", "Print a fresh access token, for scripts."),
    "revoke": ("fluidmcp.cli.account.revoke", "Shut a person out, and end what they have open."),
    "allow": ("fluidmcp.cli.account.allow", "Let a person in again who was shut out."),
    "demo": ("fluidmcp.cli.demo.command", "Try a login and a call on this machine, with nothing to configure."),
}


class _LazyGroup(click.Group):
    """A group that knows its commands' names and one-line descriptions, and imports a command only to call it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(_COMMANDS[cmd_name][0])
        command = getattr(module, f"{cmd_name}_" if keyword.iskeyword(cmd_name) else cmd_name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS and (near := get_close_matches(args[0], _COMMANDS, n=1)):
            ctx.fail(f"There is no command {args[0]!r}. Did you mean {near[0]}?")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """The commands of the table; click's own way would import each of them."""
        if incomplete[:1] == "-":
            return click.Command.shell_complete(self, ctx, incomplete)
        return [CompletionItem(name, help=text) for name, (_, text) in _COMMANDS.items() if name.startswith(incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, description) for name, (_, description) in _COMMANDS.items()])


@click.command(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="fluidmcp", message="%(prog)s %(version)s")
def commands() -> None:
    """Run MCP servers behind one HTTP gateway.

    \b
      fluidmcp demo                                       try it, with nothing to configure
      fluidmcp run test/gmail-mock@1.0.0 --start-server   a package
      fluidmcp run all --start-server                     every installed package
      fluidmcp run config.json --start-server             a file with "mcpServers", or that of an editor
      fluidmcp connect cursor --write                     what runs, into the file of an editor

    Each package answers at http://localhost:8099/PACKAGE/mcp. A package with an "auth" block has its own login at
    http://localhost:8099/PACKAGE/auth/login.
    """


def main() -> None:
    """The console script."""
    sys.exit(run_commands(sys.argv[1:]))


def run_commands(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; whatever goes wrong is printed, never raised."""
    try:
        result = commands.main(args=list(arguments), prog_name="fluidmcp", standalone_mode=False)
    except (KeyboardInterrupt, click.Abort):
        return EXIT_INTERRUPTED
    except click.exceptions.NoArgsIsHelpError as error:
        for line in error.format_message().splitlines():
            print_line(line)
        return EXIT_USAGE
    except click.ClickException as error:
        print_error(_explain(error))
        return EXIT_USAGE
    except UserError as error:
        print_error(error)
        return EXIT_USAGE
    except FluidMCPError as error:
        print_error(error, detail=error.output_tail if isinstance(error, InstallError) else ())
        return EXIT_FAILED
    except Exception as error:
        _print_fault(error)
        return EXIT_INTERNAL
    return result if isinstance(result, int) else 0


def _explain(error: click.ClickException) -> UserError:
    """A mistake in the command line itself, in the form of all our errors."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    path = context.command_path if context is not None else "fluidmcp"
    return UserError(" ".join(error.format_message().split()), hint=f"Run: {path} --help")


def _print_fault(error: Exception) -> None:
    """One line for a fault of ours; more only for somebody who asked for it."""
    if deferred.read_environment().get("FMCP_LOG_LEVEL", "").strip().lower() == "debug":
        print_traceback("".join(traceback.format_exception(error)))
        return
    hint = "Set FMCP_LOG_LEVEL=debug and run it again to see where."
    print_error(FluidMCPError(f"FluidMCP failed unexpectedly ({type(error).__name__}). {hint}"))
