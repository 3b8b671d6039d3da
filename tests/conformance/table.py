"""`scripts/conformance`: runs the suite and prints a table, fixture by requirement set.

    scripts/conformance                                   every fixture through the gateway, every set
    scripts/conformance --fixture dual --set 2026-07-28   some of it
    scripts/conformance --direct                          the fixtures' own HTTP, without a gateway
    scripts/conformance --url http://localhost:8099/x/mcp any server
    scripts/conformance --scenario caching --fixture dual --set 2026-07-28

Exit code 1 when a check fails that is not among the expected failures.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import cast, get_args

from tests.conformance import expectations, fixtures, suite
from tests.conformance.fixtures import FixtureName
from tests.conformance.suite import Outcome, RequirementSet

FIXTURES: tuple[FixtureName, ...] = get_args(FixtureName)
SETS: tuple[RequirementSet, ...] = get_args(RequirementSet)

Rows = dict[str, dict[RequirementSet, Outcome]]
"""By the name of the fixture, or the URL."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    names = cast("Sequence[FixtureName]", options.fixture or FIXTURES)
    missing = [suite.missing_suite(), *(fixtures.missing_fixture(name) for name in names)]
    if any(missing):
        _say("\n".join(line for line in missing if line))
        return 2
    return asyncio.run(_run(options, names, cast("Sequence[RequirementSet]", options.set or SETS)))


def format_table(rows: Rows) -> str:
    """A column per set: scenarios without a failed check, of those that count; the number of warnings after a plus."""
    sets = sorted({name for outcomes in rows.values() for name in outcomes})
    width = max(len(name) for name in [*rows, "server"])
    lines = [f"{'server':<{width}}  " + "  ".join(f"{name:>12}" for name in sets)]
    for name, outcomes in rows.items():
        cells = (_format_cell(outcomes[one]) if one in outcomes else "-" for one in sets)
        lines.append(f"{name:<{width}}  " + "  ".join(f"{cell:>12}" for cell in cells))
    return "\n".join(lines)


def _format_cell(outcome: Outcome) -> str:
    warnings = sum(fault.is_warning for fault in outcome.faults)
    return f"{outcome.met_count}/{len(outcome.scored)}" + (f" +{warnings}w" if warnings else "")


async def _run(options: argparse.Namespace, names: Sequence[FixtureName], sets: Sequence[RequirementSet]) -> int:
    rows: Rows = {}
    surprises: list[str] = []
    expected = [] if options.url or options.direct or options.scenario else expectations.load_expected_failures()
    async with _endpoints(options, names) as urls:
        for name, url in urls.items():
            for one in sets:
                begun = time.monotonic()
                outcome = await suite.run_suite(url, one, scenario=options.scenario)
                _say(f"{name} {one}: {_format_cell(outcome)} in {time.monotonic() - begun:.1f} s")
                rows.setdefault(name, {})[one] = outcome
                found = expectations.compare(name, one, outcome.faults, expected)
                surprises += [f"{name} {one}: {line}" for line in found]
    _say("\n" + format_table(rows))
    if surprises:
        _say("\n" + "\n".join(surprises))
    return 1 if surprises else 0


@asynccontextmanager
async def _endpoints(options: argparse.Namespace, names: Sequence[FixtureName]) -> AsyncGenerator[dict[str, str]]:
    """URL by name."""
    if options.url:
        yield {options.url: options.url}
    elif options.direct:
        urls: dict[str, str] = {}
        async with AsyncExitStack() as stack:
            for name in names:
                urls[name] = await stack.enter_async_context(fixtures.start_over_http(name))
            yield urls
    else:
        with tempfile.TemporaryDirectory(prefix="conformance-") as folder, fixtures.forked_commands(*names) as commands:
            async with fixtures.start_gateway(Path(folder), commands) as gateway:
                yield {name: f"{gateway.url}/{name}/mcp" for name in names}


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/conformance", description="Run the MCP conformance suite.")
    parser.add_argument("--fixture", action="append", choices=FIXTURES, help="this fixture; may be given again")
    parser.add_argument("--set", action="append", choices=SETS, help="this requirement set; may be given again")
    parser.add_argument("--scenario", help="this scenario alone, at the revision of each set")
    target = parser.add_mutually_exclusive_group()
    target.add_argument("--url", help="an MCP endpoint on localhost, instead of the fixtures")
    target.add_argument("--direct", action="store_true", help="the fixtures' own HTTP, without a gateway")
    return parser.parse_args(arguments)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
