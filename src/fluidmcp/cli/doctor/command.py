"""`fluidmcp doctor`: the options and their help. What it does stands in `run` and `walking`, imported when called."""

import re
from pathlib import Path

import click

from fluidmcp.cli import deferred
from fluidmcp.cli.completion.names import complete_from, list_packages

MAX_HOLD_SECONDS = 600.0
_SCHEMELESS = re.compile(r"[\w.-]+(:\d+)?/.*/?(mcp|sse)/?|[\w.-]+:\d+/?", re.ASCII)
"""An address of a gateway or a package whose beginning was left out."""

_EPILOG = """\b
Examples:
  fluidmcp doctor                            check the set-up of this machine
  fluidmcp token | fluidmcp doctor --token   and whether a token would pass
  fluidmcp doctor fluidmcp.json              check the logins of the entries of a file
  fluidmcp doctor https://mcp.example.com/mail/mcp
                                             walk to a gateway as Claude, Cursor, VS Code and ChatGPT do

\b
Exit codes:
  0    no problem was found (warnings do not count)
  1    there is a problem; each one says what to do
"""


@click.command(epilog=_EPILOG, short_help="Find what is wrong with a gateway, seen from outside, or with a login.")
@click.argument(
    "target",
    metavar="[PACKAGE|FILE|URL]",
    required=False,
    shell_complete=complete_from(list_packages, or_files=True),
)
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
@click.option(
    "--login",
    is_flag=True,
    help="With URL: open the browser, and go on with the login that you make there. It is revoked at the end.",
)
@click.option("--token-env", metavar="NAME", help="With URL: call with the access token in this environment variable.")
@click.option(
    "--ca",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="With URL: trust the certificate authorities in this file (PEM) too.",
)
@click.option(
    "--hold",
    "hold_seconds",
    type=click.FloatRange(0.0, MAX_HOLD_SECONDS),
    default=3.0,
    show_default=True,
    metavar="SECONDS",
    help="With URL: how long to watch a silent event stream for something that cuts it off.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.pass_context
def doctor(
    context: click.Context,
    target: str | None,
    with_token: bool,
    public_url: str | None,
    allow_env: tuple[str, ...],
    login: bool,
    token_env: str | None,
    ca: Path | None,
    hold_seconds: float,
    as_json: bool,
) -> int:
    """Check what `fluidmcp login` and `fluidmcp run --oauth` need; or the login of PACKAGE: a package, a bundle, or a
    file or folder with servers, as for `fluidmcp run`; or a gateway at URL from outside, as its clients see it.

    Without URL it reads the FMCP_OAUTH_ variables and the stored login, and asks the provider's endpoints the little
    that can be asked without credentials. With URL it registers as each of the clients, and goes on to the provider's
    login page, where nobody logs in. Nothing is changed and no secret is shown.
    """
    is_url = target is not None and target.lower().startswith(("http://", "https://"))
    _refuse_options(context, for_url=not is_url)
    if target is None:
        return deferred.run_doctor(with_token=with_token, as_json=as_json)
    if with_token:
        raise click.UsageError("--token is for the set-up of this machine; leave PACKAGE out.")
    if is_url:
        return deferred.run_url_doctor(
            target, token_env=token_env, login=login, ca=ca, hold_seconds=hold_seconds, as_json=as_json
        )
    if _SCHEMELESS.match(target) and not Path(target).exists():
        raise click.UsageError(f"An address begins with https:// or http://. Did you mean http://{target}?")
    return deferred.run_package_doctor(target, public_url=public_url, allow_env=allow_env, as_json=as_json)


def _refuse_options(context: click.Context, *, for_url: bool) -> None:
    """Refuse the options that are for another kind of target: those for a URL, or those for a package."""
    names = (
        {
            "token_env": "--token-env",
            "login": "--login",
            "ca": "--ca",
            "hold_seconds": "--hold",
        }
        if for_url
        else {"public_url": "--public-url", "allow_env": "--allow-env"}
    )
    for name, option in names.items():
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{option} is {'for a URL' if for_url else 'for a package or a file'} only.")
