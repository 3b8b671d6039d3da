"""What is worth stealing: random texts, and what an attacker is told of them."""

import base64
import hashlib
import secrets
from dataclasses import dataclass

PREFIX_CHARACTERS = 12


@dataclass(frozen=True, slots=True)
class Loot:
    """A text that nothing but chance makes a second time."""

    name: str
    value: str

    def as_marker(self) -> dict[str, str | int]:
        """Enough to know it when it is seen, not enough to have it: its first characters, length and SHA-256."""
        return {
            "name": self.name,
            "prefix": self.value[:PREFIX_CHARACTERS],
            "length": len(self.value),
            "sha256": hashlib.sha256(self.value.encode()).hexdigest(),
        }


def make_loot(name: str) -> Loot:
    return Loot(name, secrets.token_hex(24))


def make_key_loot(name: str) -> Loot:
    """32 random bytes in base64, as a key for sealing has to be."""
    return Loot(name, base64.b64encode(secrets.token_bytes(32)).decode())
