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
from packaging.specifiers import SpecifierSet

from fluidmcp.gateway.composition import GatewayParts
from fluidmcp.gateway.front.connection import LimitedProtocol
from fluidmcp.gateway.front.limits import ConnectionLimits
from fluidmcp.gateway.front.protocol import FrontProtocol, Shared

TESTED_UVICORN: Final = SpecifierSet(">=0.38,<0.55")
"""As in pyproject.toml."""

logger = logging.getLogger(__name__)


def choose_protocol(parts: GatewayParts) -> Callable[..., Any] | str:
    """What `uvicorn.Config` takes as `http`: the class of connections of this gateway."""
    if uvicorn.__version__ not in TESTED_UVICORN:
        logger.warning(
            "uvicorn %s was not tested with this version of FluidMCP: requests take the slower way, and slow clients"
            " are not limited. Install uvicorn%s.",
            uvicorn.__version__,
            TESTED_UVICORN,
        )
        return "httptools"
    limits = ConnectionLimits(parts.settings.connections)
    if not parts.settings.has_front:
        return partial(LimitedProtocol, limits=limits)
    return partial(FrontProtocol, limits=limits, shared=Shared(parts))
