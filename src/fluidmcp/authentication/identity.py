"""Who logged in: what an ID token or an introspection answer, both straight from the provider, says of a person.

Pure module: no I/O; the time is passed in. The signature of an ID token is not checked, because it is only ever read
from the answer of a token endpoint over TLS (OpenID Connect Core 1.0, section 3.1.3.7, point 6). It is therefore
never to be used on a token that a client sent.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import msgspec

from fluidmcp.errors import ProviderAnswerError
from fluidmcp.oauth_client.issuer import ExpectedIssuer

CLOCK_LEEWAY_SECONDS = 60.0
MAX_SUBJECT_CHARACTERS = 255
MAX_NAME_CHARACTERS = 100
"""It is sealed into what clients hold."""

_GOOGLE_ISSUERS = frozenset({"https://accounts.google.com", "accounts.google.com"})
_DOMAIN = re.compile(r"[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A person at an issuer. `email_domain` is set only when the provider says that it verified the address."""

    issuer: str
    subject: str
    email_domain: str | None = None
    email: str | None = field(default=None, repr=False)
    """The address, where the provider says that it verified it."""
    name: str | None = field(default=None, repr=False)
    """As `Principal.name`."""


def read_id_token(id_token: str, *, client_id: str, issuer: str | None, now: float) -> Identity:
    """The person an ID token of the token endpoint speaks of; `issuer` is the configured one, `now` in seconds.

    Raises:
        ProviderAnswerError: not an ID token for us: other issuer, audience or authorized party, expired, no subject.
    """
    claims = _decode_claims(id_token)
    named = claims.get("iss")
    claimed_issuer = ExpectedIssuer.of(issuer).match(claims) if issuer is not None else named
    if not isinstance(claimed_issuer, str) or not claimed_issuer:
        raise _unusable("it comes from another issuer")
    audience = claims.get("aud")
    audiences = [audience] if isinstance(audience, str) else audience
    if not isinstance(audiences, list) or client_id not in cast(list[object], audiences):
        raise _unusable("it is meant for another client")
    if claims.get("azp", client_id) != client_id:
        raise _unusable("it was made for another client")
    expires_at = claims.get("exp")
    if isinstance(expires_at, bool) or not isinstance(expires_at, int | float):
        raise _unusable("it has no end")
    if not now - CLOCK_LEEWAY_SECONDS < expires_at:
        raise _unusable("it has expired")
    subject = read_subject(claims)
    if subject is None:
        raise _unusable("it names nobody")
    return Identity(
        issuer=claimed_issuer,
        subject=subject,
        email_domain=read_verified_domain(claims, claimed_issuer),
        email=read_verified_email(claims),
        name=read_name(claims),
    )


def read_mail_address(id_token: str) -> str | None:
    """The mail address in an ID token of the token endpoint, verified or not: to show to its owner, for nothing else.

    Raises:
        ProviderAnswerError: not an ID token.
    """
    email = _decode_claims(id_token).get("email")
    if isinstance(email, str) and 0 < len(email) <= MAX_SUBJECT_CHARACTERS and email.isprintable():
        return email
    return None


def read_subject(claims: Mapping[str, object]) -> str | None:
    """The `sub` claim, or None when there is none that can identify anybody."""
    subject = claims.get("sub")
    if isinstance(subject, str) and 0 < len(subject) <= MAX_SUBJECT_CHARACTERS and subject.isprintable():
        return subject
    return None


def read_name(claims: Mapping[str, object]) -> str | None:
    """What the provider calls the person (OpenID Connect Core 1.0, section 5.1): no proof of anything."""
    names = (claims.get("name"), claims.get("preferred_username"))
    return next((name for name in names if isinstance(name, str) and _is_name(name)), None)


def _is_name(text: str) -> bool:
    return 0 < len(text) <= MAX_NAME_CHARACTERS and text.isprintable() and not text.isspace()


def read_verified_email(claims: Mapping[str, object]) -> str | None:
    """The mail address that the provider verified, as it spells it; None where it does not say so."""
    email = claims.get("email")
    if claims.get("email_verified") is not True or not isinstance(email, str) or email.count("@") != 1:
        return None
    return email if email.isprintable() and len(email) <= MAX_SUBJECT_CHARACTERS else None


def read_verified_domain(claims: Mapping[str, object], issuer: str) -> str | None:
    """The lower-case domain of a *verified* mail address, or None.

    `email_verified` must be the boolean true. At Google only `hd` speaks for an organisation: anybody can have a
    Google account under a foreign address, so other addresses than gmail.com ones count for nothing there.
    """
    email = claims.get("email")
    if claims.get("email_verified") is not True or not isinstance(email, str) or email.count("@") != 1:
        return None
    domain: object = email.split("@")[1]
    if issuer in _GOOGLE_ISSUERS and domain != "gmail.com":
        domain = claims.get("hd")
    # ASCII before lower(): some foreign letters have an ASCII one as their lower case.
    if not isinstance(domain, str) or len(domain) > MAX_SUBJECT_CHARACTERS or not domain.isascii():
        return None
    domain = domain.lower()
    return domain if _DOMAIN.fullmatch(domain) else None


def _decode_claims(id_token: str) -> Mapping[str, object]:
    parts = id_token.split(".")
    if len(parts) != 3:
        raise _unusable("it is not a signed JWT")
    try:
        payload = base64.b64decode(parts[1] + "=" * (-len(parts[1]) % 4), altchars=b"-_", validate=True)
        claims = msgspec.json.decode(payload)
    except (binascii.Error, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _unusable("its claims cannot be read") from error
    if not isinstance(claims, dict):
        raise _unusable("its claims are no JSON object")
    return cast(dict[str, object], claims)


def _unusable(why: str) -> ProviderAnswerError:
    return ProviderAnswerError("The provider's ID token cannot be used", why=f"{why[0].upper()}{why[1:]}.")
