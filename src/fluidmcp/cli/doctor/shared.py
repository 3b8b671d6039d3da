"""What `fluidmcp doctor` looks at where several gateways share a Redis."""

from fluidmcp.cli.doctor.checks import Finding, describe_error, ok, problem
from fluidmcp.config.secret import Secret
from fluidmcp.errors import ConfigurationError
from fluidmcp.store.redis_check import check_redis
from fluidmcp.store.redis_server import RedisServer

_SUBJECT = "Redis"


async def check_shared(url: Secret) -> Finding:
    """Whether a gateway would start with this FMCP_REDIS_URL: what it names is there and keeps what it is given."""
    try:
        server = RedisServer(url)
    except ConfigurationError as error:
        return describe_error(_SUBJECT, error)
    try:
        if not await check_redis(server):
            return problem(_SUBJECT, f"{server.place} is full: nobody can log in", "Raise its maxmemory.")
    except ConfigurationError as error:
        return describe_error(_SUBJECT, error)
    finally:
        await server.aclose()
    return ok(_SUBJECT, f"{server.place} answers, keeps what it is given, and its user has the rights")
