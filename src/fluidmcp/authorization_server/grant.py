"""What a login at a provider gave, and the seam behind which the providers of a login stand.

A grant holds tokens: it is only ever kept encrypted, under a key that the client or the browser holds.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import msgspec

from fluidmcp.authentication.identity import Identity
from fluidmcp.authentication.person import HeldLogin, Person
from fluidmcp.oauth_client.pending_login import LoginStart
from fluidmcp.oauth_client.token_endpoint import TokenAnswer
from fluidmcp.oauth_client.waiting_logins import LoginKind, TakenLogin

EARLY_SECONDS: Final = 300
"""How long before the provider's token one of ours ends; for one that lives less than ten minutes, half of its life."""
UNKNOWN_LIFE_SECONDS: Final = 3600
"""How long one of ours lives where the provider does not say when its own ends."""

UpstreamName = str | None
"""Which login: None for that of the gateway as a whole, else its name in the package ("" for its only one)."""


class UpstreamGrant(msgspec.Struct, frozen=True, array_like=True):
    """A provider's tokens and whose they are. `expires_at` is in seconds since the epoch, None where nobody said."""

    person: Person
    access_token: str
    """"" where the person typed keys."""
    refresh_token: str | None = None
    expires_at: int | None = None
    values: dict[str, str] = {}
    """As `HeldLogin.values`."""

    def __repr__(self) -> str:
        return f"UpstreamGrant(expires_at={self.expires_at})"

    @property
    def is_renewable(self) -> bool:
        """Whether there is a refresh token, or nothing to refresh."""
        return self.refresh_token is not None or self.expires_at is None

    def without_access_token(self) -> "UpstreamGrant":
        """What a renewal needs: the access token only where there is no other."""
        if self.refresh_token is None:
            return self
        return UpstreamGrant(self.person, "", self.refresh_token, self.expires_at, self.values)

    def held(self, name: str) -> HeldLogin:
        """What a process may have of it."""
        return HeldLogin(name, self.person, self.access_token, self.expires_at, self.values)


@dataclass(frozen=True, slots=True)
class Grants:
    """What one login of an MCP client brought, from one provider or from several."""

    gateway: UpstreamGrant | None = None
    package: Mapping[str, UpstreamGrant] = field(default_factory=dict[str, UpstreamGrant])
    """By the names of the package's logins, in their order."""

    @property
    def each(self) -> tuple[UpstreamGrant, ...]:
        return (*(() if self.gateway is None else (self.gateway,)), *self.package.values())

    @property
    def scopes(self) -> tuple[str, ...]:
        """What the package's providers granted."""
        return tuple(dict.fromkeys(scope for grant in self.package.values() for scope in grant.person.scopes))

    @property
    def is_renewable(self) -> bool:
        return all(grant.is_renewable for grant in self.each)

    def life_seconds(self, now: float) -> int:
        """How long a token of ours may live: it ends before the first of the providers' does."""
        lives = [UNKNOWN_LIFE_SECONDS if grant.expires_at is None else grant.expires_at - now for grant in self.each]
        known = [
            life if grant.expires_at is None else life - EARLY_SECONDS if life >= 2 * EARLY_SECONDS else life / 2
            for grant, life in zip(self.each, lives, strict=True)
        ]
        return int(min(known, default=UNKNOWN_LIFE_SECONDS))


class Upstream(Protocol):
    """A place where people log in on their way to a package: PackageAuth, KeysLogin and GatewayLogin are one each."""

    sign_in_host: str
    """The host of the provider's login page; "" for a page of our own."""
    scopes: tuple[str, ...]
    """What may be asked for here."""
    cookie_path: str
    """The path of the cookie of a login: the callback lies below it."""
    fingerprint: str
    """Changes with the configuration: what was granted before a change is then no longer good."""

    async def begin_login(
        self,
        *,
        client_address: str,
        kind: LoginKind = "json",
        scopes: Sequence[str] | None = None,
        carried: bytes = b"",
    ) -> LoginStart:
        """Begin a login; raises LoginError, also where the operator left out a variable (503)."""
        ...

    async def redeem_for_client(
        self, taken: TakenLogin, query: Sequence[tuple[str, str]], *, scopes: Sequence[str]
    ) -> UpstreamGrant:
        """Redeem the code of a callback; the tokens of somebody who may come in. `scopes` were asked for.

        Raises:
            LoginError, ProviderAnswerError, ProviderUnavailableError: the login cannot be finished.
            ForbiddenError: this person is not allowed.
        """
        ...

    async def renew(self, grant: UpstreamGrant) -> UpstreamGrant:
        """New tokens of the same person, who still may come in.

        Raises:
            ProviderAnswerError: `invalid_grant` where the provider, or its word about the person, has changed.
            ProviderUnavailableError: nobody can tell now; the grant may be tried again.
            ForbiddenError: the person is not allowed any more.
        """
        ...

    async def give_back(self, grant: UpstreamGrant) -> None:
        """Revoke the tokens where the provider takes them back (RFC 7009). Failures are logged."""
        ...

    async def admit(self, person: Person) -> None:
        """Raises ForbiddenError unless this person may come in, with these scopes. Called for each request."""
        ...


def build_grant(
    answer: TokenAnswer, identity: Identity, *, asked: Sequence[str], now: float, wanted: Collection[str] = ()
) -> UpstreamGrant:
    """The grant of a token answer. `asked` counts where the answer has no `scope` (RFC 6749 section 5.1); `wanted` are
    the values that processes are given beside the token.
    """
    # GitHub joins scopes with commas.
    granted = tuple(asked) if answer.scope is None else tuple(answer.scope.replace(",", " ").split())
    return UpstreamGrant(
        person=Person(identity.issuer, identity.subject, identity.email_domain, granted, identity.name),
        access_token=answer.access_token,
        refresh_token=answer.refresh_token,
        expires_at=None if answer.expires_in is None else int(now + answer.expires_in),
        values={name: value for name in wanted if (value := _find_value(name, answer, identity)) is not None},
    )


def _find_value(name: str, answer: TokenAnswer, identity: Identity) -> str | None:
    match name:
        case "id_token":
            return answer.id_token
        case "email":
            return identity.email
        case _:
            return answer.extra.get(name.removeprefix("extra."))
