"""The form of a signed JWT (RFC 7519): what it says can be read without any key, and is not verified by that."""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import cast

import msgspec

from fluidmcp.authentication.verifiers.cached import TokenRefusedError

LEEWAY_SECONDS = 60.0
"""How far the issuer's clock may be from ours."""
MAX_TOKEN_CHARACTERS = 16 * 1024
MAX_HEADER_CHARACTERS = 12 * 1024
"""Room for a certificate chain (`x5c`), which is not looked at."""

_SEGMENT = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)

Claims = Mapping[str, object]


def looks_like_jwt(token: str) -> bool:
    """Whether a token has the form of a signed JWT; what is in it is not looked at."""
    return token.count(".") == 2 and all(map(_SEGMENT.fullmatch, token.split(".")))


def read_token(token: str) -> tuple[Claims, Claims]:
    """Header and claims of a signed JWT (RFC 7519 section 3). Nothing in them is verified yet.

    Raises:
        TokenRefusedError: it is not one, or too large.
    """
    if len(token) > MAX_TOKEN_CHARACTERS or not looks_like_jwt(token):
        raise TokenRefusedError("It is not a signed JWT.")
    header, claims, _signature = token.split(".")
    if len(header) > MAX_HEADER_CHARACTERS:
        raise TokenRefusedError("Its header is too large.")
    return _read_segment(header), _read_segment(claims)


def _read_segment(segment: str) -> Claims:
    try:
        value: object = msgspec.json.decode(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    except (binascii.Error, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TokenRefusedError("It cannot be read.") from error
    if not isinstance(value, dict):
        raise TokenRefusedError("It cannot be read.")
    return cast("dict[str, object]", value)
