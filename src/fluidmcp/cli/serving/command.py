"""`fluidmcp run`: the options and their help. What it does stands in `launch`, which is imported when it is called."""

from typing import Any

import click

from fluidmcp.cli import deferred
from fluidmcp.cli.completion.names import complete_from, list_runnable

_COMMAND = "fluidmcp.command"

_EPILOG = """\b
Examples:
  fluidmcp run gmail-mock                             check it, show where it will answer
  fluidmcp run test/gmail-mock@1.0.0 --start-server   serve one package
  fluidmcp run all --start-server                     serve every installed package
  fluidmcp run npm:@scope/name --start-server         serve what `fluidmcp install` installed
  fluidmcp run config.json --start-server             serve the file of an editor or client
  fluidmcp run --start-server -- npx -y some-server   serve what a command line starts
  fluidmcp run mypackage --start-server --oauth       serve people who are logged in

Environment: FMCP_ variables set limits, isolation, keys and the login of --oauth; docs/settings.md lists them.

\b
Exit codes:
  0    done, or stopped with SIGTERM
  1    none of the servers could start
  2    a mistake in the command line, the environment or a file
  130  stopped with Ctrl-C
"""


class _RunCommand(click.Command):
    """Keeps what stands behind `--` apart: options there are those of the command that is named there."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            mark = args.index("--")
            ctx.meta[_COMMAND] = tuple(args[mark + 1 :])
            args = args[:mark]
        return super().parse_args(ctx, args)


@click.command(cls=_RunCommand, epilog=_EPILOG, short_help="Serve packages over HTTP, or check that they start.")
@click.argument("package", nargs=-1, metavar="PACKAGE", shell_complete=complete_from(list_runnable, or_files=True))
@click.option(
    "--file",
    "is_file",
    is_flag=True,
    help="PACKAGE is the path of a file with servers (implied by .json, .toml, .yaml).",
)
@click.option("--start-server", is_flag=True, help="Start the gateway. Without it, check the servers and show a table.")
@click.option(
    "--host",
    metavar="ADDRESS",
    help="Address to listen on.  [default: 127.0.0.1 and ::1]  Any other than loopback needs --oauth, "
    "--secure or --allow-insecure.",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    metavar="PORT",
    help="Port to listen on.  [default: MCP_CLIENT_SERVER_PORT for one package, MCP_CLIENT_SERVER_ALL_PORT for "
    "`all` and files, else 8099; one package on the default port also answers on 8090]",
)
@click.option(
    "--uds",
    metavar="PATH",
    help="Listen at a Unix socket (0660) instead of a port; needs --public-url, and counts as open to others.  "
    "[default: FMCP_UDS]",
)
@click.option(
    "--public-url",
    metavar="URL",
    help="How clients and browsers reach the gateway, for login and redirect addresses: https://HOST[:PORT][/PATH]. "
    "A proxy has to pass the path on.  "
    "[default: FMCP_PUBLIC_URL, else http://localhost:PORT]",
)
@click.option(
    "--tls-cert",
    metavar="PATH",
    help="Speak https with this certificate (PEM, with its chain); needs --tls-key. Read again at SIGHUP and when the "
    "files change.  [default: FMCP_TLS_CERT]",
)
@click.option("--tls-key", metavar="PATH", help="The private key of --tls-cert (PEM).  [default: FMCP_TLS_KEY]")
@click.option(
    "--trusted-proxies",
    metavar="ADDRESSES",
    help="Addresses and networks of the proxies in front of the gateway, separated by commas, and unix for those at "
    "its Unix socket: only their X-Forwarded-For is believed.  [default: FMCP_TRUSTED_PROXIES, else nobody's]",
)
@click.option(
    "--oauth",
    is_flag=True,
    help="Guard the whole gateway: every request needs an access token of the provider that the FMCP_OAUTH_ variables "
    "describe. Your own is that of `fluidmcp login`, or FMCP_OAUTH_ACCESS_TOKEN.",
)
@click.option("--secure", is_flag=True, help="Guard the whole gateway with one bearer token for everybody.")
@click.option(
    "--token",
    metavar="TOKEN",
    help="The token of --secure. Other users of this machine can see it in the list of processes; FMCP_SECURE_TOKEN "
    "hides it.  [default: FMCP_SECURE_TOKEN, else one is made and shown once]",
)
@click.option("--allow-insecure", is_flag=True, help="Let other machines in although nothing guards the gateway.")
@click.option(
    "--allow-unisolated",
    is_flag=True,
    help="Run server processes without isolation although others use the gateway: each could read the tokens of all.",
)
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
@click.option(
    "--drain-seconds",
    type=click.FloatRange(0, 86400),
    metavar="SECONDS",
    help="How long calls in flight may finish after SIGTERM or Ctrl-C; a second signal ends them at once.  "
    "[default: FMCP_DRAIN_SECONDS, else 20]",
)
@click.option(
    "--log-format",
    type=click.Choice(("text", "json")),
    help="Lines for people, or one JSON object a line for programs.  [default: FMCP_LOG_FORMAT, else text]",
)
@click.option(
    "--access-log/--no-access-log",
    default=None,
    help="A line of the log for each call.  [default: FMCP_ACCESS_LOG, else with --log-format json or level debug]",
)
@click.option(
    "--install",
    is_flag=True,
    help="Install what is not installed first: a package of npm or PyPI, also of an entry, or a bundle.",
)
@click.option(
    "-q",
    "--quiet",
    is_flag=True,
    help="Print nothing on stdout; warnings and errors still go to stderr, log lines below that only where "
    "FMCP_LOG_LEVEL says so.",
)
@click.option("--name", default="", metavar="NAME", help="The name under which the command behind `--` is served.")
@click.pass_context
def run(context: click.Context, package: tuple[str, ...], name: str, **options: Any) -> int:
    """Serve the MCP servers of PACKAGE over HTTP, or check that they start.

    PACKAGE is a package (name, name@version, author/name or author/name@version) found in .fmcp-packages below the
    working directory (or in MCP_INSTALLATION_DIR) or shipped with FluidMCP; npm:NAME, pypi:NAME or the file of a
    bundle (.mcpb), installed by `fluidmcp install`; the word `all`; or the path of a file with servers, of an editor or
    any other MCP client.
    Without a version the highest one runs. Or write `-- COMMAND ARGS...`: the server that a command line starts.
    """
    target, command = _split(context, package)
    if name and not command:
        raise click.UsageError("--name is for a command behind `--`; packages and entries have names.", context)
    # The names of the other options are those of the fields.
    return deferred.run_target(deferred.RunOptions(target=target, command=command, name=name, **options))


def _split(context: click.Context, words: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """The package, or the command behind `--`."""
    command: tuple[str, ...] = context.meta.get(_COMMAND, ())
    if command:
        if words:
            raise click.UsageError("Name a package, or a command behind `--`, not both.", context)
        return "", command
    if len(words) != 1:
        problem = f"Got unexpected extra argument ({words[1]})" if words else "Missing argument 'PACKAGE'."
        raise click.UsageError(problem, context)
    return words[0], ()
