"""From samples to the numbers of a table. Pure module: no I/O.

A ratio compares samples of one round, which lie seconds apart; the median of these counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.samples import Run, Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One gateway in one case: medians over the rounds."""

    gateway: str
    case: str
    per_second: float
    p50_ms: float
    p99_ms: float
    gateway_ms: float
    ratio: float | None
    """Requests per second, as a share of the reference's in the same round."""
    lowest_ratio: float | None
    highest_ratio: float | None
    fault: str


def summarize(runs: Sequence[Run], reference: str) -> list[Line]:
    """A line for each gateway and case that was driven, in the order of the runs."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.gateway, run.case), []).append(run)
    rates = {
        (run.case, run.round): run.sample.per_second for run in runs if run.gateway == reference and run.sample.is_good
    }
    return [_summarize_group(group, rates) for group in groups.values()]


def _summarize_group(group: Sequence[Run], rates: dict[tuple[str, int], float]) -> Line:
    bad = next((run.sample for run in group if not run.sample.is_good), None)
    good = [run for run in group if run.sample.is_good]
    ratios = [run.sample.per_second / rates[run.case, run.round] for run in good if (run.case, run.round) in rates]
    samples = [run.sample for run in good]
    return Line(
        gateway=group[0].gateway,
        case=group[0].case,
        per_second=median([sample.per_second for sample in samples] or [0.0]),
        p50_ms=median([sample.p50_ms for sample in samples] or [0.0]),
        p99_ms=median([sample.p99_ms for sample in samples] or [0.0]),
        gateway_ms=median([sample.gateway_ms for sample in samples] or [0.0]),
        ratio=median(ratios) if ratios else None,
        lowest_ratio=min(ratios, default=None),
        highest_ratio=max(ratios, default=None),
        fault=_tell_fault(bad) if bad is not None else "",
    )


def _tell_fault(sample: Sample) -> str:
    """In a few words: what the load generator noted first, without the body that it quotes."""
    if not sample.fault:
        return "no answer in time"
    what, _, status = sample.fault.partition(": HTTP ")
    return f"{what} ({status[:3]})" if status[:3] not in ("", "200", "0 ") else what
