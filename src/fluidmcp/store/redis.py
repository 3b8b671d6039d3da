"""A store that several gateways share: Redis 7 or Valkey. Names and seals are in `redis_entries`.

Each operation is one round trip, and is done as a whole or not at all. When its connection is lost, it is sent once
more, on a new one. If the first had been done and only its answer was lost, `take` and `count` give that answer, and
the others come to the same end a second time. When no answer comes at all, nobody knows whether it was done: a value
that was taken is gone then, and counts as taken.
"""

import asyncio
import logging
import math
import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from fluidmcp.errors import StoreUnavailableError
from fluidmcp.store import redis_scripts
from fluidmcp.store.memory import Fence, LockLostError, StoreFullError, busy
from fluidmcp.store.redis_entries import Entries
from fluidmcp.store.redis_server import RedisServer

LOCK_POLL_SECONDS: Final = 0.05
"""How often who waits for a lock asks for it."""
ANSWER_SECONDS: Final = 5.0
"""How long Redis remembers an answer for whoever asks again: longer than a command may take (redis_server)."""

logger = logging.getLogger(__name__)


class RedisStore:
    """One named store of a Redis server; at most `max_entries` values and as many counters, as in memory.

    `unreadable` is what `get` and `take` return for a value that somebody else put in its place.
    """

    def __init__(
        self, server: RedisServer, entries: Entries, *, max_entries: int, unreadable: bytes | None = None
    ) -> None:
        self._server = server
        self._entries = entries
        self._max_entries = max_entries
        self._unreadable = unreadable
        self._value_index = entries.name("index of values")[0]
        self._count_index = entries.name("index of counts")[0]

    async def put(self, key: str, value: bytes, *, ttl_seconds: float, fence: Fence | None = None) -> None:
        names = self._entries.name("value", key)
        locks = [] if fence is None else self._entries.name("lock", fence.key)
        sealed = self._entries.seal(key, value, ttl_seconds=ttl_seconds)
        outcome = await self._server.run(
            redis_scripts.PUT,
            [self._value_index, *names, *locks],
            [len(names), sealed, _milliseconds(ttl_seconds), self._max_entries, "" if fence is None else fence.holder],
        )
        if outcome == b"full":
            raise StoreFullError
        if outcome == b"lost":
            raise LockLostError

    async def get(self, key: str) -> bytes | None:
        return self._open(key, await self._server.get(self._entries.name("value", key)))

    async def take(self, key: str) -> bytes | None:
        names = [self._value_index, *self._entries.name("value", key), self._name_answer()]
        return self._open(key, await self._server.run(redis_scripts.TAKE, names, [_milliseconds(ANSWER_SECONDS)]))

    async def count(self, key: str, *, window_seconds: float) -> int:
        names = [self._count_index, *self._entries.name("count", key), self._name_answer()]
        arguments = [_milliseconds(ANSWER_SECONDS), _milliseconds(window_seconds), self._max_entries]
        number = await self._server.run(redis_scripts.COUNT, names, arguments)
        if number == 0:
            raise StoreFullError
        return number

    @asynccontextmanager
    async def lock(self, key: str, *, ttl_seconds: float, wait_seconds: float) -> AsyncGenerator[Fence]:
        fence = Fence(key, secrets.token_hex(16))
        names = self._entries.name("lock", key)
        try:
            await self._acquire(names, fence, ttl_seconds=ttl_seconds, wait_seconds=wait_seconds)
            yield fence
        finally:
            # Also where it is not known whether the lock was had: an answer may have been lost on its way.
            await self._unlock(names, fence)

    async def _acquire(self, names: list[str], fence: Fence, *, ttl_seconds: float, wait_seconds: float) -> None:
        arguments = [fence.holder, _milliseconds(ttl_seconds)]
        try:
            async with asyncio.timeout(wait_seconds):
                while True:
                    if await self._server.run(redis_scripts.LOCK, names, arguments):
                        return
                    await asyncio.sleep(LOCK_POLL_SECONDS)
        except TimeoutError:
            raise busy() from None

    async def _unlock(self, names: list[str], fence: Fence) -> None:
        try:
            # Else a server that is back is told nothing, and others wait for the end of the lock.
            await self._server.run(redis_scripts.UNLOCK, names, [fence.holder], even_if_vain=True)
        except StoreUnavailableError:
            # It ends by itself; what was done under it is done.
            logger.warning("a lock could not be given back, and ends by itself")

    def _name_answer(self) -> str:
        """Where the answer to one request is remembered."""
        return self._entries.name("answer", secrets.token_hex(16))[0]

    def _open(self, key: str, stored: list[bytes | None]) -> bytes | None:
        value, was_there = self._entries.open_first(key, stored)
        if value is None and was_there:
            logger.warning("an entry in Redis does not open: somebody else writes there, or it is an old copy")
            return self._unreadable
        return value


def _milliseconds(seconds: float) -> int:
    return max(0, math.ceil(seconds * 1000))
