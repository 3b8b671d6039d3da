"""From a login of keys to the page that a person sees."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from fastapi import Response

from fluidmcp.authorization_server.authorize import AuthorizationRequest
from fluidmcp.config.logins.keys import MAX_KEYS_BYTES
from fluidmcp.guards.keys_login import KeysLogin
from fluidmcp.pages.consent import respond
from fluidmcp.pages.render import KeyField, KeysView, render_keys

FIELD_PREFIX = "key-"
"""How the names of the form's fields begin: no key can be taken for another field."""


def keys_response(
    login: KeysLogin,
    asked: AuthorizationRequest | None,
    *,
    state: str,
    gateway: str,
    faults: Mapping[str, str] | None = None,
    is_unchecked: bool = False,
) -> Response:
    """The page with one field a key. `asked` is the request of an MCP client, `faults` what is wrong, by key.

    `is_unchecked`: it is not known whether the keys are good.
    """
    faults = faults or {}
    wrong = [key.name for key in login.keys if key.name in faults]
    focus = wrong[0] if wrong else login.keys[0].name
    fields = [
        KeyField(
            id=FIELD_PREFIX + key.name,
            label=key.label,
            is_secret=key.secret,
            help=key.help or "",
            help_host=urlsplit(key.help or "").netloc,
            fault=faults.get(key.name, ""),
            has_focus=key.name == focus,
        )
        for key in login.keys
    ]
    view = KeysView(
        package=login.package,
        gateway=gateway,
        client_name=None if asked is None else asked.client_name,
        client_host=None if asked is None else asked.client_host,
        check_host=login.check_host,
        fields=tuple(fields),
        is_unchecked=is_unchecked,
        problem=faults.get("", ""),
        action=urlsplit(login.page_url).path,
        state=state,
        max_characters=MAX_KEYS_BYTES,
    )
    return respond(render_keys(view))
