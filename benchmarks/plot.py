"""The picture of `docs/performance.md`: each gateway a row, each case a dot on a logarithmic scale."""
# matplotlib's types are only partly known, and it is there in the group `bench` alone.
# pyright: basic, reportMissingImports=false

import io
from collections.abc import Sequence
from typing import Any, Final

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from benchmarks.cases import CASES
from benchmarks.samples import Figures
from benchmarks.summary import Line

SHOWN: Final = ("1", "16", "64", "256", "100kB")
MARKERS: Final = ("o", "s", "D", "^", "x")
COLORS: Final = ("#0b5cad", "#d1495b", "#2e7d32", "#e09f3e", "#6a4c93")
SETTINGS: Final[Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "fluidmcp",
    "font.family": "sans-serif",
    "font.size": 9,
}
"""Text stays text, and the same numbers make the same file."""


def draw(lines: Sequence[Line], figures: Sequence[Figures]) -> str:
    """The picture as SVG."""
    names = [one.gateway for one in figures]
    titles = [one.title.replace("*", "").replace("`", "") for one in figures]
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(8.5, 1.2 + 0.32 * len(names)), layout="constrained")
        axes = figure.add_subplot()
        cases = [case for case in CASES if case.name in SHOWN]
        for case, marker, color in zip(cases, MARKERS, COLORS, strict=True):
            dots = [
                (line.ratio, names.index(line.gateway))
                for line in lines
                if line.case == case.name and line.ratio is not None and not line.fault
            ]
            if dots:
                ratios, rows = zip(*dots, strict=True)
                axes.scatter(ratios, rows, marker=marker, s=28, color=color, label=case.title, zorder=3)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_yticks(range(len(names)), titles)
        axes.invert_yaxis()
        axes.set_xlabel("requests per second, as a share of the limit (logarithmic)")
        axes.grid(axis="x", which="both", color="#dddddd", linewidth=0.6)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        figure.legend(loc="outside upper center", ncols=len(SHOWN), frameon=False)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"
