"""What was measured, as values that can be kept as JSON."""

import msgspec


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """What the load generator tells of one run."""

    answers: int
    seconds: float
    per_second: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    gateway_seconds: float
    """Processor time of the gateway's process while the answers came."""
    load_seconds: float
    all_answers: int
    wrong: int
    refused: int
    lost: int
    stuck: int
    fault: str

    @property
    def is_good(self) -> bool:
        """Every answer was right, and there were some."""
        return self.answers > 0 and not (self.wrong or self.refused or self.lost or self.stuck)

    @property
    def gateway_ms(self) -> float:
        """Processor time of the gateway for one request."""
        return self.gateway_seconds / self.answers * 1000 if self.answers else 0.0


def make_failed(fault: str) -> Sample:
    """For a gateway that could not be driven."""
    return Sample(
        answers=0,
        seconds=0,
        per_second=0,
        p50_ms=0,
        p99_ms=0,
        max_ms=0,
        gateway_seconds=0,
        load_seconds=0,
        all_answers=0,
        wrong=0,
        refused=0,
        lost=0,
        stuck=0,
        fault=fault,
    )


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One sample, and where it belongs."""

    gateway: str
    case: str
    round: int
    sample: Sample


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a gateway beside its samples."""

    gateway: str
    title: str
    fault: str = ""
    """Why it was not measured at all."""
    start_seconds: tuple[float, ...] = ()
    """From the command until it listens."""
    ready_seconds: tuple[float, ...] = ()
    """From the command to the first right answer."""
    idle_mb: float = 0.0
    after_mb: float = 0.0


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """A whole measurement."""

    machine: str
    rounds: int
    is_compiled: bool
    figures: tuple[Figures, ...]
    runs: tuple[Run, ...]
