"""Where a gateway stands on its host: the path of its public URL, in front of every path of its own.

It is taken off once, at the door, from the path as it came: behind that nobody knows it, but who writes addresses.
"""

from typing import Final

from fluidmcp.authorization_server.metadata import AUTHORIZATION_SERVER, OPENID_CONFIGURATION, PROTECTED_RESOURCE
from fluidmcp.gateway.health import HEALTH_PATH, READY_PATH

_INSERTED: Final = (PROTECTED_RESOURCE, AUTHORIZATION_SERVER, OPENID_CONFIGURATION)
"""Documents at the root of the host, with the path behind the well-known one (RFC 8414 and 9728, section 3.1)."""


class BasePath:
    """`base` is the path of the public URL, without a slash at its end; empty at the root of a host."""

    def __init__(self, base: str) -> None:
        self.base = base

    def take_off(self, path: str) -> str | None:
        """The path of our own that a request means; None for what is not ours.

        `/health` and `/ready` answer without the base too: who probes a gateway does not come through its proxy.
        """
        base = self.base
        if not base or path in (HEALTH_PATH, READY_PATH):
            return path
        own = _behind(base, path)
        if own is not None:
            return own or "/"
        for document in _INSERTED:
            inserted = _behind(document, path)
            if inserted is not None:
                rest = _behind(base, inserted)
                return None if rest is None else document + rest
        return None


def _behind(prefix: str, path: str) -> str | None:
    """What follows whole segments of a path: empty, or with a slash; None for another path."""
    rest = path.removeprefix(prefix)
    return rest if len(rest) < len(path) and rest[:1] in ("", "/") else None
