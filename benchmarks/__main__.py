"""`scripts/bench`: the options. `--help` says what they do."""

import platform
import shutil
from pathlib import Path

import click
import msgspec
import psutil

from benchmarks.cases import CASES, QUICK, Case, find_cases
from benchmarks.choice import BEFORE, choose_gateways
from benchmarks.gateways import Gateway
from benchmarks.limit import NAME as LIMIT
from benchmarks.rounds import SITES, Measurement
from benchmarks.samples import Results
from benchmarks.summary import summarize
from benchmarks.table import write_details
from benchmarks.workshop import CACHE, set_up_workshop

DEFAULT_ROUNDS = 5


def split_names(context: click.Context, option: click.Parameter, value: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in value.split(",") if name.strip())


@click.command()
@click.option(
    "--quick", is_flag=True, help="The open gateway and the limit, 16 and 64 connections; less than a minute."
)
@click.option("--gateways", callback=split_names, default="", metavar="A,B", help="Only these, beside the limit.")
@click.option(
    "--cases", callback=split_names, default="", metavar="A,B", help=f"Of {', '.join(c.name for c in CASES)}."
)
@click.option(
    "--rounds", type=click.IntRange(1), default=DEFAULT_ROUNDS, show_default=True, help="How often each is driven."
)
@click.option(
    "--against",
    type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path),
    help="Another checkout, such as a worktree of the commit before: its gateways in alternation with these.",
)
def main(quick: bool, gateways: tuple[str, ...], cases: tuple[str, ...], rounds: int, against: Path | None) -> None:
    """Measure gateways side by side. What counts is the ratio within one run, not the number of another day."""
    try:
        chosen_cases = find_cases(cases or (QUICK if quick or against else ()))
        chosen = choose_gateways(gateways or (("open",) if quick or against else ()), against)
    except LookupError as error:
        raise click.UsageError(str(error)) from error
    results = measure(chosen, chosen_cases, rounds, has_starts=not (quick or against))
    show(results, f"open{BEFORE}" if against and not gateways else LIMIT)


def measure(gateways: tuple[Gateway, ...], cases: tuple[Case, ...], rounds: int, *, has_starts: bool) -> Results:
    workshop = set_up_workshop()
    measurement = Measurement(workshop=workshop, say=lambda text: click.echo(text, err=True))
    measurement.install(gateways)
    if has_starts:
        measurement.measure_starts(gateways, rounds)
    measurement.measure(gateways, cases, rounds)
    shutil.rmtree(SITES, ignore_errors=True)
    results = Results(
        machine=f"{psutil.cpu_count()} processors, Python {platform.python_version()}, Linux {platform.release()}",
        rounds=rounds,
        is_compiled=workshop.is_compiled,
        figures=measurement.figures(gateways),
        runs=tuple(measurement.runs),
    )
    (CACHE / "results.json").write_bytes(msgspec.json.encode(results))
    return results


def show(results: Results, reference: str) -> None:
    click.echo(write_details(summarize(results.runs, reference), reference))
    if not results.is_compiled:
        click.echo("There is no gcc: load generator and echo server are in Python, and all figures are lower bounds.")


if __name__ == "__main__":
    main()
