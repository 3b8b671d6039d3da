"""A public client on the machine of its person (RFC 8252), where registrations are taken (RFC 7591)."""

import socket
from typing import Final

GRANT_TYPES: Final = ("authorization_code", "refresh_token")


def choose_redirect_uri() -> str:
    """A loopback address with a port that is free now (RFC 8252 section 7.3).

    If the port is gone in a moment, whoever listens there says so.
    """
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"http://127.0.0.1:{probe.getsockname()[1]}/callback"


def describe_client(name: str, redirect_uri: str) -> dict[str, object]:
    """What a registration sends (RFC 7591 section 2)."""
    return {
        "client_name": name,
        "application_type": "native",
        "redirect_uris": [redirect_uri],
        "grant_types": list(GRANT_TYPES),
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    }
