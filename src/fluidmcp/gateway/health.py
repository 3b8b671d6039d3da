"""`GET /health` and `GET /ready`, which load balancers and containers ask all the time: answered whether FastAPI is
loaded or not.

`/health` says that the gateway runs: whoever hears nothing may restart it. `/ready` says whether it should be sent
requests: it ends first when the gateway is to stop. How far packages are is beside the point there: one that fails does
not keep requests from the others.
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


def answer_ready(method: str, path: str, query: bytes, state: ServiceState) -> HttpReply | None:
    """The answer to `GET /ready`; None for every other request, that for details too: FastAPI has it."""
    return build_ready_reply(state, {}) if path == READY_PATH and method == "GET" and b"detail" not in query else None


def build_ready_reply(state: ServiceState, more: Mapping[str, object]) -> HttpReply:
    """`more` are further members; the status tells of the gateway alone."""
    if state.is_ready:
        return json_reply(200, {"status": "ready", **more})
    return json_reply(503, {"status": "not ready", **more})
