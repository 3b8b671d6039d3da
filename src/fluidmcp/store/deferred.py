"""Late imports of this room: the client of Redis is for gateways that share a store, and an extra (`redis`)."""

from typing import TYPE_CHECKING, Final

from fluidmcp.late_imports import import_late

if TYPE_CHECKING:
    from redis.asyncio import BlockingConnectionPool as BlockingConnectionPool
    from redis.asyncio import Redis as Redis
    from redis.asyncio.retry import Retry as Retry
    from redis.backoff import NoBackoff as NoBackoff
    from redis.exceptions import AuthenticationError as AuthenticationError
    from redis.exceptions import ConnectionError as ConnectionError
    from redis.exceptions import NoPermissionError as NoPermissionError
    from redis.exceptions import OutOfMemoryError as OutOfMemoryError
    from redis.exceptions import ReadOnlyError as ReadOnlyError
    from redis.exceptions import RedisError as RedisError

_MODULES: Final = {
    "AuthenticationError": "redis.exceptions",
    "BlockingConnectionPool": "redis.asyncio",
    "ConnectionError": "redis.exceptions",
    "NoBackoff": "redis.backoff",
    "NoPermissionError": "redis.exceptions",
    "OutOfMemoryError": "redis.exceptions",
    "ReadOnlyError": "redis.exceptions",
    "Redis": "redis.asyncio",
    "RedisError": "redis.exceptions",
    "Retry": "redis.asyncio.retry",
}

__getattr__ = import_late(__name__, _MODULES)
