"""The tokens that MCP clients hold: sealed, so that the gateway keeps none of them.

An access token holds who logged in and what processes of that person are given; a refresh token holds what a renewal
needs. Both are bound to the package, the public address and the configuration of the logins, a refresh token to its
client too: when any of these changes, they no longer open. Keys of `FMCP_SEAL_KEYS` seal and open them.
"""

import hashlib
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec

from fluidmcp.authentication.person import Held, Person
from fluidmcp.authorization_server.grant import Grants, UpstreamGrant
from fluidmcp.crypto.sealing import Sealer
from fluidmcp.errors import OAuthError

MAX_ACCESS_TOKEN_CHARACTERS: Final = 4096
"""Tokens travel in a header: proxies and servers take 8 kB for all headers together, some only 4 kB for one."""
MAX_REFRESH_TOKEN_CHARACTERS: Final = 16 * 1024
T = TypeVar("T")

ALLOWANCE_SECONDS: Final = 30
"""How much earlier a token ends for its client than here, or a quarter of its life: answers take time, and some clients
renew by their own clock only, and begin a new login when they are refused (the Python SDKs)."""
GRANT_ID_BYTES: Final = 16

_ACCESS: Final = "access token"
_REFRESH: Final = "refresh token"
_PLAIN: Final = b"\0"
_DEFLATED: Final = b"\1"
_DEFLATE_FROM_BYTES: Final = 2200
"""Longer ones are deflated: a JWT is base64 and becomes a quarter shorter. Shorter ones are opened a little sooner."""
_MAX_INFLATED_BYTES: Final = 32 * 1024


class SealedAccess(msgspec.Struct, frozen=True, array_like=True):
    """What an access token holds. Times are in seconds since the epoch."""

    grant_id: bytes
    client: str
    """Which MCP client got it: a digest of its id."""
    expires_at: int
    gateway: Person | None
    package: Held = ()
    """What the package's logins gave."""
    begun_at: float = 0.0
    """When the login ended from which it is; a renewal does not change it."""

    def __repr__(self) -> str:
        return f"SealedAccess(expires_at={self.expires_at})"


class SealedRefresh(msgspec.Struct, frozen=True, array_like=True):
    """What a refresh token holds. `generation` counts the renewals of the grant, which ends for good at `ends_at`."""

    grant_id: bytes
    generation: int
    ends_at: int
    scopes: tuple[str, ...]
    gateway: UpstreamGrant | None
    package: dict[str, UpstreamGrant]
    begun_at: float = 0.0
    """As that of the access token."""

    def __repr__(self) -> str:
        return f"SealedRefresh(generation={self.generation})"

    @property
    def grants(self) -> Grants:
        return Grants(self.gateway, self.package)


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedTokens:
    """A token response (RFC 6749 section 5.1). `expires_in` is in seconds."""

    access_token: str
    refresh_token: str | None
    expires_in: int
    scopes: tuple[str, ...]

    def __repr__(self) -> str:
        return f"IssuedTokens(expires_in={self.expires_in})"

    def as_document(self) -> dict[str, str | int]:
        document: dict[str, str | int] = {
            "access_token": self.access_token,
            "token_type": "Bearer",
            "expires_in": self.expires_in,
        }
        if self.refresh_token is not None:
            document["refresh_token"] = self.refresh_token
        document["scope"] = " ".join(self.scopes)
        return document

    def as_token_data(self) -> dict[str, str | int | None]:
        """The documented `token_data` of a login in the browser: always these five keys."""
        return {
            "access_token": self.access_token,
            "refresh_token": self.refresh_token,
            "expires_in": self.expires_in,
            "token_type": "Bearer",
            "scope": " ".join(self.scopes) or None,
        }


class TokenSealer:
    """Seals and opens the tokens of one package; `context` is what they are bound to."""

    def __init__(self, sealer: Sealer, context: tuple[str, ...], *, now: Callable[[], float]) -> None:
        self._sealer = sealer
        self._context = context
        # Opened at each request.
        self._access = sealer.bind(_ACCESS, context)
        self._now = now

    def issue(
        self,
        grants: Grants,
        *,
        client_id: str,
        grant_id: bytes,
        generation: int,
        begun_at: float,
        ends_at: int,
        scopes: tuple[str, ...],
    ) -> IssuedTokens:
        """The tokens of a login or a renewal. Without a refresh token where a provider gave nothing to renew.

        Raises:
            OAuthError: `server_error`, the provider's token is too long, or as good as over.
        """
        now = self._now()
        life_seconds = min(grants.life_seconds(now), int(ends_at - now))
        expires_in = life_seconds - max(1, min(ALLOWANCE_SECONDS, life_seconds // 4))
        if expires_in < 1:
            raise OAuthError("server_error", "The provider's token ends before it could be used.", status=502)
        access = SealedAccess(
            grant_id=grant_id,
            client=client_digest(client_id),
            # Rounded up: part of a second would be much of a short life. All ends are whole seconds, and the life was
            # rounded down, so this is no later than any of them.
            expires_at=math.ceil(now + life_seconds),
            gateway=None if grants.gateway is None else grants.gateway.person,
            package=tuple(grant.held(name) for name, grant in grants.package.items()),
            begun_at=begun_at,
        )
        sealed = self._access.seal(_pack(access, "an access token"))
        if len(sealed) > MAX_ACCESS_TOKEN_CHARACTERS:
            raise _too_long("an access token", f"Sealed it has {len(sealed)} characters", MAX_ACCESS_TOKEN_CHARACTERS)
        gateway = None if grants.gateway is None else grants.gateway.without_access_token()
        package = {name: grant.without_access_token() for name, grant in grants.package.items()}
        refresh = SealedRefresh(grant_id, generation, ends_at, scopes, gateway, package, begun_at)
        return IssuedTokens(
            access_token=sealed,
            refresh_token=self._seal_refresh(refresh, client_id) if grants.is_renewable else None,
            expires_in=expires_in,
            scopes=scopes,
        )

    def _seal_refresh(self, refresh: SealedRefresh, client_id: str) -> str:
        sealed = self._sealer.seal(_REFRESH, (*self._context, client_id), _pack(refresh, "a refresh token"))
        if len(sealed) > MAX_REFRESH_TOKEN_CHARACTERS:
            raise _too_long("a refresh token", f"Sealed it has {len(sealed)} characters", MAX_REFRESH_TOKEN_CHARACTERS)
        return sealed

    def open_access(self, token: str) -> SealedAccess | None:
        """What an access token holds; None for one that is not ours, not for here, or over."""
        if len(token) > MAX_ACCESS_TOKEN_CHARACTERS:
            return None
        opened = _unpack(self._access.open(token), SealedAccess)
        return opened if opened is not None and self._now() < opened.expires_at else None

    def open_refresh(self, token: str, *, client_id: str) -> SealedRefresh | None:
        """What a refresh token of this client holds; None for every other text."""
        if len(token) > MAX_REFRESH_TOKEN_CHARACTERS:
            return None
        opened = _unpack(self._sealer.open(_REFRESH, (*self._context, client_id), token), SealedRefresh)
        return opened if opened is not None and self._now() < opened.ends_at else None


def _pack(content: msgspec.Struct, what: str) -> bytes:
    encoded = msgspec.msgpack.encode(content)
    if len(encoded) > _MAX_INFLATED_BYTES:
        raise _too_long(what, f"What goes into it has {len(encoded)} bytes", _MAX_INFLATED_BYTES)
    return _PLAIN + encoded if len(encoded) < _DEFLATE_FROM_BYTES else _DEFLATED + zlib.compress(encoded)


def _unpack(packed: bytes | None, kind: type[T]) -> T | None:
    if packed is None:
        return None
    encoded = packed[1:]
    if packed[:1] == _DEFLATED:
        # Only what was sealed here comes as far as this, and nothing larger is sealed.
        encoded = zlib.decompressobj().decompress(encoded, _MAX_INFLATED_BYTES)
    try:
        return msgspec.msgpack.decode(encoded, type=kind)
    except msgspec.DecodeError:
        # Sealed with the same key by another version of this program.
        return None


def client_digest(client_id: str) -> str:
    """What stands for a client in tokens and in the owner of sessions: client ids are long."""
    return hashlib.sha256(client_id.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _too_long(what: str, size: str, most: int) -> OAuthError:
    return OAuthError(
        "server_error",
        f"The provider's token is too long for {what} of this gateway.",
        status=502,
        why=f"{size}; {most} are the most.",
        hint="Ask for fewer scopes or groups, so that the provider's tokens are shorter, or for fewer logins.",
    )
