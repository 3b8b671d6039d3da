"""The public conformance suite, run against one URL, and its result as values.

`@modelcontextprotocol/conformance` is a Node program. It prints one line per scenario and writes the checks of each
scenario as JSON; a scenario is met when none of its checks has the status FAILURE. A WARNING is a SHOULD of the
specification that was not kept.
"""

import asyncio
import json
import os
import re
import signal
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, cast

from tests import parts

RequirementSet = Literal["2025-06-18", "2025-11-25", "2026-07-28"]

OPTIONS: Final[Mapping[RequirementSet, tuple[str, ...]]] = {
    # For this revision the suite has no list of what is required; this is everything that applies to it.
    "2025-06-18": ("--suite", "all", "--spec-version", "2025-06-18"),
    "2025-11-25": ("--requirements", "2025-11-25"),
    "2026-07-28": ("--requirements", "2026-07-28"),
}

COUNTS: Final[Mapping[RequirementSet, int]] = {"2025-06-18": 27, "2025-11-25": 30, "2026-07-28": 37}
"""How many scenarios count."""

EXTENSION_PREFIX: Final = "tasks-"
"""Scenarios of an extension that no fixture speaks; the suite runs them and does not count them."""

RUN_LIMIT_SECONDS: Final = 90.0
"""Below the limit that pytest has for a test."""
SCENARIO_LIMIT_SECONDS: Final = 30.0
KILL_LIMIT_SECONDS: Final = 10.0

SUITE_FOLDER: Final = parts.NODE_MODULES / "@modelcontextprotocol" / "conformance"

_SUMMARY: Final = re.compile(r"^[✓✗] (\S+): (\d+) passed, (\d+) failed$", re.MULTILINE)
_UNSCORED: Final = re.compile(r"^ {2}[✓✗] (\S+) \(\S+\)$", re.MULTILINE)
_FOLDER: Final = re.compile(r"server-(.+)-\d{4}-\d\d-\d\dT[\d-]+Z")


class SuiteFailedError(AssertionError):
    """The suite ended without a summary, or took too long; the text is the end of what it wrote."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A check that was not met."""

    scenario: str
    check: str
    text: str
    is_warning: bool = False

    def __str__(self) -> str:
        kind = "warning" if self.is_warning else "failed"
        return f"{self.scenario} [{self.check}] {kind}: {self.text}"


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str
    passed_checks: int
    is_scored: bool
    faults: tuple[Fault, ...] = ()

    @property
    def is_met(self) -> bool:
        return not any(not fault.is_warning for fault in self.faults)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run of the suite found."""

    scenarios: Mapping[str, Scenario] = field(default_factory=dict[str, Scenario])

    @property
    def scored(self) -> list[Scenario]:
        return [scenario for scenario in self.scenarios.values() if scenario.is_scored]

    @property
    def met_count(self) -> int:
        return sum(scenario.is_met for scenario in self.scored)

    @property
    def faults(self) -> list[Fault]:
        """Those of all scenarios but the extensions': what is not scored yet is told too."""
        scenarios = (s for s in self.scenarios.values() if not s.name.startswith(EXTENSION_PREFIX))
        return [fault for scenario in scenarios for fault in scenario.faults]


def missing_suite() -> str | None:
    """None when the suite can run; otherwise what is missing, and how to install it."""
    if parts.node_path() is None:
        return parts.missing_part("node")
    return None if (SUITE_FOLDER / "package.json").is_file() else "conformance is missing: run scripts/install-parts"


async def run_suite(
    url: str, requirement_set: RequirementSet, *, scenario: str | None = None, limit_seconds: float = RUN_LIMIT_SECONDS
) -> Outcome:
    """Run a set, or one scenario at the revision of the set, against an MCP endpoint on `localhost`.

    Raises:
        SuiteFailedError: it did not come to an end, or not to a summary.
        LookupError: Node is missing.
    """
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        chosen = ("--scenario", scenario, "--spec-version", requirement_set) if scenario else OPTIONS[requirement_set]
        limit = str(int(SCENARIO_LIMIT_SECONDS * 1000))
        output = await _run("server", "--url", url, *chosen, "--timeout", limit, "-o", folder, seconds=limit_seconds)
        checks = read_checks(Path(folder))
    if scenario is None:
        return parse_outcome(output, checks)
    if scenario not in checks:
        raise SuiteFailedError(f"{scenario} was not run:\n{output[-2000:]}")
    return Outcome({scenario: make_scenario(scenario, checks[scenario], is_scored=True)})


def read_checks(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The checks of each scenario that wrote them."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(folder.rglob("checks.json")):
        match = _FOLDER.fullmatch(path.parent.name)
        if match is not None:
            found[match[1]] = cast("list[dict[str, Any]]", json.loads(path.read_text(encoding="utf-8")))
    return found


def parse_outcome(output: str, checks: Mapping[str, Sequence[Mapping[str, Any]]]) -> Outcome:
    """The printed summary with the checks. Raises SuiteFailedError where there is no summary."""
    _, _, summary = output.partition("=== SUMMARY ===")
    rows = _SUMMARY.findall(summary)
    if not rows:
        raise SuiteFailedError(f"the suite printed no summary:\n{output[-2000:]}")
    unscored = set(_UNSCORED.findall(summary))
    scenarios: dict[str, Scenario] = {}
    for name, passed, failed in rows:
        scenario = make_scenario(name, checks.get(name, ()), is_scored=name not in unscored)
        if int(failed) and scenario.is_met:
            # A scenario that broke off is in the summary alone.
            fault = Fault(name, name, f"{passed} checks passed, {failed} failed")
            scenario = Scenario(name, int(passed), scenario.is_scored, (*scenario.faults, fault))
        scenarios[name] = scenario
    return Outcome(scenarios)


def make_scenario(name: str, checks: Sequence[Mapping[str, Any]], *, is_scored: bool) -> Scenario:
    passed = sum(check["status"] == "SUCCESS" for check in checks)
    faults = (
        Fault(
            name,
            str(check["id"]),
            str(check.get("errorMessage") or check.get("description")),
            is_warning=check["status"] == "WARNING",
        )
        for check in checks
        if check["status"] in ("FAILURE", "WARNING")
    )
    return Scenario(name, passed, is_scored, tuple(faults))


async def _run(*arguments: str, seconds: float) -> str:
    """Everything that the suite writes; its exit code says no more than its summary."""
    process = await asyncio.create_subprocess_exec(
        str(parts.require("node")),
        str(SUITE_FOLDER / "dist" / "index.js"),
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(seconds):
            output, _ = await process.communicate()
    except TimeoutError:
        raise SuiteFailedError(f"the suite did not end within {seconds} s") from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            async with asyncio.timeout(KILL_LIMIT_SECONDS):
                await process.wait()
    return output.decode(errors="replace")
