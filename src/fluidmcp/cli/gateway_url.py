"""Which gateway a command means: one that it talks to, or says what to register for."""

from fluidmcp.config.listening.choose import DEFAULT_PORT
from fluidmcp.config.settings import read_environment
from fluidmcp.config.urls import parse_public_url
from fluidmcp.errors import UserError


def find_gateway_url(given: str | None, *, option: str = "--url") -> str:
    """What the option says, else FMCP_PUBLIC_URL, else this machine; without a slash at the end.

    Raises:
        UserError: it is no address.
    """
    given = given or read_environment().get("FMCP_PUBLIC_URL") or f"http://localhost:{DEFAULT_PORT}"
    url, fault = parse_public_url(given)
    if fault is not None:
        raise UserError(f"The address of the gateway {fault}.", hint=f"Correct {option} or FMCP_PUBLIC_URL.")
    return url
