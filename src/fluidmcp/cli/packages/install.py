"""`fluidmcp install`: the options and their help."""

import click

from fluidmcp.cli import deferred

_EPILOG = """\b
Examples:
  fluidmcp install npm:@modelcontextprotocol/server-memory
  fluidmcp install pypi:mcp-server-time==2026.10.19
  fluidmcp install pypi:pagerduty-mcp --python 3.12
  fluidmcp install weather.mcpb

\b
Exit codes:
  0    installed
  1    npm or uv failed
  2    a mistake in the command line, or there is no such package
  130  stopped with Ctrl-C
"""


@click.command(epilog=_EPILOG, short_help="Install packages from npm or PyPI, or bundles (.mcpb).")
@click.argument("packages", metavar="PACKAGE...", nargs=-1, required=True)
@click.option(
    "--allow-scripts",
    is_flag=True,
    help="Let packages of npm run their scripts when they are installed. They run as you, with no wall around them.",
)
@click.option(
    "--python",
    metavar="VERSION",
    default="",
    help="The Python for packages of PyPI, such as 3.12, or its path.  [default: one that the package accepts]",
)
@click.option("--entry", metavar="NAME", default="", help="The program to run, where a package has several.")
@click.option("--force", is_flag=True, help="Take a version although it has other contents than the last time.")
def install(packages: tuple[str, ...], allow_scripts: bool, python: str, entry: str, force: bool) -> int:
    """Install packages into .fmcp-packages below the working directory (or MCP_INSTALLATION_DIR).

    PACKAGE is npm:NAME, npm:@SCOPE/NAME@1.2.3, pypi:NAME or pypi:NAME==1.2.3 (without a version, the newest one), or
    the file of an MCPB bundle. What was installed is noted in fluidmcp.lock, and starts afterwards without a network:
    fluidmcp run PACKAGE.
    """
    return deferred.run_install(packages, allow_scripts=allow_scripts, python=python, entry=entry, force=force)
