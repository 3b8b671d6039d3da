"""The connection to a Redis server: bounded waits, and our own errors in place of the client library's.

No command waits longer than COMMAND_SECONDS, and the next one tries again: when the server is back, so is the store.
The address may hold a password: what is shown of it is host and port.
"""

import asyncio
import logging
import re
from collections.abc import Coroutine, Sequence
from typing import Any, Final, TypeVar, cast

from fluidmcp.config.secret import Secret
from fluidmcp.config.urls import describe_redis_url
from fluidmcp.errors import ConfigurationError, StoreUnavailableError, WouldWaitError
from fluidmcp.store import deferred
from fluidmcp.store.memory import StoreFullError

COMMAND_SECONDS: Final = 2.0
"""How long one command may take, connecting included."""
MAX_CONNECTIONS: Final = 32
OLDEST_VERSION: Final = (7, 0)

logger = logging.getLogger(__name__)

T = TypeVar("T")


class RedisServer:
    """One server, and the connections to it. Call `check()` before the first command and `aclose()` after the last.

    Raises:
        ConfigurationError: the client library is not installed, or does not take the address.
    """

    def __init__(self, url: Secret, *, command_seconds: float = COMMAND_SECONDS) -> None:
        self._place = describe_redis_url(url.reveal())
        self._command_seconds = command_seconds
        try:
            # Its methods are typed in part only.
            pool: Any = cast(Any, deferred.BlockingConnectionPool).from_url(
                url.reveal(),
                max_connections=MAX_CONNECTIONS,
                timeout=command_seconds,
                socket_timeout=command_seconds,
                socket_connect_timeout=command_seconds,
                # A connection that the server has closed meanwhile costs nobody a failure.
                retry=deferred.Retry(deferred.NoBackoff(), 1, (deferred.ConnectionError,)),
                protocol=2,
            )
        except ImportError as error:
            raise ConfigurationError(
                "The client of Redis is not installed.",
                why="FMCP_REDIS_URL is set, and the package redis comes with an extra.",
                hint="Install it in the folder of FluidMCP: pip install '.[redis]'.",
            ) from error
        except (ValueError, OSError):
            # Without the cause, whose text could hold the address.
            raise ConfigurationError(
                f"Redis at {self._place} cannot be used.",
                why="The client library does not take the address.",
                hint="Correct FMCP_REDIS_URL.",
            ) from None
        self._pool = pool
        self._client: Any = deferred.Redis(connection_pool=pool)

    def __repr__(self) -> str:
        return f"RedisServer({self._place})"

    async def run(self, script: str, names: Sequence[str], arguments: Sequence[str | bytes | int]) -> Any:
        """What a Lua script returns. Raises StoreUnavailableError, and StoreFullError when there is no memory left."""
        return await self._wait(self._client.eval(script, len(names), *names, *arguments))

    async def get(self, names: Sequence[str]) -> list[bytes | None]:
        """What stands under each name; None where nothing does, or no text. Raises StoreUnavailableError."""
        return await self._wait(self._client.mget(names))

    async def check(self) -> None:
        """See that the server is there, and is one that keeps what it is given.

        Raises:
            ConfigurationError: it cannot be reached or does not let us in, is too old, takes no writes, or would throw
                entries away when its memory is full.
        """
        try:
            async with asyncio.timeout(self._command_seconds):
                await self._client.ping()
        except (deferred.AuthenticationError, deferred.NoPermissionError) as error:
            raise self._refuse("does not let the gateway in", hint="Correct user and password in it.") from error
        except (deferred.RedisError, OSError, TimeoutError) as error:
            raise self._refuse(
                "cannot be reached", hint="Start it, or correct the address; rediss:// is for servers with TLS."
            ) from error
        try:
            async with asyncio.timeout(self._command_seconds):
                facts = await self._client.info()
        except deferred.NoPermissionError:
            logger.warning("the user of FMCP_REDIS_URL may not ask INFO: see to it that maxmemory-policy is noeviction")
            return
        except (deferred.RedisError, OSError, TimeoutError) as error:
            raise self._refuse("does not answer", hint="Look at its log.") from error
        self._check_facts(facts)

    def _check_facts(self, facts: "dict[str, Any]") -> None:
        version = str(facts.get("redis_version", ""))
        if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < OLDEST_VERSION:
            raise self._refuse("is too old", why=f"It is version {version}.", hint="Use Redis 7, Valkey, or later.")
        if facts.get("role", "master") != "master":
            raise self._refuse("takes no writes", why="It is a replica.", hint="Name the primary server.")
        policy = str(facts.get("maxmemory_policy", "noeviction"))
        if policy == "noeviction":
            return
        if facts.get("maxmemory"):
            raise self._refuse(
                "may throw entries away",
                why=f"Its maxmemory-policy is {policy}: logins that were revoked would be good again.",
                hint="Set maxmemory-policy to noeviction.",
            )
        logger.warning("maxmemory-policy of Redis is %s: with a maxmemory, revocations could be lost", policy)

    async def aclose(self) -> None:
        await self._client.aclose()
        await self._pool.aclose()

    async def _wait(self, command: Coroutine[Any, Any, T]) -> T:
        if asyncio.current_task() is None:
            # Somebody tries whether all can be done at once (gateway/errors.try_now); nothing has been sent yet.
            command.close()
            raise WouldWaitError
        try:
            async with asyncio.timeout(self._command_seconds):
                return await command
        except deferred.OutOfMemoryError as error:
            raise StoreFullError from error
        except deferred.ReadOnlyError as error:
            # Another server has taken over: the next connection looks its address up again.
            await self._pool.disconnect()
            raise self._unavailable("takes no writes") from error
        except (deferred.RedisError, OSError, TimeoutError) as error:
            raise self._unavailable("does not answer") from error

    def _unavailable(self, why: str) -> StoreUnavailableError:
        # The person in front of it need not know where it is; the operator reads it in the log.
        logger.error("Redis at %s %s", self._place, why)
        return StoreUnavailableError(
            "The gateway cannot look up logins at the moment",
            why="What it shares with other gateways cannot be reached.",
            hint="Try again in a moment.",
        )

    def _refuse(self, what: str, *, why: str = "", hint: str) -> ConfigurationError:
        return ConfigurationError(f"Redis at {self._place} {what}.", why=why or "FMCP_REDIS_URL names it.", hint=hint)
