"""Keyed digests: the only trace that a token, a state or a cookie may leave in a store, a key or a record.

Every digest is HMAC-SHA256 over the purpose, the package, the whole auth block with its resolved client id, and the
text itself. Each part is preceded by its length, so no two different inputs are ever encoded alike.
"""

import dataclasses
import hashlib
import hmac
from typing import TYPE_CHECKING, Literal, get_args

import msgspec

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Purpose = Literal["access_token", "refresh_token", "pending_login", "cookie", "record"]

MIN_KEY_BYTES = 32
_MAX_KNOWN_PEOPLE = 4096
_TAG_BYTES = hashlib.sha256().digest_size


class PackageDigest:
    """The digests of one package. The key is random bytes that never leave the gateway.

    `block` is its auth block, or what else describes its provider.
    """

    def __init__(self, key: bytes, *, package: str, block: "DataclassInstance", client_id: str) -> None:
        if len(key) < MIN_KEY_BYTES:
            raise ValueError("a digest key has at least 32 bytes")
        # Part by part, so that a token of yesterday's auth block is not a token of today's.
        described = _describe(block, client_id)
        self._begun = {
            purpose: hmac.new(key, _parts(purpose.encode(), package.encode(), described), hashlib.sha256)
            for purpose in get_args(Purpose)
        }

    def of(self, purpose: Purpose, text: str) -> str:
        """The digest of the whole text, in hexadecimal. One HMAC: cheap enough for each request."""
        return self._digest(purpose, text.encode("utf-8", "surrogatepass")).hex()

    def seal(self, key: str, payload: bytes) -> bytes:
        """The payload with a tag that binds it to its key: who can write to the store still cannot forge or move it."""
        return self._digest("record", _parts(key.encode(), payload)) + payload

    def unseal(self, key: str, sealed: bytes | None) -> bytes | None:
        """The payload, or None when it was not sealed by this package under this key."""
        if sealed is None:
            return None
        tag, payload = sealed[:_TAG_BYTES], sealed[_TAG_BYTES:]
        return payload if hmac.compare_digest(tag, self._digest("record", _parts(key.encode(), payload))) else None

    def _digest(self, purpose: Purpose, data: bytes) -> bytes:
        digest = self._begun[purpose].copy()
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
        return digest.digest()


class PersonDigest:
    """Names people in what others read: the same person, the same name, and no way back without the key.

    The key is what keeps a list of addresses from being tried; it never leaves the gateway.
    """

    def __init__(self, key: bytes) -> None:
        """Raises ValueError: the key has fewer than 32 bytes."""
        if len(key) < MIN_KEY_BYTES:
            raise ValueError("a digest key has at least 32 bytes")
        self._key = key
        self._known: dict[tuple[str, str], str] = {}

    def of(self, issuer: str, subject: str) -> str:
        """16 hexadecimal characters: enough to tell the people of one gateway apart."""
        known = self._known.get((issuer, subject))
        if known is None:
            if len(self._known) >= _MAX_KNOWN_PEOPLE:
                self._known.clear()
            parts = _parts(b"person", *(part.encode("utf-8", "surrogatepass") for part in (issuer, subject)))
            known = self._known[issuer, subject] = hmac.digest(self._key, parts, "sha256")[:8].hex()
        return known


def fingerprint(block: "DataclassInstance", client_id: str) -> str:
    """An unkeyed digest of a provider's configuration: a restart keeps it, a change of the configuration does not."""
    return hashlib.sha256(_describe(block, client_id)).hexdigest()


def _describe(block: "DataclassInstance", client_id: str) -> bytes:
    return msgspec.json.encode([*sorted(dataclasses.asdict(block).items()), ["client id", client_id]])


def _parts(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)
