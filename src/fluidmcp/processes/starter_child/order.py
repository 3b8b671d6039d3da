"""What the gateway tells the starter, and what comes back: JSON in both directions.

An order is a memory file, sent as a descriptor together with the ends of the pipes: it is never written to a disk, it
fits into one message whatever its size, and sending it never blocks.
"""

import json
from typing import Any, Final, NamedTuple

FAILED_TO_CONFINE: Final = "confine"
FAILED_TO_ENTER: Final = "directory"
FAILED_TO_EXECUTE: Final = "execute"
FAILED_TO_FORK: Final = "fork"


THREADS_PER_PROCESS: Final = 16
"""A family may have as many threads as it may have processes, times this."""


class Limits(NamedTuple):
    """Bounds on one server process and all that it starts."""

    memory_bytes: int
    processes: int
    open_files: int
    disk_bytes: int


class Reach(NamedTuple):
    """What a process may reach of the file system. All paths are absolute and without symbolic links.

    `keeps_files`: everything that its user may, and the other members do not count.
    """

    keeps_files: bool = False
    read: tuple[str, ...] = ()
    """Files and folders to read and execute."""
    listed: tuple[str, ...] = ()
    """Folders whose names may be read; what is in them only where it stands in another list."""
    write: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    """Symbolic links on the way to the others, and where they lead: a private root needs them too."""


class Order(NamedTuple):
    """One server process to start."""

    program: str
    argv: tuple[str, ...]
    environment: dict[str, str]
    directory: str
    has_landlock: bool
    has_namespaces: bool
    user_id: int | None
    """The user and group to become; None: stay who the gateway is."""
    keeps_capabilities: bool
    """Whether root's process keeps what lets it work with everybody's files."""
    home: str | None
    """The private home, which exists; None: no person is known."""
    home_folders: tuple[str, ...]
    """The folders of a private home, for a file system of its own."""
    reach: Reach
    limits: Limits
    home_files: tuple[tuple[str, str], ...] = ()
    """What a home that is a file system of its own holds before the start: a path below it, and a text."""


class Kept(NamedTuple):
    """A process that runs already, told to a starter that came after it, so that its limits hold on."""

    pid: int
    limits: Limits
    home: str | None
    """The private home whose size counts; None: there is none, or it is a file system of bounded size."""


class Report(NamedTuple):
    """What became of an order. `pid` is set in any case in which there was a process, which then has to be waited for.

    `failed_at` is empty where the program runs; otherwise `errno` says why not, and `detail` names a path or a step.
    """

    pid: int | None = None
    failed_at: str = ""
    errno: int = 0
    detail: str = ""


class Machine(NamedTuple):
    """What the starter found that it can do here; the texts say why not, empty ones that it can."""

    landlock_abi: int
    no_landlock: str
    no_namespaces: str
    no_user_ids: str


class Notice(NamedTuple):
    """A process went over one of its limits and is being ended."""

    pid: int
    limit: str
    """`memory`, `processes`, `threads` or `disk`."""
    used: int
    allowed: int


START: Final = b"S"
"""The message of an order: its memory file, the child's ends of stdin, stdout and stderr, and that of the report."""
KEEP: Final = b"K"
"""The message that brings a `Kept` in a memory file."""
DESCRIPTORS: Final = {START: 5, KEEP: 1}


def encode(value: Order | Kept | Report | Machine | Notice) -> bytes:
    return json.dumps(value._asdict(), separators=(",", ":")).encode() + b"\n"


def decode_order(text: bytes) -> Order:
    values = _decode(text)
    reach, limits = values.pop("reach"), values.pop("limits")
    return Order(**values, reach=Reach(*reach), limits=Limits(*limits))


def decode_kept(text: bytes) -> Kept:
    values = _decode(text)
    return Kept(pid=values["pid"], limits=Limits(*values["limits"]), home=values["home"])


def decode_machine(text: bytes) -> Machine:
    return Machine(**_decode(text))


def decode_notice(text: bytes) -> Notice:
    return Notice(**_decode(text))


def decode_report(text: bytes) -> Report:
    """What several writers said of one order, a line each: the number of the process, and perhaps a failure."""
    report = Report()
    for line in text.splitlines():
        said = _decode(line)
        known = {name: value for name, value in said.items() if value}
        report = report._replace(**known)
    return report


def _decode(text: bytes) -> dict[str, Any]:
    return json.loads(text)
