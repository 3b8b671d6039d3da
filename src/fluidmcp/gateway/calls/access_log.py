"""One line of the log for each call."""

from typing import Final

from fluidmcp.crypto.digest import PersonDigest
from fluidmcp.gateway.calls.observer import EndedCall
from fluidmcp.observability.logs import Event, EventLog
from fluidmcp.observability.printable import cut

MAX_NAME_CHARACTERS: Final = 128


class AccessLog:
    """A `CallObserver`. Who is told in it is named by a digest alone."""

    def __init__(self, people: PersonDigest) -> None:
        self._people = people
        self._log = EventLog("fluidmcp.access")

    def note_end(self, call: EndedCall) -> None:
        principal = call.principal
        event = Event(
            "call",
            {
                "package": cut(call.package, MAX_NAME_CHARACTERS),
                "method": cut(call.method, MAX_NAME_CHARACTERS) or None,
                "status": call.status,
                "milliseconds": round(call.seconds * 1000, 3),
                "request_id": call.request_id,
                "person": None if principal is None else self._people.of(principal.issuer, principal.subject),
            },
        )
        self._log.add(event)
