"""The connection to Redis: bounded waits, and our own errors in place of the client library's.

No command waits longer than COMMAND_SECONDS, and the next one tries again: when the server is back, so is the store.
The address may hold a password: what is shown of it is hosts and ports.
"""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from fluidmcp.config.secret import Secret
from fluidmcp.config.sharing.redis_address import RedisAddressError, parse_redis_address
from fluidmcp.errors import ConfigurationError, StoreUnavailableError, WouldWaitError
from fluidmcp.store import deferred
from fluidmcp.store.breaker import Breaker
from fluidmcp.store.memory import StoreFullError
from fluidmcp.store.redis_client import build_client
from fluidmcp.store.redis_faults import explain_fault

COMMAND_SECONDS: Final = 2.0
"""How long one command may take, connecting included."""
MAX_COMMANDS: Final = 32
"""How many are under way at once, each on a connection of its own."""
OLDEST_VERSION: Final = (7, 0)

logger = logging.getLogger(__name__)

T = TypeVar("T")


class RedisServer:
    """What the address names, and the connections to it. Call `check()` before the first command and `aclose()` after
    the last.

    Raises:
        ConfigurationError: the client library is not installed, or the address is none.
    """

    def __init__(
        self, url: Secret, *, command_seconds: float = COMMAND_SECONDS, now: Callable[[], float] = time.monotonic
    ) -> None:
        try:
            self._address = parse_redis_address(url.reveal())
        except RedisAddressError as error:
            raise ConfigurationError(
                "Redis cannot be used.", why=f"FMCP_REDIS_URL {error}.", hint="Correct it."
            ) from None
        self.place = self._address.describe()
        """All of the address that may be shown."""
        self.fault = ""
        """Why the last command had no answer; empty when it had one."""
        self._command_seconds = command_seconds
        self._breaker = Breaker(longest_seconds=command_seconds, now=now)
        self._turns = asyncio.Semaphore(MAX_COMMANDS)
        try:
            self._client = build_client(self._address, seconds=command_seconds)
        except ImportError as error:
            raise ConfigurationError(
                "The client of Redis is not installed.",
                why="FMCP_REDIS_URL is set, and the package redis comes with an extra.",
                hint="Install it in the folder of FluidMCP: pip install '.[redis]'.",
            ) from error

    def __repr__(self) -> str:
        return f"RedisServer({self.place})"

    async def run(
        self, script: str, names: Sequence[str], arguments: Sequence[str | bytes | int], *, even_if_vain: bool = False
    ) -> Any:
        """What a Lua script returns.

        After a time-out others fail at once for a moment (store/breaker), but for what is done `even_if_vain`.

        Raises:
            StoreUnavailableError: no answer, or none that is any use.
            StoreFullError: there is no memory left.
        """
        send = partial(self._client.commands.eval, script, len(names), *names, *arguments)
        return await self._wait(send, even_if_vain=even_if_vain)

    async def get(self, names: Sequence[str]) -> list[bytes | None]:
        """What stands under each name; None where nothing does, or no text. Raises StoreUnavailableError."""
        return await self._wait(partial(self._client.commands.mget, names))

    async def check(self) -> None:
        """See that the server is there, and is one that keeps what it is given.

        Raises:
            ConfigurationError: it cannot be reached or does not let us in, is too old, takes no writes, or would throw
                entries away when its memory is full.
        """
        commands = self._client.commands
        primaries = {"target_nodes": "primaries"} if self._address.kind == "cluster" else {}
        try:
            async with asyncio.timeout(self._command_seconds):
                await commands.ping(**primaries)
        except (deferred.AuthenticationError, deferred.NoPermissionError) as error:
            hint = "Correct user and password in FMCP_REDIS_URL, or the user's rights."
            raise self._refuse("does not let the gateway in", why=_say(error), hint=hint) from error
        except (deferred.RedisError, deferred.RedisClusterException, OSError) as error:
            hint = "Start it, or correct FMCP_REDIS_URL; rediss:// is for servers with TLS."
            raise self._refuse("cannot be reached", why=_say(error), hint=hint) from error
        try:
            async with asyncio.timeout(self._command_seconds):
                facts: Mapping[str, Any] = await commands.info(**primaries)
        except deferred.NoPermissionError:
            logger.warning("the user of FMCP_REDIS_URL may not ask INFO: see to it that maxmemory-policy is noeviction")
            return
        except (deferred.RedisError, deferred.RedisClusterException, OSError) as error:
            raise self._refuse("does not answer", why=_say(error), hint="Look at its log.") from error
        # Of several primaries there are facts of each.
        for one in [facts] if "redis_version" in facts else facts.values():
            self._check_facts(one)

    def _check_facts(self, facts: Mapping[str, Any]) -> None:
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

    async def _wait(self, send: Callable[[], Awaitable[T]], *, even_if_vain: bool = False) -> T:
        if asyncio.current_task() is None:
            # Somebody tries whether all can be done at once (gateway/errors.try_now); nothing has been sent yet.
            raise WouldWaitError
        began_at = self._breaker.begin()
        if began_at is None and not even_if_vain:
            raise _unavailable()
        try:
            async with asyncio.timeout(self._command_seconds), self._turns:
                answer = await send()
        except (TimeoutError, deferred.TimeoutError) as error:
            if began_at is not None:
                self._breaker.time_out(began_at)
            raise self._tell(error) from error
        except deferred.OutOfMemoryError as error:
            self._breaker.answer()
            raise StoreFullError from error
        except deferred.ReadOnlyError as error:
            # Another server has taken over: the next connection looks its address up again.
            self._breaker.answer()
            self.fault = "It takes no writes."
            logger.error("Redis at %s takes no writes", self.place)
            await self._client.forget_connections()
            raise _unavailable() from error
        except (deferred.RedisError, deferred.RedisClusterException, OSError) as error:
            self._breaker.answer()
            raise self._tell(error) from error
        self._breaker.answer()
        self.fault = ""
        return answer

    def _tell(self, error: Exception) -> StoreUnavailableError:
        # The person in front of it need not know where it is; the operator reads it in the log.
        self.fault = _say(error)
        logger.error("Redis at %s does not answer: %s", self.place, self.fault)
        return _unavailable()

    def _refuse(self, what: str, *, why: str, hint: str) -> ConfigurationError:
        return ConfigurationError(f"Redis at {self.place} {what}.", why=why, hint=hint)


def _say(error: Exception) -> str:
    return f"{explain_fault(error)}."


def _unavailable() -> StoreUnavailableError:
    return StoreUnavailableError(
        "The gateway cannot look up logins at the moment",
        why="What it shares with other gateways cannot be reached.",
        hint="Try again in a moment.",
    )
