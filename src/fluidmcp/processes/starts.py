"""What a start tells of itself while it goes on."""

from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class StartReport:
    """Filled in by whoever makes a worker ready, read by the pool that waits for it."""

    stderr_tail: tuple[str, ...] = ()
    """The last lines of the process that was given up, redacted, from before it was told to end."""
