"""The client library, made for an address: one server, the one that Sentinels name at the time, or a cluster."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from fluidmcp.config.sharing.redis_address import RedisAddress
from fluidmcp.store import deferred


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisClient:
    """`commands` has a method for each command; they are typed in part only."""

    commands: Any
    forget_connections: Callable[[], Awaitable[Any]]
    """The next command makes a new one, and looks the address up again."""
    aclose: Callable[[], Awaitable[None]]


def build_client(address: RedisAddress, *, seconds: float) -> RedisClient:
    """Nothing is sent yet, and there is no bound on connections: at most one for each command at a time.

    Raises ImportError: the client library is not installed.
    """
    match address.kind:
        case "server":
            return _build_server_client(address, seconds)
        case "sentinel":
            return _build_sentinel_client(address, seconds)
        case "cluster":
            return _build_cluster_client(address, seconds)


def _build_server_client(address: RedisAddress, seconds: float) -> RedisClient:
    ((host, port),) = address.hosts
    options: dict[str, Any] = {**_name_options(address, seconds), "retry": _retry_once(), "db": address.database}
    client: Any = deferred.Redis(host=host, port=port, **options)
    return RedisClient(commands=client, forget_connections=client.connection_pool.disconnect, aclose=client.aclose)


def _build_sentinel_client(address: RedisAddress, seconds: float) -> RedisClient:
    options: dict[str, Any] = {**_name_options(address, seconds), "retry": _retry_once(), "db": address.database}
    # One that hangs must leave time to ask another.
    of_sentinels: dict[str, Any] = {
        **_name_options(address, seconds / 4),
        "retry": deferred.Retry(deferred.NoBackoff(), 0),
        "username": address.sentinel_user or None,
        "password": address.sentinel_password.reveal() or None,
    }
    sentinels: Any = deferred.Sentinel([*address.hosts], sentinel_kwargs=of_sentinels)
    client: Any = sentinels.master_for(address.primary, **options)

    async def close() -> None:
        await client.aclose()
        await sentinels.aclose()

    return RedisClient(commands=client, forget_connections=client.connection_pool.disconnect, aclose=close)


def _build_cluster_client(address: RedisAddress, seconds: float) -> RedisClient:
    options: dict[str, Any] = {
        **_name_options(address, seconds),
        "startup_nodes": [deferred.ClusterNode(host, port) for host, port in address.hosts],
        # After each failure it asks which node serves what; which one failed is known only then.
        "retry": deferred.Retry(deferred.NoBackoff(), 3),
    }
    client: Any = deferred.RedisCluster(**options)
    # The nodes say themselves where else to ask.
    return RedisClient(commands=client, forget_connections=client.aclose, aclose=client.aclose)


def _name_options(address: RedisAddress, seconds: float) -> dict[str, Any]:
    return {
        "username": address.user or None,
        "password": address.password.reveal() or None,
        "socket_timeout": seconds,
        "socket_connect_timeout": seconds,
        "protocol": 2,
        # Nothing that a user with few rights is refused, and that its server writes down each time.
        "driver_info": None,
        **({"ssl": True, **address.certificates} if address.is_tls else {}),
    }


def _retry_once() -> "deferred.Retry":
    """A connection that the server has closed meanwhile costs nobody a failure. What is asked twice: store/redis."""
    return deferred.Retry(deferred.NoBackoff(), 1, (deferred.ConnectionError,))
