"""Late imports of this room: the client of Redis is for gateways that share a store, and an extra (`redis`)."""

from typing import TYPE_CHECKING, Final

from fluidmcp.late_imports import import_late

if TYPE_CHECKING:
    from redis.asyncio import Redis as Redis
    from redis.asyncio.cluster import ClusterNode as ClusterNode
    from redis.asyncio.cluster import RedisCluster as RedisCluster
    from redis.asyncio.retry import Retry as Retry
    from redis.asyncio.sentinel import MasterNotFoundError as MasterNotFoundError
    from redis.asyncio.sentinel import Sentinel as Sentinel
    from redis.backoff import NoBackoff as NoBackoff
    from redis.exceptions import AuthenticationError as AuthenticationError
    from redis.exceptions import BusyLoadingError as BusyLoadingError
    from redis.exceptions import ConnectionError as ConnectionError
    from redis.exceptions import NoPermissionError as NoPermissionError
    from redis.exceptions import OutOfMemoryError as OutOfMemoryError
    from redis.exceptions import ReadOnlyError as ReadOnlyError
    from redis.exceptions import RedisClusterException as RedisClusterException
    from redis.exceptions import RedisError as RedisError
    from redis.exceptions import TimeoutError as TimeoutError

_MODULES: Final = {
    "AuthenticationError": "redis.exceptions",
    "BusyLoadingError": "redis.exceptions",
    "ClusterNode": "redis.asyncio.cluster",
    "ConnectionError": "redis.exceptions",
    "MasterNotFoundError": "redis.asyncio.sentinel",
    "NoBackoff": "redis.backoff",
    "NoPermissionError": "redis.exceptions",
    "OutOfMemoryError": "redis.exceptions",
    "ReadOnlyError": "redis.exceptions",
    "Redis": "redis.asyncio",
    "RedisCluster": "redis.asyncio.cluster",
    "RedisClusterException": "redis.exceptions",
    "RedisError": "redis.exceptions",
    "Retry": "redis.asyncio.retry",
    "Sentinel": "redis.asyncio.sentinel",
    "TimeoutError": "redis.exceptions",
}

__getattr__ = import_late(__name__, _MODULES)
