"""Building objects out of their members, each name once. Pure."""

from typing import Any


class DuplicateKeyError(ValueError):
    """A key stands twice in one object."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object out of its members in their order; raises DuplicateKeyError."""
    value: dict[str, Any] = {}
    for key, item in pairs:
        if key in value:
            raise DuplicateKeyError(key)
        value[key] = item
    return value
