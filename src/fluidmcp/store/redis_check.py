"""Whether a Redis can be what gateways share: looked at before anybody logs in."""

import secrets
import time
from typing import Final

from fluidmcp.crypto.sealing import Sealer
from fluidmcp.errors import ConfigurationError, StoreUnavailableError
from fluidmcp.store.memory import StoreFullError
from fluidmcp.store.redis import RedisStore
from fluidmcp.store.redis_entries import Entries
from fluidmcp.store.redis_faults import explain_fault
from fluidmcp.store.redis_server import RedisServer

_SECONDS: Final = 5.0
"""How long what is written stays, at most."""
_HINT: Final = "docs/scaling.md names the rights that its user needs, and what the server must be."


async def check_redis(server: RedisServer) -> bool:
    """See that the server is there, keeps what it is given, and lets its user do all that stores do.

    Returns whether it has room: one that is full is still good for what it has.

    Raises:
        ConfigurationError: what is wrong, why, and what to do.
    """
    await server.check()
    try:
        is_kept = await _try_out(server)
    except StoreFullError:
        return False
    except StoreUnavailableError as error:
        why = "It stopped answering." if error.__cause__ is None else f"{explain_fault(error.__cause__)}."
        raise ConfigurationError(f"Redis at {server.place} cannot be used.", why=why, hint=_HINT) from error
    if not is_kept:
        raise ConfigurationError(
            f"Redis at {server.place} cannot be used.",
            why="It did not give back what it was given: its user may lack a right.",
            hint=_HINT,
        )
    return True


async def _try_out(server: RedisServer) -> bool:
    """Whether each operation of a store does there what it should, on entries that nobody else has."""
    key = secrets.token_hex(16)
    entries = Entries("check", Sealer(), public_url="", now=time.time)
    store = RedisStore(server, entries, max_entries=1000)
    async with store.lock(key, ttl_seconds=_SECONDS, wait_seconds=_SECONDS) as fence:
        await store.put(key, b"x", ttl_seconds=_SECONDS, fence=fence)
    got = [await store.get(key), await store.take(key), await store.get(key)]
    return got == [b"x", b"x", None] and await store.count(key, window_seconds=_SECONDS) == 1
