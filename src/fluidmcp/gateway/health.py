"""`GET /health`, which load balancers and containers ask all the time: answered whether FastAPI is loaded or not."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from fluidmcp.gateway.http import HttpReply, json_reply

HEALTH_PATH: Final = "/health"
HEALTHY: Final[Mapping[str, object]] = MappingProxyType({"status": "ok"})


def answer_health(method: str, path: str, query: bytes) -> HttpReply | None:
    """The answer to the plain question; None for every other request, those for details too: FastAPI has them."""
    if path != HEALTH_PATH or method != "GET" or query:
        return None
    return json_reply(200, dict(HEALTHY))
