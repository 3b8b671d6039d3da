"""Authorization codes: 32 random bytes, good once, for a minute, for one client, one redirect URI and one verifier.

The store holds the digest of a code, with what it stands for encrypted under a key that is derived from the code
itself: whoever reads the store, or writes to it, learns and redeems nothing.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from typing import Final

import msgspec

from fluidmcp.authorization_server.grant import Grants, UpstreamGrant
from fluidmcp.crypto.sealing import open_under, seal_under
from fluidmcp.errors import OAuthError, StoreUnavailableError
from fluidmcp.oauth_client.pkce import code_challenge_s256, create_code_verifier
from fluidmcp.store.memory import Store, StoreFullError

CODE_SECONDS: Final = 60
REPLAY_MEMORY_SECONDS: Final = 600
"""How long a redeemed code is remembered, so that a second try ends the grant (RFC 6749 section 4.1.2)."""

_PURPOSE: Final = "authorization code"
_CODE: Final = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_VERIFIER: Final = re.compile(r"[A-Za-z0-9\-._~]{43,128}", re.ASCII)


class CodeGrant(msgspec.Struct, frozen=True, array_like=True):
    """What a code stands for."""

    client_id: str
    redirect_uri: str
    is_redirect_required: bool
    """Whether the authorization request named it: then the token request has to (RFC 6749 section 4.1.3)."""
    code_challenge: str
    scopes: tuple[str, ...]
    expires_at: float
    grant_id: bytes
    gateway: UpstreamGrant | None
    package: dict[str, UpstreamGrant]

    def __repr__(self) -> str:
        return f"CodeGrant(expires_at={self.expires_at})"

    @property
    def grants(self) -> Grants:
        return Grants(self.gateway, self.package)


class _Redeemed(msgspec.Struct, frozen=True, array_like=True, tag="redeemed"):
    grant_id: bytes


class _Waiting(msgspec.Struct, frozen=True, array_like=True, tag="waiting"):
    sealed: bytes


class CodeReplayedError(Exception):
    """The code was redeemed before: the grant that came of it is to be revoked."""

    def __init__(self, grant_id: bytes) -> None:
        super().__init__("an authorization code came twice")
        self.grant_id = grant_id


class AuthorizationCodes:
    """The codes of one package; `context` is what they are bound to."""

    def __init__(
        self,
        store: Store,
        context: tuple[str, ...],
        *,
        now: Callable[[], float],
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._store = store
        self._context = context
        self._now = now
        self._random_bytes = random_bytes

    async def issue(self, grant: CodeGrant) -> str:
        """A code for a login that is complete. Raises OAuthError, `temporarily_unavailable`: too many are waiting."""
        code = create_code_verifier(self._random_bytes)  # 32 random bytes as 43 characters
        sealed = seal_under(code, _PURPOSE, self._context, msgspec.msgpack.encode(grant))
        record = msgspec.msgpack.encode(_Waiting(sealed))
        try:
            await self._store.put(_key(code), record, ttl_seconds=CODE_SECONDS)
        except StoreFullError as error:
            raise OAuthError("temporarily_unavailable", "Too many logins are under way.", status=503) from error
        return code

    async def redeem(self, code: str, *, client_id: str, redirect_uri: str | None, code_verifier: str) -> CodeGrant:
        """What the code stands for. If several callers redeem it at once, one of them gets it.

        A caller with a wrong client id, redirect URI or verifier does not use the code up for the right one.

        Raises:
            OAuthError: `invalid_grant`.
            CodeReplayedError: it was redeemed before.
        """
        key = _key(code)
        record = _decode(await self._store.get(key)) if _CODE.fullmatch(code) else None
        if isinstance(record, _Redeemed):
            raise CodeReplayedError(record.grant_id)
        opened = None if record is None else open_under(code, _PURPOSE, self._context, record.sealed)
        if opened is None:
            raise _refused("It is unknown, or older than a minute.")
        grant = msgspec.msgpack.decode(opened, type=CodeGrant)
        self._check(grant, client_id=client_id, redirect_uri=redirect_uri, code_verifier=code_verifier)
        if not isinstance(_decode(await self._store.take(key)), _Waiting):
            raise CodeReplayedError(grant.grant_id)
        try:
            await self._store.put(
                key, msgspec.msgpack.encode(_Redeemed(grant.grant_id)), ttl_seconds=REPLAY_MEMORY_SECONDS
            )
        except (StoreFullError, StoreUnavailableError):
            # The code is gone all the same, and would not be good again; only a second try will not end the grant.
            pass
        return grant

    def _check(self, grant: CodeGrant, *, client_id: str, redirect_uri: str | None, code_verifier: str) -> None:
        if self._now() >= grant.expires_at:
            raise _refused("It is older than a minute.")
        if not _is_same(grant.client_id, client_id):
            raise _refused("It was made for another client.")
        if redirect_uri is None and grant.is_redirect_required:
            raise _refused("redirect_uri is missing.")
        if redirect_uri is not None and not _is_same(grant.redirect_uri, redirect_uri):
            raise _refused("It was sent to another redirect_uri.")
        is_verifier = _VERIFIER.fullmatch(code_verifier) is not None
        if not is_verifier or not _is_same(code_challenge_s256(code_verifier), grant.code_challenge):
            # RFC 7636 section 4.6
            raise _refused("code_verifier does not fit the code_challenge.")


def _decode(record: bytes | None) -> _Waiting | _Redeemed | None:
    return None if record is None else msgspec.msgpack.decode(record, type=_Waiting | _Redeemed)


def _is_same(expected: str, given: str) -> bool:
    return hmac.compare_digest(expected.encode(), given.encode("utf-8", "surrogatepass"))


def _key(code: str) -> str:
    return hashlib.sha256(b"code " + code.encode("utf-8", "surrogatepass")).hexdigest()


def _refused(why: str) -> OAuthError:
    return OAuthError("invalid_grant", "The authorization code is not good.", why=why, hint="Begin the login again.")
