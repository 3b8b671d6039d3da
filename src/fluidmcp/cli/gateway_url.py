"""Which gateway a command that talks to one means."""

from fluidmcp.config.listening.choose import DEFAULT_PORT
from fluidmcp.config.settings import read_environment
from fluidmcp.config.urls import parse_public_url
from fluidmcp.errors import UserError


def find_gateway_url(option: str | None) -> str:
    """What `--url` says, else FMCP_PUBLIC_URL, else this machine; without a slash at the end.

    Raises:
        UserError: it is no address.
    """
    given = option or read_environment().get("FMCP_PUBLIC_URL") or f"http://localhost:{DEFAULT_PORT}"
    url, fault = parse_public_url(given)
    if fault is not None:
        raise UserError(f"The address of the gateway {fault}.", hint="Correct --url or FMCP_PUBLIC_URL.")
    return url
