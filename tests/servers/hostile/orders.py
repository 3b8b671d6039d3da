"""What an attack is told, how it looks for what it wants, and what it reports.

The test marks everything that is worth stealing with a random text. An attacker is told the first characters, the
length and the SHA-256 of each, and never holds one that it has not found: what lies in its own memory cannot be
mistaken for loot.
"""

import errno
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

OutcomeName = Literal["found", "refused", "absent", "error"]

REFUSALS = frozenset({errno.EPERM, errno.EACCES, errno.EXDEV, errno.EROFS})
ABSENCES = frozenset(
    {
        errno.ENOENT,
        errno.ESRCH,
        errno.ENXIO,
        errno.ENOTDIR,
        errno.ECONNREFUSED,
        errno.ENODATA,
        errno.EIDRM,
        errno.EINVAL,
        errno.EAGAIN,
        errno.ENODEV,
    }
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """`found`: the attack worked; `refused`: the system said no; `absent`: what it wanted is not there to be seen."""

    name: OutcomeName
    detail: str
    markers: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {"outcome": self.name, "detail": self.detail, "markers": list(self.markers)}


@dataclass(frozen=True, slots=True)
class Marker:
    name: str
    prefix: bytes
    length: int
    digest: str


@dataclass(frozen=True, slots=True)
class Order:
    """One attempt: at a process, at a path, or at whatever can be seen. `extra` is for the one that needs more."""

    attack: str
    pid: int = 0
    path: str = ""
    markers: tuple[Marker, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict[str, Any])

    @staticmethod
    def parse(arguments: dict[str, Any]) -> "Order":
        markers = tuple(
            Marker(str(m["name"]), str(m["prefix"]).encode(), int(m["length"]), str(m["sha256"]))
            for m in arguments.get("markers", ())
        )
        return Order(
            attack=str(arguments["name"]),
            pid=int(arguments.get("pid") or 0),
            path=str(arguments.get("path") or ""),
            markers=markers,
            extra=dict(arguments.get("extra", {})),
        )


class Finder:
    """Looks for the markers in bytes of any kind."""

    def __init__(self, order: Order) -> None:
        self._markers = order.markers
        self.found: dict[str, str] = {}
        self.bytes_seen = 0

    def feed(self, data: bytes, where: str = "") -> None:
        self.bytes_seen += len(data)
        for marker in self._markers:
            at = data.find(marker.prefix)
            while at >= 0:
                candidate = data[at : at + marker.length]
                if hashlib.sha256(candidate).hexdigest() == marker.digest:
                    self.found.setdefault(marker.name, where)
                    break
                at = data.find(marker.prefix, at + 1)

    def outcome(self, errors: Iterable[OSError] = ()) -> Outcome:
        """Found; or what the errors say; or absent, where everything could be read and nothing was in it."""
        if self.found:
            detail = ", ".join(f"{name} in {where}" for name, where in self.found.items())
            return Outcome("found", detail, tuple(self.found))
        failures = [outcome_of(error) for error in errors]
        for name in ("refused", "error"):
            for failure in failures:
                if failure.name == name:
                    return failure
        return Outcome("absent", f"{self.bytes_seen} bytes were read; {len(failures)} attempts failed")


def worked(detail: str) -> Outcome:
    """What was tried had its effect."""
    return Outcome("found", detail)


def outcome_of(error: OSError) -> Outcome:
    if isinstance(error, TimeoutError):
        return Outcome("absent", "nobody answered")
    name = errno.errorcode.get(error.errno or 0, str(error.errno))
    text = f"{name}: {error.strerror}" + (f" ({error.filename})" if error.filename else "")
    if error.errno in REFUSALS:
        return Outcome("refused", text)
    if error.errno in ABSENCES:
        return Outcome("absent", text)
    if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP):
        return Outcome("error", f"not on this machine: {text}")
    return Outcome("error", text)
