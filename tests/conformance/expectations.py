"""What is allowed to fail: `expected_failures.toml`, compared with what did.

[[failure]]
fixture = "handshake"
set = "2026-07-28"
scenario = "…"
check = "…"
reason = "why this cannot hold behind a gateway"
"""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.conformance.suite import Fault

FILE: Final = Path(__file__).with_name("expected_failures.toml")
FIELDS: Final = ("fixture", "set", "scenario", "check", "reason")


@dataclass(frozen=True, slots=True)
class ExpectedFailure:
    fixture: str
    set: str
    scenario: str
    check: str
    reason: str


def parse_expected_failures(text: str) -> list[ExpectedFailure]:
    """Raises ValueError for an entry that lacks a field, has an unknown one, or gives an empty text."""
    entries = tomllib.loads(text).get("failure", [])
    for entry in entries:
        if sorted(entry) != sorted(FIELDS) or not all(isinstance(v, str) and v.strip() for v in entry.values()):
            raise ValueError(f"an entry needs exactly {', '.join(FIELDS)}, each with a text: {entry}")
    return [ExpectedFailure(**entry) for entry in entries]


def load_expected_failures() -> list[ExpectedFailure]:
    return parse_expected_failures(FILE.read_text(encoding="utf-8"))


def compare(
    fixture: str, requirement_set: str, faults: Iterable[Fault], expected: Iterable[ExpectedFailure]
) -> list[str]:
    """One line per fault that nobody expected, and per expectation that did not come true."""
    found = {(fault.scenario, fault.check): fault for fault in faults}
    allowed = {(e.scenario, e.check) for e in expected if (e.fixture, e.set) == (fixture, requirement_set)}
    surprises = [str(fault) for key, fault in found.items() if key not in allowed]
    stale = [f"{scenario} [{check}] is met: take it out of {FILE.name}" for scenario, check in allowed - found.keys()]
    return surprises + sorted(stale)
