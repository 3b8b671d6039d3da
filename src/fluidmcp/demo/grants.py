"""What the development provider has handed out: codes, access tokens and refresh tokens, in memory and bounded.

Tokens are kept as SHA-256 digests only. Time comes from outside, in seconds since the epoch.
"""

import hashlib
import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

T = TypeVar("T")

CODE_LIFE_SECONDS: Final = 60.0
ACCESS_TOKEN_LIFE_SECONDS: Final = 3600.0
REFRESH_TOKEN_LIFE_SECONDS: Final = 24 * 3600.0
MAX_CODES: Final = 200
MAX_TOKENS: Final = 2000

_CODE_VERIFIER: Final = re.compile(r"[A-Za-z0-9\-._~]{43,128}")


class OAuthError(Exception):
    """An error answer of RFC 6749 section 5.2; both texts are the provider's own."""

    def __init__(self, code: str, description: str, *, status: int = 400) -> None:
        super().__init__(description)
        self.code = code
        self.description = description
        self.status = status


class ExpiringDict(Generic[T]):
    """Values that expire; when the store is full, the oldest one goes."""

    def __init__(self, *, max_entries: int, now: Callable[[], float]) -> None:
        self._max_entries = max_entries
        self._now = now
        self._entries: dict[str, tuple[float, T]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, key: str, value: T, *, life_seconds: float) -> None:
        now = self._now()
        self._entries.pop(key, None)
        if len(self._entries) >= self._max_entries:
            self._entries = {k: entry for k, entry in self._entries.items() if entry[0] > now}
        while len(self._entries) >= self._max_entries:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = (now + life_seconds, value)

    def get(self, key: str) -> T | None:
        entry = self._entries.get(key)
        return None if entry is None or entry[0] <= self._now() else entry[1]

    def take(self, key: str) -> T | None:
        """The value, removed."""
        value = self.get(key)
        self._entries.pop(key, None)
        return value

    def drop(self, matches: Callable[[T], bool]) -> None:
        self._entries = {key: entry for key, entry in self._entries.items() if not matches(entry[1])}


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What one person allowed one client to do; all tokens of one consent carry the same `id`."""

    id: str
    client_id: str
    subject: str
    scope: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken:
    grant: Grant
    issued_at: float
    expires_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPair:
    """The successful answer of the token endpoint (RFC 6749 section 5.1)."""

    access_token: str
    refresh_token: str
    expires_in: int
    scope: str


@dataclass(frozen=True, slots=True)
class _Code:
    grant: Grant
    redirect_uri: str
    code_challenge: str
    used: bool = False


@dataclass(frozen=True, slots=True)
class _RefreshToken:
    grant: Grant
    used: bool = False


def compute_code_challenge(code_verifier: str) -> str:
    """The S256 challenge of RFC 7636 section 4.2."""
    return urlsafe_b64encode(hashlib.sha256(code_verifier.encode("ascii")).digest()).rstrip(b"=").decode("ascii")


class GrantBook:
    """Issues, redeems, rotates and revokes; the only holder of the provider's token state."""

    def __init__(self, *, now: Callable[[], float]) -> None:
        self._now = now
        self._codes: ExpiringDict[_Code] = ExpiringDict(max_entries=MAX_CODES, now=now)
        self._access_tokens: ExpiringDict[AccessToken] = ExpiringDict(max_entries=MAX_TOKENS, now=now)
        self._refresh_tokens: ExpiringDict[_RefreshToken] = ExpiringDict(max_entries=MAX_TOKENS, now=now)

    def issue_code(self, *, client_id: str, subject: str, scope: str, redirect_uri: str, code_challenge: str) -> str:
        """A new authorization code, good for one exchange within 60 seconds."""
        code = secrets.token_urlsafe(32)
        grant = Grant(id=secrets.token_hex(16), client_id=client_id, subject=subject, scope=scope)
        self._codes.put(_digest(code), _Code(grant, redirect_uri, code_challenge), life_seconds=CODE_LIFE_SECONDS)
        return code

    def redeem_code(self, code: str, *, client_id: str, redirect_uri: str, code_verifier: str) -> TokenPair:
        """Exchange a code for tokens (RFC 6749 section 4.1.3, RFC 7636 section 4.6).

        A code that comes a second time revokes what the first exchange gave (RFC 6749 section 4.1.2); any other
        mistake uses the code up as well.

        Raises:
            OAuthError: `invalid_grant`, whatever was wrong, so that nobody can probe which part was right.
        """
        record = self._codes.take(_digest(code))
        if record is not None and record.used:
            self._revoke(record.grant.id)
        refused = OAuthError("invalid_grant", "The code is unknown, used, expired, or belongs to another request.")
        if record is None or record.used:
            raise refused
        used = _Code(record.grant, record.redirect_uri, record.code_challenge, used=True)
        self._codes.put(_digest(code), used, life_seconds=CODE_LIFE_SECONDS)
        if not _CODE_VERIFIER.fullmatch(code_verifier):
            raise refused
        matches = (
            hmac.compare_digest(compute_code_challenge(code_verifier).encode(), record.code_challenge.encode()),
            hmac.compare_digest(redirect_uri.encode(), record.redirect_uri.encode()),
            hmac.compare_digest(client_id.encode(), record.grant.client_id.encode()),
        )
        if not all(matches):
            raise refused
        return self._issue_tokens(record.grant)

    def refresh(self, refresh_token: str, *, client_id: str) -> TokenPair:
        """Exchange a refresh token for new tokens; it is used up, and its reuse revokes the whole grant.

        Raises:
            OAuthError: `invalid_grant`.
        """
        key = _digest(refresh_token)
        record = self._refresh_tokens.get(key)
        if record is None or record.grant.client_id != client_id:
            raise OAuthError("invalid_grant", "The refresh token is unknown or expired.")
        if record.used:
            self._revoke(record.grant.id)
            raise OAuthError("invalid_grant", "The refresh token was used before; please sign in again.")
        self._refresh_tokens.put(key, _RefreshToken(record.grant, True), life_seconds=REFRESH_TOKEN_LIFE_SECONDS)
        return self._issue_tokens(record.grant)

    def find_access_token(self, token: str) -> AccessToken | None:
        """What a live access token stands for."""
        return self._access_tokens.get(_digest(token))

    def revoke_token(self, token: str, *, client_id: str) -> None:
        """Revoke the grant of an access or refresh token; unknown ones are ignored (RFC 7009 section 2.2)."""
        record = self._access_tokens.get(_digest(token)) or self._refresh_tokens.get(_digest(token))
        if record is not None and record.grant.client_id == client_id:
            self._revoke(record.grant.id)

    def _issue_tokens(self, grant: Grant) -> TokenPair:
        now = self._now()
        access_token, refresh_token = f"demo.{secrets.token_urlsafe(32)}", f"demo-refresh.{secrets.token_urlsafe(32)}"
        access = AccessToken(grant=grant, issued_at=now, expires_at=now + ACCESS_TOKEN_LIFE_SECONDS)
        self._access_tokens.put(_digest(access_token), access, life_seconds=ACCESS_TOKEN_LIFE_SECONDS)
        self._refresh_tokens.put(_digest(refresh_token), _RefreshToken(grant), life_seconds=REFRESH_TOKEN_LIFE_SECONDS)
        return TokenPair(
            access_token=access_token,
            refresh_token=refresh_token,
            expires_in=int(ACCESS_TOKEN_LIFE_SECONDS),
            scope=grant.scope,
        )

    def _revoke(self, grant_id: str) -> None:
        self._access_tokens.drop(lambda token: token.grant.id == grant_id)
        self._refresh_tokens.drop(lambda token: token.grant.id == grant_id)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
