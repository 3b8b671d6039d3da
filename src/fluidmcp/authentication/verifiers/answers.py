"""Reading what providers answer about a token, strictly. Pure module: the answer in, values out.

An answer that makes no sense says nothing about the token: it is the provider's failure, and nobody gets through.
"""

import re
from collections.abc import Mapping
from typing import cast

import msgspec

from fluidmcp.authentication.verifiers.cached import TokenRefusedError, unavailable
from fluidmcp.oauth_client.fetch import FetchAnswer

MAX_TIME = 1e12
"""Seconds since the epoch beyond which a number is no time."""

_DIGITS = re.compile(r"[0-9]{1,12}", re.ASCII)


def read_object(answer: FetchAnswer, endpoint: str, *, refused: frozenset[int] = frozenset()) -> dict[str, object]:
    """The JSON object of a 200 answer; `refused` are the statuses that say that the token is not good.

    Raises:
        TokenRefusedError: one of those.
        ProviderUnavailableError: any other status, or no JSON object.
    """
    if answer.status in refused:
        raise TokenRefusedError(f"The {endpoint} does not know it.")
    if answer.status != 200:
        raise unavailable(f"The {endpoint} answered with HTTP {answer.status}.")
    try:
        document: object = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise unavailable(f"The {endpoint} did not answer with JSON.") from error
    if not isinstance(document, dict):
        raise unavailable(f"The {endpoint} did not answer with a JSON object.")
    return cast("dict[str, object]", document)


def read_time(value: object) -> float | None:
    """A NumericDate (RFC 7519 section 2) in seconds, None when it is not one: booleans and texts are no times."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if -MAX_TIME < value < MAX_TIME else None


def read_digits(value: object) -> float | None:
    """A number of seconds as an integer or as digits, which is how Google writes it."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        return float(value)
    return read_time(value)


def read_scopes(value: object, *, separator: str | None = None) -> frozenset[str]:
    """Scopes in a text (RFC 8693 section 4.2) or a list; anything else holds none."""
    if isinstance(value, str):
        return frozenset(part.strip() for part in value.split(separator) if part.strip())
    if isinstance(value, list):
        return frozenset(part for part in cast("list[object]", value) if isinstance(part, str) and part)
    return frozenset()


def read_text(claims: Mapping[str, object], *names: str) -> str | None:
    """The first of these members that is a text with something in it."""
    return next((value for name in names if isinstance(value := claims.get(name), str) and value), None)


def holds(value: object, wanted: str) -> bool:
    """Whether a text is `wanted`, or a list has it as a member: exactly, no prefix and no other spelling."""
    return value == wanted if isinstance(value, str) else isinstance(value, list) and wanted in value
