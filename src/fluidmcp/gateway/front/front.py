"""What the connections of a gateway share, and the class of HTTP connections that a server is given.

uvicorn makes one protocol object per connection; ours derive from its own, so they are used only with versions of
uvicorn whose protocol the tests ran against. With any other version uvicorn serves alone: more slowly, and without
limits on slow clients.
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import uvicorn

from fluidmcp.gateway.composition import GatewayParts
from fluidmcp.gateway.front.connection import LimitedProtocol
from fluidmcp.gateway.front.limits import ConnectionLimits
from fluidmcp.gateway.front.protocol import FrontProtocol, Shared

TESTED_UVICORN: Final = ((0, 53), (0, 55))
"""The first version that was tested, and the first that was not: as in pyproject.toml, and a test keeps it so."""

logger = logging.getLogger(__name__)


def choose_protocol(parts: GatewayParts) -> Callable[..., Any] | str:
    """What `uvicorn.Config` takes as `http`: the class of connections of this gateway."""
    first, end = TESTED_UVICORN
    if not first <= _read_version(uvicorn.__version__) < end:
        logger.warning(
            "uvicorn %s was not tested with this version of FluidMCP: requests take the slower way, and slow clients"
            " are not limited. Install one from %s up to, but without, %s.",
            uvicorn.__version__,
            ".".join(map(str, first)),
            ".".join(map(str, end)),
        )
        return "httptools"
    limits = ConnectionLimits(parts.settings.connections, parts.state, proxies=parts.settings.trusted_proxies)
    observer = parts.calls.observer
    if not parts.settings.has_front:
        return partial(LimitedProtocol, limits=limits, observer=observer)
    return partial(FrontProtocol, limits=limits, observer=observer, shared=Shared(parts))


def _read_version(text: str) -> tuple[int, ...]:
    """The release numbers of a version: (0, 54) for "0.54.0"; () for what has none, which is before everything."""
    numbers = text.split(".")[:2]
    return tuple(int(number) for number in numbers) if all(number.isdigit() for number in numbers) else ()
