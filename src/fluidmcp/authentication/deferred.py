"""Late imports of this room: joserfc is for gateways that check signatures of tokens."""

from typing import TYPE_CHECKING, Final

from fluidmcp.late_imports import import_late

if TYPE_CHECKING:
    from fluidmcp.authentication.verifiers.jwks import JwksCache as JwksCache
    from fluidmcp.authentication.verifiers.jwt import JwtCheck as JwtCheck

_MODULES: Final = {
    "JwksCache": "fluidmcp.authentication.verifiers.jwks",
    "JwtCheck": "fluidmcp.authentication.verifiers.jwt",
}

__getattr__ = import_late(__name__, _MODULES)
