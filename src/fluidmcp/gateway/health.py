"""`GET /health` and `GET /ready`, which load balancers and containers ask all the time: answered whether FastAPI is
loaded or not.

`/health` says that the gateway runs: whoever hears nothing may restart it. `/ready` says whether it should be sent
requests: it ends first when the gateway is to stop.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from fluidmcp.gateway.http import HttpReply, json_reply

HEALTH_PATH: Final = "/health"
HEALTHY: Final[Mapping[str, object]] = MappingProxyType({"status": "ok"})
READY_PATH: Final = "/ready"


class ServiceState:
    """Whether the gateway serves. It begins once and leaves once."""

    __slots__ = ("_has_begun", "is_leaving")

    def __init__(self) -> None:
        self._has_begun = False
        self.is_leaving = False
        """Whether it is about to end: each connection is told to close with its next reply."""

    @property
    def is_ready(self) -> bool:
        return self._has_begun and not self.is_leaving

    def begin(self) -> None:
        self._has_begun = True

    def leave(self) -> None:
        self.is_leaving = True


def answer_health(method: str, path: str, query: bytes) -> HttpReply | None:
    """The answer to the plain question; None for every other request, those for details too: FastAPI has them."""
    if path != HEALTH_PATH or method != "GET" or query:
        return None
    return json_reply(200, dict(HEALTHY))


def answer_ready(method: str, path: str, state: ServiceState) -> HttpReply | None:
    """The answer to `GET /ready`, None for every other request."""
    return build_ready_reply(state) if path == READY_PATH and method == "GET" else None


def build_ready_reply(state: ServiceState) -> HttpReply:
    if state.is_ready:
        return json_reply(200, {"status": "ready"})
    return json_reply(503, {"status": "not ready"})
