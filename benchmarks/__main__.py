"""`scripts/bench`: the options. `--help` says what they do."""

import platform
import shutil
from pathlib import Path
from typing import Final

import click
import msgspec
import psutil

from benchmarks.cases import CASES, QUICK, Case, find_cases
from benchmarks.choice import BEFORE, choose_gateways, list_gateways
from benchmarks.gateways import Gateway
from benchmarks.limit import NAME as LIMIT
from benchmarks.page import replace_results, write_results
from benchmarks.plot import draw
from benchmarks.rounds import SITES, Measurement
from benchmarks.samples import Results
from benchmarks.soak import soak
from benchmarks.summary import summarize
from benchmarks.table import write_details
from benchmarks.workshop import CACHE, ROOT, Workshop, set_up_workshop

DEFAULT_ROUNDS: Final = 5
PAGE: Final = ROOT / "docs" / "performance.md"
PLOT: Final = ROOT / "docs" / "performance.svg"
RESULTS: Final = CACHE / "results.json"


def split_names(context: click.Context, option: click.Parameter, value: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in value.split(",") if name.strip())


def say(text: str) -> None:
    """To the person who waits; results go to stdout."""
    click.echo(text, err=True)


@click.command()
@click.option("--quick", is_flag=True, help="The open gateway and the limit, 16 and 64 connections: half a minute.")
@click.option(
    "--gateways",
    callback=split_names,
    default="",
    metavar="A,B",
    help=f"Only these, beside the limit; of {', '.join(gateway.name for gateway in list_gateways())}.",
)
@click.option(
    "--cases",
    callback=split_names,
    default="",
    metavar="A,B",
    help=f"Only these; of {', '.join(case.name for case in CASES)}.",
)
@click.option("--rounds", type=click.IntRange(1), default=DEFAULT_ROUNDS, show_default=True, help="How often each.")
@click.option(
    "--against",
    type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path),
    help="Another checkout, such as a worktree of the commit before: its gateways in alternation with these, and "
    "ratios to it.",
)
@click.option("--write", is_flag=True, help="Write docs/performance.md and its picture.")
@click.option("--redraw", is_flag=True, help="Write them from the last results, without measuring.")
@click.option("--without-gcc", is_flag=True, help="As on a machine that has none: figures are lower bounds.")
@click.option("--soak", "requests", type=click.IntRange(1), help="Send so many requests, and watch the memory.")
def main(
    quick: bool,
    gateways: tuple[str, ...],
    cases: tuple[str, ...],
    rounds: int,
    against: Path | None,
    write: bool,
    redraw: bool,
    without_gcc: bool,
    requests: int | None,
) -> None:
    """Measure gateways side by side. What counts is the ratio within one run, not the number of another day."""
    if requests is not None:
        soak(set_up_workshop(has_gcc=not without_gcc), requests, say=click.echo)
        return
    if redraw:
        write_documents(msgspec.json.decode(RESULTS.read_bytes(), type=Results))
        return
    is_short = quick or against is not None
    try:
        chosen_cases = find_cases(cases or (QUICK if is_short else ()))
        chosen = choose_gateways(gateways or (("open",) if is_short else ()), against)
    except LookupError as error:
        raise click.UsageError(str(error)) from error
    workshop = set_up_workshop(has_gcc=not without_gcc)
    results = measure(workshop, chosen, chosen_cases, rounds, has_starts=not is_short)
    show(results, is_paired=against is not None)
    if write:
        write_documents(results)


def measure(
    workshop: Workshop, gateways: tuple[Gateway, ...], cases: tuple[Case, ...], rounds: int, *, has_starts: bool
) -> Results:
    measurement = Measurement(workshop=workshop, say=say)
    measurement.install(gateways)
    if has_starts:
        measurement.measure_starts(gateways, rounds)
    measurement.measure(gateways, cases, rounds)
    shutil.rmtree(SITES, ignore_errors=True)
    kernel = platform.release().partition("-")[0]
    results = Results(
        machine=f"{psutil.cpu_count()} processors, Python {platform.python_version()}, Linux {kernel}",
        rounds=rounds,
        is_compiled=workshop.is_compiled,
        figures=measurement.figures(gateways),
        runs=tuple(measurement.runs),
    )
    RESULTS.write_bytes(msgspec.json.encode(results))
    return results


def show(results: Results, *, is_paired: bool) -> None:
    """Everything, with ratios to the limit; in pairs, each gateway with the ratio to its twin first."""
    if is_paired:
        pairs = [one.gateway for one in results.figures if one.gateway.endswith(BEFORE)]
        for before in pairs:
            runs = [run for run in results.runs if run.gateway in (before, before.removesuffix(BEFORE))]
            click.echo(write_details(summarize(runs, before), before) + "\n")
    click.echo(write_details(summarize(results.runs, LIMIT), LIMIT))
    for one in results.figures:
        memory = f"{one.gateway}: {one.idle_mb:.0f} MB idle, {one.after_mb:.0f} MB after all runs"
        click.echo(one.fault or memory)
    if not results.is_compiled:
        click.echo("There is no gcc: load generator and echo server are in Python, and all figures are lower bounds.")


def write_documents(results: Results) -> None:
    lines = summarize(results.runs, LIMIT)
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(replace_results(page, write_results(results, lines, LIMIT, PLOT.name)), encoding="utf-8")
    PLOT.write_text(draw(lines, results.figures), encoding="utf-8")
    say(f"wrote {PAGE.relative_to(ROOT)} and {PLOT.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
