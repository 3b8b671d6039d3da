"""`fluidmcp revoke`: the options and their help. What it does stands in `denying`, imported when it is called."""

import click

from fluidmcp.cli import deferred
from fluidmcp.errors import UserError

OF_PACKAGE = "Only at this package; without it, at all."
OF_URL = "The public address of a guarded gateway on another machine: its operator's token goes there."


@click.command(short_help="Shut a person out, and end what they have open.")
@click.argument("subject", required=False)
@click.option("--package", metavar="NAME", help=OF_PACKAGE)
@click.option("--url", metavar="URL", help=OF_URL)
@click.option("--list", "wants_list", is_flag=True, help="Show who is shut out.")
def revoke(subject: str | None, package: str | None, url: str | None, wants_list: bool) -> int:
    """Shut a person out, and end what they have open.

    SUBJECT is how the provider knows the person (`sub`), or ISSUER|SUBJECT. Within two seconds nothing of theirs is
    good: requests are refused, streams and sessions end, server processes stop, no login and no renewal succeeds.

    \b
      fluidmcp revoke 10769150350006150715            on the machine of the gateway, as the user that it runs as
      fluidmcp revoke ada --package gmail             at one package
      fluidmcp revoke ada --url https://mcp.example   from somewhere else
      fluidmcp allow ada                              let them in again

    Without --url the list is changed where gateways read it: in the Redis of FMCP_REDIS_URL (with FMCP_SEAL_KEYS, both
    as the gateways have them), else in the file of FMCP_DENY_LIST, else in ~/.fluidmcp/deny-list.json.
    """
    if wants_list:
        if subject is not None or package is not None:
            raise UserError("--list shows everybody.", hint="Leave SUBJECT and --package out.")
        return deferred.show_denied(url=url)
    if subject is None:
        raise UserError("SUBJECT is missing.", hint="Run: fluidmcp revoke --help")
    return deferred.change_denied("revoke", subject, package=package, url=url)
