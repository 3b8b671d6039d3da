"""The revisions of the Model Context Protocol, by the date that names them."""

from typing import Final

HANDSHAKE_VERSIONS: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
"""Revisions that begin with `initialize`, oldest first."""

LATEST_HANDSHAKE_VERSION: Final = HANDSHAKE_VERSIONS[-1]

BATCH_VERSION: Final = "2025-03-26"
"""The one revision with batches of messages."""

ASSUMED_VERSION: Final = "2025-03-26"
"""What a client that names no revision is taken to speak (2025-11-25, "Protocol Version Header")."""

STATELESS_VERSIONS: Final = ("2026-07-28",)
"""Revisions without a handshake, whose requests carry their version in `_meta`."""

PRIMING_SINCE: Final = "2025-11-25"
"""Older clients fail on an event without data, which begins a stream that can be resumed."""
