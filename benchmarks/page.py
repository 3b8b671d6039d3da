"""`docs/performance.md`: the part between two marks is written from results, the rest by hand. Pure module: no I/O."""

from collections.abc import Callable, Sequence
from statistics import median
from typing import Final

from benchmarks.cases import CASES
from benchmarks.samples import Figures, Results
from benchmarks.summary import Line
from benchmarks.table import format_number, format_ratio, write_table

BEGIN: Final = "<!-- written by scripts/bench: begin -->"
END: Final = "<!-- written by scripts/bench: end -->"
NOTHING: Final = "-"


class MarksError(Exception):
    """The page lacks the marks between which results go."""


def replace_results(page: str, results: str) -> str:
    """The page with other results.

    Raises:
        MarksError: it does not have each mark once, in order.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after:
        raise MarksError(f"the page needs the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{results.strip()}\n\n{END}{after}"


def write_results(results: Results, lines: Sequence[Line], reference: str, plot: str) -> str:
    """All tables. `plot` is the name of the picture beside the page."""
    by_place = {(line.gateway, line.case): line for line in lines}
    titles = {case.name: case.title for case in CASES if any(line.case == case.name for line in lines)}

    def table(show: Callable[[Line], str]) -> str:
        rows = [
            [figures.title, *(_show(by_place.get((figures.gateway, case)), show) for case in titles)]
            for figures in results.figures
        ]
        return write_table(["", *titles.values()], rows)

    def show_ratio(line: Line) -> str:
        share = format_ratio(line.ratio)
        return f"1 ({format_number(line.per_second)}/s)" if line.gateway == reference else share

    parts = [
        _tell_circumstances(results, lines),
        f"![Requests per second of each gateway, as a share of the limit]({plot})",
        "### Requests per second, as a share of the limit",
        table(show_ratio),
        "### Time of one request, p50 / p99, in milliseconds",
        table(lambda line: f"{format_number(line.p50_ms)} / {format_number(line.p99_ms)}"),
        "### Processor time of the gateway per request, in milliseconds",
        table(lambda line: format_number(line.gateway_ms)),
        "### Memory and start",
        _write_figures(results.figures),
    ]
    if not results.is_compiled:
        parts.insert(1, "Without gcc: load generator and echo server were in Python, and all figures are lower bounds.")
    return "\n\n".join(parts)


def _show(line: Line | None, show: Callable[[Line], str]) -> str:
    if line is None:
        return NOTHING
    return line.fault or show(line)


def _tell_circumstances(results: Results, lines: Sequence[Line]) -> str:
    if results.rounds == 1:
        return f"{results.machine}. One round."
    return f"{results.machine}. Medians of {results.rounds} rounds. {_tell_spread(lines)}"


def _tell_spread(lines: Sequence[Line]) -> str:
    """How far apart the rounds of one cell are, which says what a difference between two cells is worth."""
    spreads = [
        (line.highest_ratio - line.lowest_ratio) / line.ratio
        for line in lines
        if line.ratio and line.highest_ratio is not None and line.lowest_ratio is not None and line.highest_ratio != 1
    ]
    if not spreads:
        return ""
    return f"Between its lowest and its highest round, the ratio of a cell differs by {median(spreads):.0%} (median)."


def _write_figures(figures: Sequence[Figures]) -> str:
    head = ("", "memory idle, MB", "memory after all runs, MB", "listens after, s", "first answer after, s")
    rows = [
        (
            one.title,
            *((format_number(one.idle_mb), format_number(one.after_mb)) if one.idle_mb else (NOTHING, NOTHING)),
            _write_seconds(one.start_seconds),
            _write_seconds(one.ready_seconds),
        )
        if not one.fault
        else (one.title, one.fault, NOTHING, NOTHING, NOTHING)
        for one in figures
    ]
    return write_table(head, rows)


def _write_seconds(seconds: Sequence[float]) -> str:
    return f"{median(seconds):.2f}" if seconds else NOTHING
