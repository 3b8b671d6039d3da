"""The revisions of the Model Context Protocol, by the date that names them."""

from typing import Final

HANDSHAKE_VERSIONS: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
"""Revisions that begin with `initialize`, oldest first."""

LATEST_HANDSHAKE_VERSION: Final = HANDSHAKE_VERSIONS[-1]

STATELESS_VERSIONS: Final = ("2026-07-28",)
"""Revisions without a handshake, whose requests carry their version in `_meta`."""
