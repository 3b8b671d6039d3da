"""How browsers will reach the gateway, for commands that only tell what to register."""

from fluidmcp.config.listening.choose import DEFAULT_PORT
from fluidmcp.config.settings import read_environment
from fluidmcp.config.urls import parse_public_url
from fluidmcp.errors import UserError


def find_public_url(option: str | None) -> str:
    """What `--public-url` says, else FMCP_PUBLIC_URL, else this machine.

    Raises:
        UserError: it is no address.
    """
    given = option or read_environment().get("FMCP_PUBLIC_URL") or f"http://localhost:{DEFAULT_PORT}"
    url, fault = parse_public_url(given)
    if fault is not None:
        raise UserError(f"The public address {fault}.", hint="Correct --public-url or FMCP_PUBLIC_URL.")
    return url
