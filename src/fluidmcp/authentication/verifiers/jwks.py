"""The public keys of one issuer (RFC 7517), fetched when they are needed and never more often than the cooldown allows.

Many requests wait for one fetch. Keys are refetched when they are older than their time to live, and once per cooldown
when a token names a key that is not among them. While the endpoint fails, the keys of the last good answer keep
working for a bounded time.
"""

import asyncio
import base64
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, cast

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeyParameters, OKPKey, RSAKey

from fluidmcp.errors import ProviderAnswerError, ProviderUnavailableError
from fluidmcp.oauth_client.fetch import Fetcher

TTL_SECONDS = 300.0
COOLDOWN_SECONDS = 30.0
"""The least time between two fetches, after failures too, whatever tokens come."""
MAX_STALE_SECONDS = 3600.0
"""How old keys may become while the endpoint does not answer."""
REFRESH_WAIT_SECONDS = 2.0
"""How long a request that has usable, but old keys waits for new ones."""
MAX_KEYS = 100
MIN_RSA_BITS = 2048

PublicKey = RSAKey | ECKey | OKPKey
_KeyKind = Literal["RSA", "EC", "OKP"]

# RFC 7518 section 3.1, RFC 8037 section 3.1. Symmetric algorithms and "none" have no row: whoever can verify
# such a signature could forge one.
_KINDS: Mapping[str, tuple[_KeyKind, str | None]] = MappingProxyType(
    {
        "RS256": ("RSA", None),
        "RS384": ("RSA", None),
        "RS512": ("RSA", None),
        "PS256": ("RSA", None),
        "PS384": ("RSA", None),
        "PS512": ("RSA", None),
        "ES256": ("EC", "P-256"),
        "ES384": ("EC", "P-384"),
        "ES512": ("EC", "P-521"),
        "Ed25519": ("OKP", "Ed25519"),
        "EdDSA": ("OKP", "Ed25519"),
    }
)
ALGORITHMS = frozenset(_KINDS)
"""The signature algorithms that a token may use; all of them are asymmetric."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationKey:
    """One key of a key set that may verify signatures."""

    kid: str | None
    kind: _KeyKind
    curve: str | None
    algorithm: str | None
    """The only algorithm that the key is for, where the set says so."""
    issuer: str | None
    """The issuer that the key speaks for, where one key set serves several (Entra ID); may be a template."""
    key: PublicKey

    def fits(self, algorithm: str) -> bool:
        kind, curve = _KINDS[algorithm]
        return self.kind == kind and curve in (None, self.curve) and self.algorithm in (None, algorithm)


class JwksCache:
    """The keys behind one `jwks_uri`. `find_uri` says where they are, and is asked again before each fetch."""

    def __init__(self, find_uri: Callable[[], Awaitable[str]], *, fetcher: Fetcher, now: Callable[[], float]) -> None:
        self._find_uri = find_uri
        self._fetcher = fetcher
        self._now = now
        self._keys: Sequence[VerificationKey] | None = None
        self._fetched_at = 0.0
        self._tried_at: float | None = None
        self._has_failed = False
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, kid: str | None, algorithm: str) -> VerificationKey | None:
        """The key that a token names, None when the issuer has no such key. `algorithm` is one of ALGORITHMS.

        A token without `kid` gets the only key that fits its algorithm.

        Raises:
            ProviderUnavailableError: the keys cannot be had, or whether there is a newer one cannot be known now.
        """
        if not self._is_younger_than(TTL_SECONDS):
            await self._refresh(wait_seconds=REFRESH_WAIT_SECONDS if self._is_younger_than(MAX_STALE_SECONDS) else None)
        if not self._is_younger_than(MAX_STALE_SECONDS):
            raise _unavailable()
        key = self._choose(kid, algorithm)
        if key is None and kid is not None:
            await self._refresh(wait_seconds=None)
            key = self._choose(kid, algorithm)
            if key is None and self._has_failed:
                raise _unavailable()
        return key

    def _is_younger_than(self, seconds: float) -> bool:
        return self._keys is not None and 0 <= self._now() - self._fetched_at < seconds

    def _choose(self, kid: str | None, algorithm: str) -> VerificationKey | None:
        fitting = [key for key in self._keys or () if key.fits(algorithm)]
        if kid is None:
            return fitting[0] if len(fitting) == 1 else None
        return next((key for key in fitting if key.kid == kid), None)

    async def _refresh(self, *, wait_seconds: float | None) -> None:
        """Fetch once for everybody who asks meanwhile, unless the last try was a moment ago."""
        if self._fetching is None:
            now = self._now()
            if self._tried_at is not None and 0 <= now - self._tried_at < COOLDOWN_SECONDS:
                return
            self._tried_at = now
            self._fetching = asyncio.create_task(self._fetch())
            self._fetching.add_done_callback(self._forget_task)
        # A caller that goes away, or has waited long enough, does not end the fetch of the others.
        await asyncio.wait((self._fetching,), timeout=wait_seconds)

    def _forget_task(self, _task: asyncio.Task[None]) -> None:
        self._fetching = None

    async def _fetch(self) -> None:
        self._has_failed = True
        try:
            answer = await self._fetcher.get(await self._find_uri())
            if answer.status != 200:
                raise ProviderAnswerError(f"HTTP {answer.status}")
            keys = read_key_set(answer.body)
        except (ProviderAnswerError, ProviderUnavailableError) as error:
            logger.warning("the signing keys of the issuer cannot be fetched: %s", error.why or error.what)
            return
        self._keys = keys
        self._fetched_at = self._now()
        self._has_failed = False


def read_key_set(body: bytes) -> tuple[VerificationKey, ...]:
    """The keys of a JWK Set (RFC 7517 section 5) that may verify signatures; others are passed over.

    Raises:
        ProviderAnswerError: it is no JWK Set.
    """
    try:
        document: object = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProviderAnswerError("The key set cannot be read", why="It is not JSON.") from error
    keys = cast("dict[str, object]", document).get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list):
        raise ProviderAnswerError("The key set cannot be read", why='It has no list "keys".')
    read = (_read_key(cast("dict[str, object]", key)) for key in cast("list[object]", keys)[:MAX_KEYS] if _is_dict(key))
    return tuple(key for key in read if key is not None)


def _is_dict(value: object) -> bool:
    return isinstance(value, dict)


def _read_key(members: Mapping[str, object]) -> VerificationKey | None:
    """One JWK, or None when it is not for verifying signatures, not understood, too weak or broken."""
    kind = members.get("kty")
    operations = members.get("key_ops")
    if kind not in ("RSA", "EC", "OKP") or members.get("use", "sig") != "sig":
        return None
    if operations is not None and not (isinstance(operations, list) and "verify" in operations):
        return None
    # Keep only the members of the public key: drop certificates, and private members of a careless provider.
    public = {name: members[name] for name in ("kty", "n", "e", "crv", "x", "y") if isinstance(members.get(name), str)}
    try:
        if kind == "RSA" and _count_bits(public["n"]) < MIN_RSA_BITS:
            return None
        key = _import(kind, cast("KeyParameters", public))
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    return VerificationKey(
        kid=_text(members.get("kid")),
        kind=kind,
        curve=_text(members.get("crv")),
        algorithm=_text(members.get("alg")),
        issuer=_text(members.get("issuer")),
        key=key,
    )


def _import(kind: _KeyKind, public: KeyParameters) -> PublicKey:
    classes: dict[_KeyKind, type[PublicKey]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}
    return classes[kind].import_key(cast("dict[str, str]", public))  # type: ignore[return-value]


def _count_bits(modulus: object) -> int:
    """The length of a base64url number. Raises ValueError, TypeError when it is none."""
    text = cast("str", modulus)
    return int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), "big").bit_length()


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _unavailable() -> ProviderUnavailableError:
    return ProviderUnavailableError(
        "The token cannot be checked now",
        why="The signing keys of its issuer cannot be fetched.",
        hint="Try again in a moment; if it stays, tell the operator.",
    )
