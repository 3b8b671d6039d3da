"""The one place where it is known that a call has ended, whichever way it came.

A call is one HTTP request at an MCP endpoint, refused ones too. `gateway/app` and `gateway/front` open it and end it,
the core says whose it is and the endpoint which MCP method; where nobody observes, there is none.

What the HTTP server refuses before its path was looked at (a head that is too slow, too large or no HTTP, a connection
too many) is a call of no package: it could have been one at an MCP endpoint.
"""

import re
import secrets
from collections.abc import Mapping
from time import perf_counter
from typing import Final, NamedTuple, Protocol

from fluidmcp.authentication.principal import Principal

REQUEST_ID_HEADER: Final = "x-request-id"
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._~+/=:@-]{1,64}", re.ASCII)
NOT_ANSWERED: Final = 0
"""In the place of a status: the gateway ended, or the connection, before there was one."""
ANSWERED: Final = "fluidmcp.answered"
"""The member of an ASGI scope with the status that the HTTP server answered in the place of the application."""
BATCH: Final = "batch"
"""In the place of a method: several messages in one array."""
MAX_BATCH_METHODS: Final = 8
"""How many methods of a batch are told by name."""


class Batch:
    """The messages of a batch, as far as they were read."""

    __slots__ = ("count", "methods")

    def __init__(self, count: int) -> None:
        self.count = count
        """How many there are, read or not."""
        self.methods: list[str] = []
        """Each once, in the order of the messages; the first MAX_BATCH_METHODS, of any length."""

    def note(self, method: str) -> None:
        if method and len(self.methods) < MAX_BATCH_METHODS and method not in self.methods:
            self.methods.append(method)


class EndedCall(NamedTuple):
    """What there is to say of a call. Nothing that was sent is in it but names, which may be anything of any length."""

    package: str | None
    """As the client wrote it; there may be none of that name. None: it was refused before that was looked at."""
    method: str
    """Of MCP; GET or DELETE for requests without a message, BATCH for a batch, empty where no message was read."""
    status: int
    seconds: float | None
    """From the head of the request to the end of the reply, or of the stream that it is. None: the HTTP server refused
    it before it was complete."""
    request_id: str
    """Of at most 64 characters that mean nothing anywhere."""
    principal: Principal | None
    """Whose it was, as far as that became known."""
    batch: Batch | None = None
    """Where the method is BATCH."""


class CallObserver(Protocol):
    """Looks on: an access log, and later whatever counts or keeps calls."""

    def note_end(self, call: EndedCall) -> None:
        """Called in the event loop, once for each call; must not wait, and must not raise."""
        ...

    def close(self) -> None:
        """The gateway ends: say what was held back."""
        ...


class Call:
    """A call that goes on."""

    __slots__ = ("_begun_at", "_observer", "batch", "method", "package", "principal", "request_id")

    def __init__(self, observer: CallObserver, package: str | None, method: str, headers: Mapping[str, str]) -> None:
        """`headers` by lower-case name: a proxy or client may have given the request an id already."""
        self._observer = observer
        self._begun_at = perf_counter()
        self.package = package
        self.method = method
        self.batch: Batch | None = None
        self.principal: Principal | None = None
        told = headers.get(REQUEST_ID_HEADER)
        is_told = told is not None and _REQUEST_ID.fullmatch(told) is not None
        self.request_id = told if told is not None and is_told else secrets.token_hex(8)

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """What the reply says of it."""
        return ((REQUEST_ID_HEADER.encode(), self.request_id.encode()),)

    def begin_batch(self, count: int) -> Batch:
        """It is a batch of so many messages."""
        self.method, self.batch = BATCH, Batch(count)
        return self.batch

    def end(self, status: int) -> None:
        """This or `refuse` is to be called, once."""
        self._tell(status, perf_counter() - self._begun_at)

    def refuse(self, status: int) -> None:
        """As `end`, for a request that the HTTP server refuses, which does not note when each one begins."""
        self._tell(status, None)

    def _tell(self, status: int, seconds: float | None) -> None:
        self._observer.note_end(
            EndedCall(self.package, self.method, status, seconds, self.request_id, self.principal, self.batch)
        )
