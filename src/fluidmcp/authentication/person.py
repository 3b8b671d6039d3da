"""Who logged in, and what the logins gave: what flows from the guards to the processes of that person."""

from typing import TypeAlias

import msgspec


class Person(msgspec.Struct, frozen=True, array_like=True):
    """Somebody who logged in, with the scopes that the provider granted. Holds no token."""

    issuer: str
    subject: str
    email_domain: str | None = None
    scopes: tuple[str, ...] = ()
    name: str | None = None
    """As `Principal.name`."""


class HeldLogin(msgspec.Struct, frozen=True, array_like=True):
    """What one login of a package gave. Times are in seconds since the epoch."""

    name: str
    """Of the login, in the package; "" for its only one."""
    person: Person
    access_token: str
    """The provider's; "" where the person typed keys."""
    expires_at: int | None = None
    values: dict[str, str] = {}
    """What else processes may be given: members of the token answer by their placeholders (`id_token`,
    `extra.instance_url`), `email`, or keys by their names."""

    def __repr__(self) -> str:
        return f"HeldLogin(name={self.name!r}, expires_at={self.expires_at})"


Held: TypeAlias = tuple[HeldLogin, ...]
"""What a caller's logins gave, in the order of the package; empty where it has none."""
