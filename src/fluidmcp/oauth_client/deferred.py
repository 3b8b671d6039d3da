"""Late imports of this room: the HTTP client is for gateways that talk to a provider."""

from typing import TYPE_CHECKING, Final

from fluidmcp.late_imports import import_late

if TYPE_CHECKING:
    from httpx2 import AsyncByteStream as AsyncByteStream
    from httpx2 import AsyncHTTPTransport as AsyncHTTPTransport
    from httpx2 import ConnectError as ConnectError
    from httpx2 import ConnectTimeout as ConnectTimeout
    from httpx2 import InvalidURL as InvalidURL
    from httpx2 import Limits as Limits
    from httpx2 import Request as Request
    from httpx2 import TransportError as TransportError

_MODULES: Final = {
    "AsyncByteStream": "httpx2",
    "AsyncHTTPTransport": "httpx2",
    "ConnectError": "httpx2",
    "ConnectTimeout": "httpx2",
    "InvalidURL": "httpx2",
    "Limits": "httpx2",
    "Request": "httpx2",
    "TransportError": "httpx2",
}

__getattr__ = import_late(__name__, _MODULES)
