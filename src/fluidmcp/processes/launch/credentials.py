"""From what a person's logins gave to the values of the placeholders in an entry."""

from collections.abc import Mapping
from typing import Final

from fluidmcp.authentication.person import Held, HeldLogin
from fluidmcp.config.auth_block import AuthBlock
from fluidmcp.config.filling.templates import PERSON_EMAIL, PERSON_SUB, Credentials, name_of
from fluidmcp.config.logins.keys import KeysBlock
from fluidmcp.config.logins.read import Auth, find_first_provider, list_logins

_WITHOUT_PERSON: Final = ("token:", "login:")
"""How a subject begins that stands for a token or a login, because the provider names nobody."""


def read_credentials(auth: Auth, held: Held, environ: Mapping[str, str]) -> Credentials:
    """What a process of this person may be given. Client ids are those at the providers."""
    blocks = dict(list_logins(auth))
    first = find_first_provider(auth)
    values: dict[str, str] = {}
    secret: set[str] = set()
    for login in held:
        match blocks.get(login.name):
            case AuthBlock() as block:
                _add_provider(login, block, environ, values, secret)
                if login.name == first:
                    _add_person(login, values)
            case KeysBlock() as block:
                values.update((f"keys.{name}", value) for name, value in login.values.items())
                secret.update(f"keys.{key.name}" for key in block.keys if key.secret)
            case None:
                pass
    return Credentials(values=values, secret=frozenset(secret))


def _add_provider(
    login: HeldLogin, block: AuthBlock, environ: Mapping[str, str], values: dict[str, str], secret: set[str]
) -> None:
    client_id = block.client_id or environ.get(block.client_id_env or "")
    expires_at = login.expires_at
    known = {
        "access_token": login.access_token,
        "scope": " ".join(sorted(login.person.scopes)),
        "expires_at": None if expires_at is None else str(expires_at),
        "expires_at_ms": None if expires_at is None else str(expires_at * 1000),
        "client_id": client_id,
        **{name: value for name, value in login.values.items() if name != "email"},
    }
    values.update((name_of(login.name, member), value) for member, value in known.items() if value)
    secret.update(name_of(login.name, member) for member in ("access_token", *login.values) if member != "email")


def _add_person(login: HeldLogin, values: dict[str, str]) -> None:
    """Who it is, as the first provider says, and never another one instead: whoever can keep the first from saying so
    (an MCP client chooses scopes) would be who they are called at a provider of their choice.
    """
    if not login.person.subject.startswith(_WITHOUT_PERSON):
        values[PERSON_SUB] = login.person.subject
    if "email" in login.values:
        values[PERSON_EMAIL] = login.values["email"]
