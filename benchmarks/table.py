"""Results as Markdown tables. Pure module: no I/O."""

from collections.abc import Sequence

from benchmarks.summary import Line


def write_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with columns of equal width, so that it can be read in a terminal as well."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |" for line in lines
    )


def write_details(lines: Sequence[Line], reference: str) -> str:
    """Every figure of every line."""
    head = ("case", "gateway", "per second", f"of {reference}", "lowest to highest", "p50 ms", "p99 ms", "CPU ms", "")
    rows = [
        (
            line.case,
            line.gateway,
            format_number(line.per_second),
            format_ratio(line.ratio),
            f"{format_ratio(line.lowest_ratio)} to {format_ratio(line.highest_ratio)}",
            format_number(line.p50_ms),
            format_number(line.p99_ms),
            format_number(line.gateway_ms),
            line.fault[:100],
        )
        for line in lines
    ]
    return write_table(head, rows)


def format_ratio(ratio: float | None) -> str:
    """Two digits that count."""
    if ratio is None:
        return "-"
    return f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.2g}"


def format_number(number: float) -> str:
    """Three digits that count, thousands apart."""
    if number >= 1000:
        return f"{round(number, 2 - len(str(int(number))) + 1):,.0f}"
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"
