"""Sealed text: what the gateway gives out, and reads again only if it wrote it itself, for the same purpose.

The form is `fmcp1.` and, in URL-safe base64 without padding, an id of the key (8 bytes), a nonce (12 bytes) and what
AES-256-GCM (NIST SP 800-38D) makes of the plaintext, its tag (16 bytes) last. Each purpose has a key of its own,
derived with HKDF-SHA256 (RFC 5869). The associated data are the purpose and the context, each with its length in
front. Nonces are random: one key may seal 2**32 texts for one purpose.

`seal_under` and `open_under` do the same with a secret that only the other side holds: what is kept here between its
requests cannot be read by anybody before the other side comes back.
"""

import base64
import binascii
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fluidmcp.config.environment import decode_seal_key
from fluidmcp.config.secret import Secret
from fluidmcp.errors import ConfigurationError

PREFIX: Final = "fmcp1."
MAX_PLAINTEXT_BYTES: Final = 64 * 1024

KEY_BYTES: Final = 32
_KEY_ID_BYTES: Final = 8
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_MIN_BYTES: Final = _KEY_ID_BYTES + _NONCE_BYTES + _TAG_BYTES
MAX_SEALED_CHARS: Final = len(PREFIX) + -(-(_MIN_BYTES + MAX_PLAINTEXT_BYTES) * 4 // 3)
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


class Sealer:
    """Seals with the first key and opens with any of them.

    `keys` are 32 random bytes in base64 each; without any, one is made that is gone with this object. `random_bytes`
    makes that key and the nonces.

    Raises:
        ConfigurationError: a key is not 32 bytes in base64. The message does not repeat it.
    """

    __slots__ = ("_keys", "_random_bytes", "_subkeys")

    def __init__(
        self, keys: Sequence[Secret] = (), *, random_bytes: Callable[[int], bytes] = secrets.token_bytes
    ) -> None:
        raw_keys = [_read_key(key) for key in keys] or [random_bytes(KEY_BYTES)]
        self._keys = {_derive(key, b"key id", _KEY_ID_BYTES): key for key in raw_keys}
        self._random_bytes = random_bytes
        self._subkeys: dict[tuple[bytes, str], AESGCM] = {}

    def __repr__(self) -> str:
        return f"Sealer({len(self._keys)} keys)"

    def seal(self, purpose: str, context: Sequence[str | bytes], plaintext: bytes) -> str:
        """Text that `open` turns back into `plaintext`, given the same purpose and context. It shows only the size.

        `purpose` is a constant of the code, and `context` says for whom and for what; "a" and b"a" in it are the same.

        Raises:
            ValueError: the plaintext has more than MAX_PLAINTEXT_BYTES.
        """
        return self._seal(purpose, _encode_context(purpose, context), plaintext)

    def open(self, purpose: str, context: Sequence[str | bytes], text: str) -> bytes | None:
        """The plaintext; None for everything that was not sealed with one of the keys for this purpose and context."""
        return self._open(purpose, _encode_context(purpose, context), text)

    def bind(self, purpose: str, context: Sequence[str | bytes]) -> "BoundSealer":
        """This sealer for one purpose and context: cheaper, where many texts have the same."""
        encoded = _encode_context(purpose, context)
        return BoundSealer(partial(self._seal, purpose, encoded), partial(self._open, purpose, encoded))

    def derive(self, purpose: str, context: Sequence[str | bytes]) -> tuple[bytes, ...]:
        """A key of 32 bytes from each key, in their order; every gateway with the same keys gets the same ones."""
        info = b"derived " + _encode_context(purpose, context)
        return tuple(_derive(key, info, KEY_BYTES) for key in self._keys.values())

    def _seal(self, purpose: str, context: bytes, plaintext: bytes) -> str:
        if len(plaintext) > MAX_PLAINTEXT_BYTES:
            raise ValueError(f"more than {MAX_PLAINTEXT_BYTES} bytes cannot be sealed")
        key_id = next(iter(self._keys))
        nonce = self._random_bytes(_NONCE_BYTES)
        ciphertext = self._subkey(key_id, purpose).encrypt(nonce, plaintext, context)
        return PREFIX + _encode_base64url(key_id + nonce + ciphertext)

    def _open(self, purpose: str, context: bytes, text: str) -> bytes | None:
        sealed = _decode(text)
        if sealed is None:
            return None
        key_id, rest = sealed[:_KEY_ID_BYTES], sealed[_KEY_ID_BYTES:]
        if key_id not in self._keys:
            return None
        nonce, ciphertext = rest[:_NONCE_BYTES], rest[_NONCE_BYTES:]
        try:
            return self._subkey(key_id, purpose).decrypt(nonce, ciphertext, context)
        except InvalidTag:
            return None

    def _subkey(self, key_id: bytes, purpose: str) -> AESGCM:
        subkey = self._subkeys.get((key_id, purpose))
        if subkey is None:
            info = b"seal " + purpose.encode()
            subkey = self._subkeys[key_id, purpose] = AESGCM(_derive(self._keys[key_id], info, KEY_BYTES))
        return subkey


@dataclass(frozen=True, slots=True)
class BoundSealer:
    """`Sealer.seal` and `Sealer.open` for one purpose and context."""

    seal: Callable[[bytes], str]
    open: Callable[[str], bytes | None]


def seal_under(
    secret: str,
    purpose: str,
    context: Sequence[str | bytes],
    plaintext: bytes,
    *,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> bytes:
    """What `open_under` turns back into `plaintext`, given the same secret, purpose and context.

    `secret` is text of at least 32 random bytes, which is forgotten here: a code, a cookie, a token.
    """
    nonce = random_bytes(_NONCE_BYTES)
    cipher = AESGCM(_derive(secret.encode(), b"held " + purpose.encode(), KEY_BYTES))
    return nonce + cipher.encrypt(nonce, plaintext, _encode_context(purpose, context))


def open_under(secret: str, purpose: str, context: Sequence[str | bytes], sealed: bytes) -> bytes | None:
    """The plaintext; None for what was not sealed under this secret, for this purpose and context."""
    cipher = AESGCM(_derive(secret.encode("utf-8", "surrogatepass"), b"held " + purpose.encode(), KEY_BYTES))
    try:
        return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _encode_context(purpose, context))
    except (InvalidTag, ValueError):
        return None


def _read_key(key: Secret) -> bytes:
    try:
        return decode_seal_key(key.reveal())
    except ValueError:
        # Without the cause, whose text could hold the key.
        raise ConfigurationError(
            "A key for sealing cannot be used.",
            why="It is not 32 bytes in base64.",
            hint="Make one with: openssl rand -base64 32",
        ) from None


def _derive(key: bytes, info: bytes, length: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=b"fluidmcp " + info).derive(key)


def _encode_context(purpose: str, context: Sequence[str | bytes]) -> bytes:
    """Unambiguous: no two different sequences have the same encoding."""
    pieces = bytearray(PREFIX.encode())
    for item in (purpose, *context):
        # A lone surrogate, which JSON from outside may hold, is text like any other.
        data = item.encode("utf-8", "surrogatepass") if isinstance(item, str) else item
        pieces += len(data).to_bytes(8, "big")
        pieces += data
    return bytes(pieces)


def _encode_base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _decode(text: str) -> bytes | None:
    """The bytes behind the prefix, if the text is exactly what their encoding would be."""
    if not text.startswith(PREFIX) or len(text) > MAX_SEALED_CHARS:
        return None
    encoded = text[len(PREFIX) :]
    if not _BASE64URL.fullmatch(encoded):
        return None
    try:
        data = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    except binascii.Error:
        return None
    # The last character may hold bits that belong to no byte: one sealed text has one spelling.
    rest = len(data) % 3
    is_canonical = rest == 0 or encoded.endswith(_encode_base64url(data[-rest:]))
    return data if len(data) >= _MIN_BYTES and is_canonical else None
