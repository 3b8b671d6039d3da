"""What clients say of themselves, in a registration (RFC 7591 section 2) or a document: read strictly. Pure module."""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Final, cast

from fluidmcp.config.redirects import check_redirect_uri, describe_redirect
from fluidmcp.errors import OAuthError

MAX_REDIRECT_URIS: Final = 10
MAX_NAME_CHARACTERS: Final = 80

_UNSHOWN: Final = frozenset({"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"})


def read_redirect_uris(document: Mapping[str, object]) -> tuple[str, ...]:
    """Raises OAuthError: `invalid_redirect_uri`."""
    value = document.get("redirect_uris")
    if not isinstance(value, list) or not value:
        raise OAuthError("invalid_redirect_uri", "redirect_uris must be a list with at least one address.")
    uris = cast("Sequence[object]", value)
    if len(uris) > MAX_REDIRECT_URIS:
        raise OAuthError("invalid_redirect_uri", f"There are more than {MAX_REDIRECT_URIS} redirect_uris.")
    for number, uri in enumerate(uris):
        fault = check_redirect_uri(uri) if isinstance(uri, str) else "must be a string"
        if fault is not None:
            raise OAuthError("invalid_redirect_uri", f"redirect_uris[{number}] {fault}.")
    return tuple(dict.fromkeys(cast("Sequence[str]", uris)))


def read_client_name(document: Mapping[str, object], redirect_uris: Sequence[str]) -> str:
    """The name as it is shown: without characters that are not seen or turn the writing round, and not too long.

    Raises:
        OAuthError: `invalid_client_metadata`, it is no text.
    """
    value = document.get("client_name")
    if value is not None and not isinstance(value, str):
        raise OAuthError("invalid_client_metadata", "client_name must be a string.")
    shown = "".join(" " if char.isspace() else char for char in value or "")
    shown = "".join(char for char in shown if unicodedata.category(char) not in _UNSHOWN)
    shown = " ".join(shown.split())[:MAX_NAME_CHARACTERS].strip()
    return shown or describe_redirect(redirect_uris[0])[:MAX_NAME_CHARACTERS]


def read_texts(document: Mapping[str, object], name: str) -> tuple[str, ...] | None:
    """A list of strings; None where there is none. Raises OAuthError, `invalid_client_metadata`."""
    value = document.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(item, str) for item in cast("Sequence[object]", value)):
        raise OAuthError("invalid_client_metadata", f"{name} must be a list of strings.")
    return tuple(cast("Sequence[str]", value))


def check_grants(document: Mapping[str, object]) -> None:
    """A client must support the only flow that we offer. Raises OAuthError, `invalid_client_metadata`."""
    for name, needed in (("grant_types", "authorization_code"), ("response_types", "code")):
        values = read_texts(document, name)
        if values is not None and needed not in values:
            raise OAuthError("invalid_client_metadata", f"{name} must hold {needed}; nothing else is served.")
