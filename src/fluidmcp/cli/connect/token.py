"""The token of `fluidmcp connect --token-env`: the client gets the name of its variable, never the token."""

import re
from dataclasses import dataclass
from typing import Final

from fluidmcp.cli.given_token import read_token_variable
from fluidmcp.cli.output import print_warning
from fluidmcp.config.settings import read_environment
from fluidmcp.errors import UserError
from fluidmcp.packages.clients.table import FILE_CLIENTS

_LOGIN_ALONE: Final = ("claude", "chatgpt")
"""Clients of whom nobody but themselves decides what they send."""
_VARIABLE_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class ClientToken:
    """What the client is told of a token, and what the gateway can be asked with."""

    variable: str
    """Empty where none is wanted."""
    authorization: str | None = None
    """The header with the token that is in the variable here and now; None where there is none."""


def read_client_token(key: str, variable: str) -> ClientToken:
    """The token for the client of that key. Warns where the variable is not set here.

    Raises:
        UserError: this is no name of a variable, or the client takes no token from there.
        ConfigurationError: what it holds is no token.
    """
    if not variable:
        return ClientToken("")
    if not _VARIABLE_NAME.fullmatch(variable):
        raise UserError(
            "--token-env takes the name of an environment variable, not a token.",
            why="A name has letters, digits and underscores, and begins with no digit.",
            hint="Put the token into a variable, and name that: --token-env FMCP_SECURE_TOKEN",
        )
    _check_client(key)
    if not read_environment().get(variable):
        # Without its name: it could be the token itself, typed in the wrong place.
        print_warning(
            "the variable that --token-env names is not set here, so the gateway is not asked whether it takes what is "
            "in it. The name goes into the client's file: check that it is a name, and no token."
        )
        return ClientToken(variable)
    return ClientToken(variable, f"Bearer {read_token_variable(variable).reveal()}")


def _check_client(key: str) -> None:
    client = FILE_CLIENTS.get(key)
    if key in _LOGIN_ALONE:
        raise UserError(
            f"{key} cannot take a token from a variable.",
            why="It logs in, and sends no token of yours.",
            hint="Use another client, or a gateway with logins (--oauth).",
        )
    if client is not None and client.token_members is None:
        raise UserError(
            f"{key} cannot take a token from a variable.",
            why=f"{client.title} puts no variable into a header, so the token itself would have to stand in its file.",
            hint="Leave --token-env out, and put the header Authorization: Bearer TOKEN in by hand.",
        )
