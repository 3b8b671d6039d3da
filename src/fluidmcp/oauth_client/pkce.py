"""Proof Key for Code Exchange (RFC 7636), S256 only. Pure module: no I/O, and the randomness can be passed in."""

import base64
import hashlib
import secrets
from collections.abc import Callable

VERIFIER_BYTES = 32


def create_code_verifier(random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> str:
    """A fresh `code_verifier`: 32 random bytes in base64url without padding, 43 characters (RFC 7636 section 4.1)."""
    return _base64url(random_bytes(VERIFIER_BYTES))


def code_challenge_s256(code_verifier: str) -> str:
    """The `code_challenge` of a verifier for `code_challenge_method=S256` (RFC 7636 section 4.2)."""
    return _base64url(hashlib.sha256(code_verifier.encode("ascii")).digest())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
