"""What is asked of each gateway. Pure data."""

from dataclasses import dataclass
from typing import Final, Literal

Tool = Literal["echo", "progress", "convert_time"]
ServerName = Literal["echo", "everything", "time"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One kind of load: so many connections, each with one request in flight."""

    name: str
    title: str
    connections: int
    message_bytes: int = 200
    tool: Tool = "echo"
    server: ServerName = "echo"
    seconds: float = 1.2


CASES: Final = (
    Case(name="1", title="1 × 200 B", connections=1),
    Case(name="16", title="16 × 200 B", connections=16),
    Case(name="64", title="64 × 200 B", connections=64),
    Case(name="256", title="256 × 200 B", connections=256),
    Case(name="100kB", title="16 × 100 kB", connections=16, message_bytes=100_000),
    Case(name="5MB", title="4 × 5 MB", connections=4, message_bytes=5_000_000, seconds=2.5),
    Case(name="progress", title="16 × 100 progress", connections=16, tool="progress", seconds=1.5),
    Case(name="everything", title="16 × server-everything", connections=16, server="everything"),
    Case(name="time", title="16 × mcp-server-time", connections=16, tool="convert_time", server="time"),
)
QUICK: Final = ("16", "64")


def find_cases(names: tuple[str, ...]) -> tuple[Case, ...]:
    """The cases of these names, in the order of CASES; all of them for none.

    Raises:
        LookupError: there is no case of that name.
    """
    known = {case.name for case in CASES}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise LookupError(f"no such case: {', '.join(unknown)}; there are {', '.join(known)}")
    return tuple(case for case in CASES if not names or case.name in names)
