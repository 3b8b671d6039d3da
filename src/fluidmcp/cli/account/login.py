"""`fluidmcp login`: the options and their help. What it does stands in `account`, imported when it is called."""

import click

from fluidmcp.cli import deferred

_EPILOG = """\b
Environment (the provider's page in the documentation says what to set):
  FMCP_OAUTH_AUTH_ENDPOINT, FMCP_OAUTH_TOKEN_ENDPOINT   or FMCP_OAUTH_ISSUER
  FMCP_OAUTH_CLIENT_ID
  FMCP_OAUTH_REDIRECT_URI   [default: http://localhost:8088/callback]
  FMCP_OAUTH_SCOPE          [default: openid profile email]
"""


@click.command(epilog=_EPILOG, short_help="Log in at your OAuth provider and keep the tokens on this machine.")
@click.option("--no-browser", is_flag=True, help="Open no browser: show the address, accept the callback address.")
@click.option("--device", is_flag=True, help="Show a code to enter at the provider, on any device (RFC 8628).")
def login(no_browser: bool, device: bool) -> int:
    """Log in at your OAuth provider and keep the tokens on this machine.

    Opens the browser, waits up to five minutes for the provider's answer at the redirect address on this machine, and
    stores the tokens in ~/.fluidmcp/oauth/tokens.json, which only you can read.
    """
    return deferred.run_login(no_browser=no_browser, device=device)
