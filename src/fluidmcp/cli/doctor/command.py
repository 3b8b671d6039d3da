"""`fluidmcp doctor`: the options and their help. What it does stands in `doctor_run`, imported when it is called."""

import click

from fluidmcp.cli import deferred

_EPILOG = """\b
Examples:
  fluidmcp doctor                            check the set-up of this machine
  fluidmcp token | fluidmcp doctor --token   and whether a token would pass
  fluidmcp doctor fluidmcp.json              check the logins of the entries of a file

\b
Exit codes:
  0    no problem was found (warnings do not count)
  1    there is a problem; each one says what to do
"""


@click.command(epilog=_EPILOG, short_help="Check the OAuth set-up: what works, what does not, and what to do.")
@click.argument("package", metavar="[PACKAGE]", required=False)
@click.option(
    "--token",
    "with_token",
    is_flag=True,
    help="Also say whether an access token would pass, and why not. The token is read from standard input.",
)
@click.option(
    "--public-url",
    metavar="URL",
    help="With PACKAGE: how browsers will reach the gateway; the redirect URI begins with it. "
    "[default: FMCP_PUBLIC_URL, else http://localhost:8099]",
)
@click.option(
    "--allow-env",
    multiple=True,
    metavar="NAME",
    help="With PACKAGE: let auth blocks read the client id or secret from this environment variable. Repeatable.",
)
def doctor(package: str | None, with_token: bool, public_url: str | None, allow_env: tuple[str, ...]) -> int:
    """Check what `fluidmcp login` and `fluidmcp run --oauth` need, or the login of PACKAGE: a package, a bundle, or a
    file or folder with servers, as for `fluidmcp run`.

    It reads the FMCP_OAUTH_ variables and the stored login, and asks the provider's endpoints the little that can be
    asked without credentials. Nothing is changed and no secret is shown.
    """
    if package is None:
        return deferred.run_doctor(with_token=with_token)
    if with_token:
        raise click.UsageError("--token is for the set-up of this machine; leave PACKAGE out.")
    return deferred.run_package_doctor(package, public_url=public_url, allow_env=allow_env)
