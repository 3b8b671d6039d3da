"""`fluidmcp allow`: the options and their help. What it does stands in `denying`, imported when it is called."""

import click

from fluidmcp.cli import deferred
from fluidmcp.cli.account.revoke import OF_PACKAGE, OF_URL


@click.command(short_help="Let a person in again who was shut out.")
@click.argument("subject")
@click.option("--package", metavar="NAME", help=OF_PACKAGE)
@click.option("--url", metavar="URL", help=OF_URL)
def allow(subject: str, package: str | None, url: str | None) -> int:
    """Let a person in again who was shut out with `fluidmcp revoke`.

    They log in anew: what was given to them before stays dead, in whoever's hands it is. A provider's own token, which
    no gateway made, is good again as long as its provider says so.
    """
    return deferred.change_denied("allow", subject, package=package, url=url)
