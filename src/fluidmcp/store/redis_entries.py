"""What the entries of one store are called in Redis, and how their values are sealed. Pure: no I/O.

A name is `fmcp1:{STORE}:` and an HMAC-SHA256 (in hexadecimal) of the kind of entry and its key: whoever reads Redis
learns how many entries there are, and cannot find the one of a key that they guess. A value is sealed (crypto/sealing)
together with its end, bound to the store, the public address and the key: whoever writes to Redis can drop it or bring
an old one back until its end, never read, change or move it.

The braces keep the entries of one store together in one slot of a cluster, as scripts need them.

There is a name for each key for sealing, and all of them stand for one entry. Values are written under the first, and
looked for under all; locks and counters have all of them. So gateways agree as long as each one's first key is known to
all: a new key is added at the end everywhere, then moved to the front.
The index that bounds the number of values has the first name only: meanwhile there may be twice as many.
"""

import hashlib
import hmac
import math
from collections.abc import Callable, Sequence
from typing import Final, Literal

from fluidmcp.crypto.sealing import Sealer

PREFIX: Final = "fmcp1:"
SKEW_SECONDS: Final = 60
"""How far the clocks of gateways may be apart: an entry whose end inside the seal is over for longer is none."""

Kind = Literal["value", "count", "lock", "index of values", "index of counts", "answer"]

_PURPOSE: Final = "shared store"
_END_BYTES: Final = 8


class Entries:
    """The entries of the store `store` of the gateways at one public address."""

    def __init__(self, store: str, sealer: Sealer, *, public_url: str, now: Callable[[], float]) -> None:
        self._prefix = f"{PREFIX}{{{store}}}:"
        self._context = (store, public_url)
        self._sealer = sealer
        self._now = now
        self._name_keys = sealer.derive("names in a shared store", self._context)

    def name(self, kind: Kind, key: str = "") -> list[str]:
        """What an entry is called, under each key for sealing; the first is what it is written to."""
        text = f"{kind} {key}".encode()
        return [self._prefix + hmac.digest(name_key, text, hashlib.sha256).hex() for name_key in self._name_keys]

    def seal(self, key: str, value: bytes, *, ttl_seconds: float) -> bytes:
        """The value as it is stored. Raises ValueError: it is longer than can be sealed."""
        end = math.ceil((self._now() + ttl_seconds) * 1000)
        sealed = self._sealer.seal(_PURPOSE, (*self._context, key), end.to_bytes(_END_BYTES, "big") + value)
        return sealed.encode("ascii")

    def open(self, key: str, stored: bytes) -> bytes | None:
        """The value; None for what was not sealed here for this key, or is over."""
        # Anything but ASCII is none of ours, and becomes text that does not open.
        opened = self._sealer.open(_PURPOSE, (*self._context, key), stored.decode("ascii", "replace"))
        if opened is None or int.from_bytes(opened[:_END_BYTES], "big") < (self._now() - SKEW_SECONDS) * 1000:
            return None
        return opened[_END_BYTES:]

    def open_first(self, key: str, stored: Sequence[bytes | None]) -> tuple[bytes | None, bool]:
        """The first value that opens of what stood under the names, and whether something stood there at all."""
        found = [one for one in stored if one is not None]
        return next((value for one in found if (value := self.open(key, one)) is not None), None), bool(found)
