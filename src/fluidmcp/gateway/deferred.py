"""Late imports of this room: FastAPI, and the pages that it serves, are for gateways that somebody asks for them."""

from typing import TYPE_CHECKING, Final

from fluidmcp.late_imports import import_late

if TYPE_CHECKING:
    from fluidmcp.gateway.web import build_web as build_web

_MODULES: Final = {"build_web": "fluidmcp.gateway.web"}

__getattr__ = import_late(__name__, _MODULES)
