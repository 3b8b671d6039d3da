"""Accepts exactly the tokens that this gateway's own callback or refresh handed out, for at most eight hours.

The store holds a digest of each token with a sealed record, never the token. When the store is lost, no token is known:
after a restart in memory mode the answer is "log in again".
"""

import logging
from collections.abc import Callable

import msgspec

from fluidmcp.authentication.identity import Identity
from fluidmcp.authentication.principal import Principal
from fluidmcp.crypto.digest import PackageDigest
from fluidmcp.errors import LoginError
from fluidmcp.oauth_client.token_endpoint import TokenAnswer
from fluidmcp.store.memory import Store, StoreFullError

MAX_ACCEPTED_SECONDS = 8 * 3600
REFRESH_LINK_SECONDS = 24 * 3600
RETRY_WHEN_FULL_SECONDS = 60

logger = logging.getLogger(__name__)


class _HandedOut(msgspec.Struct, frozen=True, array_like=True):
    issuer: str
    subject: str
    email_domain: str | None
    scopes: tuple[str, ...] = ()
    expires_at: float | None = None
    accepted_until: float = 0.0


class IssuedHereVerifier:
    """The tokens of one package that were handed out here. Per call: one HMAC to find, one to trust the record."""

    def __init__(self, *, client_id: str, digest: PackageDigest, handed_out: Store, now: Callable[[], float]) -> None:
        self._client_id = client_id
        self._digest = digest
        self._handed_out = handed_out
        self._now = now

    async def verify(self, token: str) -> Principal | None:
        """The principal of a token handed out here; None for every other token."""
        key = self._digest.of("access_token", token)
        record = self._read(key, await self._handed_out.get(key))
        if record is None:
            return None
        return Principal(
            issuer=record.issuer,
            subject=record.subject,
            client_id=self._client_id,
            token_digest=key,
            scopes=frozenset(record.scopes),
            expires_at=record.expires_at,
            email_domain=record.email_domain,
        )

    async def remember(self, answer: TokenAnswer, identity: Identity, *, scopes: frozenset[str]) -> None:
        """Accept the token of this answer from now on, for `min(expires_in, 8 h)`.

        Raises:
            LoginError: 503, the store is full; the token would not be accepted and is not to be handed out.
        """
        now = self._now()
        accepted_seconds = min(answer.expires_in or MAX_ACCEPTED_SECONDS, MAX_ACCEPTED_SECONDS)
        record = _HandedOut(
            issuer=identity.issuer,
            subject=identity.subject,
            email_domain=identity.email_domain,
            scopes=tuple(sorted(scopes)),
            expires_at=None if answer.expires_in is None else now + answer.expires_in,
            accepted_until=now + accepted_seconds,
        )
        key = self._digest.of("access_token", answer.access_token)
        try:
            await self._put(key, record, ttl_seconds=accepted_seconds)
        except StoreFullError as error:
            raise LoginError(
                "Too many tokens are in use",
                status=503,
                why="The gateway remembers a limited number of tokens.",
                hint="Try again later.",
                retry_after_seconds=RETRY_WHEN_FULL_SECONDS,
            ) from error
        if answer.refresh_token is not None:
            await self._link(answer.refresh_token, record)

    async def find_by_refresh_token(self, refresh_token: str) -> Identity | None:
        """Whose login a refresh token belongs to, while that is remembered."""
        key = self._digest.of("refresh_token", refresh_token)
        record = self._read(key, await self._handed_out.get(key))
        if record is None:
            return None
        return Identity(issuer=record.issuer, subject=record.subject, email_domain=record.email_domain)

    async def _link(self, refresh_token: str, record: _HandedOut) -> None:
        key = self._digest.of("refresh_token", refresh_token)
        link = _HandedOut(
            record.issuer, record.subject, record.email_domain, accepted_until=self._now() + REFRESH_LINK_SECONDS
        )
        try:
            await self._put(key, link, ttl_seconds=REFRESH_LINK_SECONDS)
        except StoreFullError:
            # The refresh will work all the same; only the person's sessions are not found again after it.
            logger.warning("the store of handed-out tokens is full; a refresh token is not remembered")

    async def _put(self, key: str, record: _HandedOut, *, ttl_seconds: float) -> None:
        payload = msgspec.msgpack.encode(record)
        await self._handed_out.put(key, self._digest.seal(key, payload), ttl_seconds=ttl_seconds)

    def _read(self, key: str, sealed: bytes | None) -> _HandedOut | None:
        payload = self._digest.unseal(key, sealed)
        if payload is None:
            return None
        record = msgspec.msgpack.decode(payload, type=_HandedOut)
        # Who can write to the store could bring an old record back: its end is inside the seal.
        return record if self._now() < record.accepted_until else None
