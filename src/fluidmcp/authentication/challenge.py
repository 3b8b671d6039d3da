"""The `WWW-Authenticate` header of a refused request (RFC 6750 section 3, RFC 9728 section 5.1)."""


def build_challenge(
    reason: str | None = None, description: str = "", *, scope: str = "", resource_metadata: str = ""
) -> str:
    """`reason` is an error code of RFC 6750 section 3.1; without one no token was sent, and none is named.

    `scope` holds the scopes that a token needs, separated by spaces, and `resource_metadata` is an address.
    """
    challenge = 'Bearer realm="fluidmcp"'
    if reason is not None:
        challenge += f', error="{reason}"'
        if description:
            challenge += f', error_description="{quotable(description)}"'
    if resource_metadata:
        challenge += f', resource_metadata="{quotable(resource_metadata)}"'
    if scope:
        challenge += f', scope="{quotable(scope)}"'
    return challenge


def quotable(text: str) -> str:
    """RFC 6750 section 3 allows %x20-21 / %x23-5B / %x5D-7E: printable ASCII without quote and backslash."""
    return "".join(c for c in text if 0x20 <= ord(c) <= 0x7E and c not in '"\\')
