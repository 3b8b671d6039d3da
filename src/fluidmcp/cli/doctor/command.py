"""`fluidmcp doctor`: the options and their help. What it does stands in `doctor_run`, imported when it is called."""

import click

from fluidmcp.cli import deferred

_EPILOG = """\b
Examples:
  fluidmcp doctor                            check the set-up of this machine
  fluidmcp token | fluidmcp doctor --token   and whether a token would pass

\b
Exit codes:
  0    no problem was found (warnings do not count)
  1    there is a problem; each one says what to do
"""


@click.command(epilog=_EPILOG, short_help="Check the OAuth set-up: what works, what does not, and what to do.")
@click.option(
    "--token",
    "with_token",
    is_flag=True,
    help="Also say whether an access token would pass, and why not. The token is read from standard input.",
)
def doctor(with_token: bool) -> int:
    """Check what `fluidmcp login` and `fluidmcp run --oauth` need.

    It reads the FMCP_OAUTH_ variables and the stored login, and asks the provider's endpoints the little that can be
    asked without credentials. Nothing is changed and no secret is shown.
    """
    return deferred.run_doctor(with_token=with_token)
