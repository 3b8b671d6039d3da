"""One line of the log for each call, and a bounded number for those that the HTTP server refuses.

Who has no request at all can be refused as often as they open a connection, and nothing of it says who they are. So
the first such calls of a minute are lines of their own, and the rest one line for each status, with their number.
"""

import asyncio
from typing import Final

from fluidmcp.crypto.digest import PersonDigest
from fluidmcp.gateway.calls.observer import EndedCall
from fluidmcp.observability.logs import Event, EventLog
from fluidmcp.observability.printable import cut

MAX_NAME_CHARACTERS: Final = 128
MAX_REFUSED_LINES: Final = 100
"""How many calls of no package are lines of their own in REFUSED_SECONDS."""
REFUSED_SECONDS: Final = 60.0


class AccessLog:
    """A `CallObserver`. Who is told in it is named by a digest alone."""

    def __init__(self, people: PersonDigest) -> None:
        self._people = people
        self._log = EventLog("fluidmcp.access")
        self._refused_count = 0
        """Calls of no package since `_timer` began."""
        self._untold: dict[int, int] = {}
        """How many of them are no line yet, by status; the HTTP server has few."""
        self._timer: asyncio.TimerHandle | None = None

    def note_end(self, call: EndedCall) -> None:
        if call.package is None and not self._may_tell(call.status):
            return
        principal, batch = call.principal, call.batch
        fields: dict[str, str | int | float | None] = {
            "package": _cut_name(call.package),
            "method": _cut_name(call.method),
            "status": call.status,
            "milliseconds": None if call.seconds is None else round(call.seconds * 1000, 3),
            "request_id": call.request_id,
            "person": None if principal is None else self._people.of(principal.issuer, principal.subject),
        }
        if batch is not None:
            fields["messages"] = batch.count
            # A name with a comma in it would look like two.
            names = [cut(method, MAX_NAME_CHARACTERS).replace(",", ";") for method in batch.methods]
            fields["methods"] = _cut_name(", ".join(names))
        self._log.add(Event("call", fields))

    def close(self) -> None:
        """Tell of the calls that are no line yet."""
        if self._timer is not None:
            self._timer.cancel()
            self._tell_refused()

    def _may_tell(self, status: int) -> bool:
        """Whether a call of no package is a line of its own; else it is counted."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(REFUSED_SECONDS, self._tell_refused)
        self._refused_count += 1
        if self._refused_count <= MAX_REFUSED_LINES:
            return True
        self._untold[status] = self._untold.get(status, 0) + 1
        return False

    def _tell_refused(self) -> None:
        untold, self._untold = self._untold, {}
        self._refused_count, self._timer = 0, None
        for status, count in untold.items():
            fields = dict.fromkeys(("package", "method", "status", "milliseconds", "request_id", "person"))
            self._log.add(Event("call", {**fields, "status": status, "count": count}))


def _cut_name(name: str | None) -> str | None:
    return cut(name, MAX_NAME_CHARACTERS) if name else None
