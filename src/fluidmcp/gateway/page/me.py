"""`GET /{package}/me`: who the caller is here, as their provider names them."""

from typing import Final

from fluidmcp.gateway.http import HttpReply, json_reply
from fluidmcp.gateway.mcp.messages import Caller

MAX_SHOWN_CHARACTERS: Final = 200


def describe_caller(caller: Caller) -> HttpReply:
    """`person` is null for somebody whom nobody knows; `name` and `email` are there where the provider told them.

    `expires_at` is when the login ends, in seconds since the epoch, where that is known. No token is in it.
    """
    principal = caller.principal
    if principal is None:
        return json_reply(200, {"person": None})
    email = principal.email or next((held.values["email"] for held in caller.held if "email" in held.values), None)
    person = {"issuer": principal.issuer, "subject": principal.subject, "name": principal.name, "email": email}
    ends = [end for end in (caller.good_until, principal.expires_at) if end is not None]
    return json_reply(
        200,
        {
            "person": {name: text[:MAX_SHOWN_CHARACTERS] for name, text in person.items() if text},
            "scopes": sorted(principal.scopes),
            "expires_at": int(min(ends)) if ends else None,
        },
    )
