"""What the gateway remembers of grants: how often each was renewed, and whether it was revoked. No token is in it.

Keys are digests of random grant ids, values are sealed. A lost store forgets all of it: after a restart in memory
mode a refresh token that was replaced counts as new again, and one that was revoked as good (docs/mcp-clients.md).
"""

import hashlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

from fluidmcp.crypto.sealing import Sealer, open_under, seal_under
from fluidmcp.store.memory import Fence, MemoryStore, Store, StoreFullError

GRACE_SECONDS: Final = 10
"""How long the answer to a refresh token is repeated: several processes of one client may renew at the same time."""

RENEWAL_SECONDS: Final = 40
"""How long a renewal may have its grant to itself, for each login in it: longer than its provider may take."""

GOOD_SECONDS: Final = 1.0
"""How long a gateway that shares the store with others remembers that a grant was not revoked."""
_MAX_GOOD: Final = 10_000
_REVOKED: Final = b"revoked"
_STATE: Final = "grant state"
_ANSWER: Final = "repeated answer"


class GrantStates:
    """The state of the grants of all packages. `now` is in seconds since the epoch."""

    def __init__(self, store: Store, sealer: Sealer, *, now: Callable[[], float]) -> None:
        self._store = store
        self._is_shared = not isinstance(store, MemoryStore)
        self._good_until: dict[bytes, float] = {}
        self._revocations = 0
        self._sealer = sealer
        self._now = now

    async def is_revoked(self, grant_id: bytes) -> bool:
        return await self._read(grant_id) == _REVOKED

    async def may_pass(self, grant_id: bytes) -> bool:
        """Whether a token of the grant is still good: not `is_revoked`, asked once a second where others write too."""
        if not self._is_shared:
            return not await self.is_revoked(grant_id)
        asked_at = self._now()
        # A clock that went back by more than that remembers nothing.
        if asked_at < self._good_until.get(grant_id, 0.0) <= asked_at + GOOD_SECONDS:
            return True
        revocations = self._revocations
        if await self.is_revoked(grant_id):
            return False
        if revocations == self._revocations:
            self._remember_good(grant_id, asked_at + GOOD_SECONDS)
        return True

    def _remember_good(self, grant_id: bytes, until: float) -> None:
        # In the order of their ends: the first ones are over first.
        self._good_until.pop(grant_id, None)
        self._good_until[grant_id] = until
        if len(self._good_until) > _MAX_GOOD:
            del self._good_until[next(iter(self._good_until))]

    async def find_generation(self, grant_id: bytes) -> int | None:
        """The newest generation that was handed out; None where nothing is remembered."""
        state = await self._read(grant_id)
        return int(state) if state is not None and state != _REVOKED else None

    def lock(self, grant_id: bytes, *, logins: int = 1) -> AbstractAsyncContextManager[Fence]:
        """Be the only one who renews this grant, in all gateways. Raises as `Store.lock`."""
        seconds = RENEWAL_SECONDS * logins
        return self._store.lock(_grant_key(grant_id), ttl_seconds=seconds, wait_seconds=seconds)

    async def advance(self, grant_id: bytes, generation: int, *, ends_at: float, fence: Fence) -> None:
        """Remember that the tokens of this generation are the newest ones. Raises as `Store.put`."""
        await self._write(grant_id, str(generation).encode(), ends_at=ends_at, fence=fence)

    async def revoke(self, grant_id: bytes, *, ends_at: float) -> None:
        """No token of this grant is good from now on. Raises StoreFullError."""
        try:
            await self._write(grant_id, _REVOKED, ends_at=ends_at)
        finally:
            # After it: who asked meanwhile may have heard the answer of before.
            self._revocations += 1
            self._good_until.pop(grant_id, None)

    async def keep_answer(self, token: str, answer: bytes, *, fence: Fence, seconds: float = GRACE_SECONDS) -> None:
        """Keep the answer to a refresh token; only whoever presents that token again can read it.

        Raises LockLostError.
        """
        key = _answer_key(token)
        try:
            await self._store.put(key, seal_under(token, _ANSWER, [key], answer), ttl_seconds=seconds, fence=fence)
        except StoreFullError:
            # A client that asks twice logs in again; nothing else is lost.
            return

    async def find_answer(self, token: str) -> bytes | None:
        key = _answer_key(token)
        kept = await self._store.get(key)
        return None if kept is None else open_under(token, _ANSWER, [key], kept)

    async def drop_answer(self, token: str) -> None:
        await self._store.take(_answer_key(token))

    async def _read(self, grant_id: bytes) -> bytes | None:
        key = _grant_key(grant_id)
        sealed = await self._store.get(key)
        if sealed is None:
            return None
        # What cannot be read lets nobody through: the client begins a new login, which is a new grant.
        return self._sealer.open(_STATE, [key], sealed.decode("ascii")) or _REVOKED

    async def _write(self, grant_id: bytes, state: bytes, *, ends_at: float, fence: Fence | None = None) -> None:
        key = _grant_key(grant_id)
        sealed = self._sealer.seal(_STATE, [key], state).encode("ascii")
        await self._store.put(key, sealed, ttl_seconds=ends_at - self._now(), fence=fence)


def _grant_key(grant_id: bytes) -> str:
    return hashlib.sha256(b"grant " + grant_id).hexdigest()


def _answer_key(token: str) -> str:
    return hashlib.sha256(b"answer " + token.encode("utf-8", "surrogatepass")).hexdigest()
