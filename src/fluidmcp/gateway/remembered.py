"""For how long the answer to "who is this?" holds for the next request with the same head on the same connection.

A second, and never beyond the end of the token, nor beyond anything that is written about tokens here meanwhile: a
login that is revoked at this gateway is refused at the next request. Where others write too (a store that several
gateways share), nothing is remembered.
"""

from collections.abc import Callable, Sequence
from typing import Final

from fluidmcp.gateway.mcp.messages import Caller
from fluidmcp.store.deny_list import DenyList
from fluidmcp.store.memory import MemoryStore, Store

REMEMBERED_SECONDS: Final = 1.0


class Remembered:
    """Who sent the last request with some head, and until when that holds."""

    __slots__ = ("caller", "changes", "ends_at")

    def __init__(self, caller: Caller, changes: int, ends_at: float) -> None:
        self.caller = caller
        self.changes = changes
        self.ends_at = ends_at


class Memory:
    """`stores` are those that tell which tokens are good; `now` is in seconds since the epoch."""

    def __init__(self, stores: Sequence[Store], deny_list: DenyList, *, now: Callable[[], float]) -> None:
        own = [store for store in stores if isinstance(store, MemoryStore)]
        self._stores = own if len(own) == len(stores) else None
        self._deny_list = deny_list
        self._now = now

    def remember(self, caller: Caller) -> Remembered | None:
        if self._stores is None:
            return None
        now = self._now()
        principal = caller.principal
        ends = [end for end in (caller.good_until, None if principal is None else principal.expires_at) if end]
        return Remembered(caller, self._count_changes(), min((now + REMEMBERED_SECONDS, *ends)))

    def find(self, remembered: Remembered | None) -> Caller | None:
        """The caller, if that still holds."""
        if remembered is None or self._now() >= remembered.ends_at or self._count_changes() != remembered.changes:
            return None
        return remembered.caller

    def _count_changes(self) -> int:
        count = self._deny_list.change_count
        for store in self._stores or ():
            count += store.change_count
        return count
