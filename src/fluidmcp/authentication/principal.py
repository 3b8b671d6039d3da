"""Whom a bearer token stands for, and the seam behind which tokens are checked."""

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """The person and client behind a verified token.

    `subject` is the provider's stable identifier, or the identifier of the login where the provider names nobody; it
    is never a mail address or a login name. `token_digest` is a keyed digest of the whole token (hexadecimal): the
    only trace of the token that may be a dictionary key. `expires_at` is in seconds since the epoch, None if unknown.
    """

    issuer: str
    subject: str
    client_id: str
    token_digest: str
    scopes: frozenset[str] = frozenset()
    expires_at: float | None = None
    email_domain: str | None = field(default=None)
    """The domain of the person's *verified* mail address, lower case; None when the provider did not say."""
    email: str | None = field(default=None, repr=False)
    """That address itself."""
    name: str | None = field(default=None, repr=False)
    """What the person is called, to show to themselves: anybody can call themselves anything."""
    also: tuple[tuple[str, str], ...] = ()
    """Issuer and subject of the same caller at other logins: further ones of the package, that of the gateway."""

    @property
    def owner(self) -> tuple[str, str, str]:
        """Who owns sessions and quotas, whichever of the person's tokens comes."""
        return (self.issuer, self.subject, self.client_id)

    @property
    def people(self) -> tuple[tuple[str, str], ...]:
        """Issuer and subject at each login of the caller: whoever is one of them is shut out with the others."""
        return ((self.issuer, self.subject), *self.also)


class TokenVerifier(Protocol):
    """Is this bearer token good, and whose is it?"""

    async def verify(self, token: str) -> Principal | None:
        """The principal, or None when this verifier does not accept the token.

        Raises:
            ProviderUnavailableError: the provider that would have to be asked cannot answer; nobody gets through.
        """
        ...
