"""What the suite wrote is read rightly, and compared with what may fail."""

from pathlib import Path

import pytest

from tests.conformance import expectations, suite, table
from tests.conformance.expectations import ExpectedFailure
from tests.conformance.suite import Fault, Outcome

SUMMARY = """
=== Running scenario: ping ===

=== SUMMARY ===
✓ ping: 2 passed, 0 failed
✗ caching: 1 passed, 1 failed
✗ broken: 0 passed, 1 failed
✗ tasks-lifecycle: 0 passed, 1 failed

Total: 3 passed, 3 failed

Not scored for 2026-07-28: 1 scenario(s) run, 1 failing. These do not affect conformance.
  ✗ tasks-lifecycle (extension)
"""
CHECKS: dict[str, list[dict[str, str]]] = {
    "ping": [{"id": "ping", "status": "SUCCESS"}, {"id": "slow", "status": "WARNING", "description": "is slow"}],
    "caching": [{"id": "a", "status": "SUCCESS"}, {"id": "hints", "status": "FAILURE", "errorMessage": "no ttlMs"}],
    "tasks-lifecycle": [{"id": "tasks", "status": "FAILURE", "errorMessage": "no tasks"}],
}
EXPECTED = ExpectedFailure("dual", "2026-07-28", "caching", "hints", "a reason")
ENTRY = (
    '[[failure]]\nfixture = "dual"\nset = "2026-07-28"\nscenario = "caching"\ncheck = "hints"\nreason = "a reason"\n'
)


def parsed() -> Outcome:
    return suite.parse_outcome(SUMMARY, CHECKS)


def test_a_scenario_is_met_when_no_check_failed_and_a_warning_is_told():
    outcome = parsed()
    assert [s.name for s in outcome.scored] == ["ping", "caching", "broken"]
    assert [s.name for s in outcome.scored if s.is_met] == ["ping"]
    assert [str(fault) for fault in outcome.faults] == [
        "ping [slow] warning: is slow",
        "caching [hints] failed: no ttlMs",
        "broken [broken] failed: 0 checks passed, 1 failed",
    ]


def test_a_run_without_a_summary_is_a_failure():
    with pytest.raises(suite.SuiteFailedError, match="connection refused"):
        suite.parse_outcome("connection refused", {})


def test_the_checks_of_a_scenario_are_found_by_its_folder(tmp_path: Path):
    for name in ("server-tools-list-2026-11-23T23-50-03-391Z", "something-else"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "checks.json").write_text('[{"id": "a", "status": "SUCCESS"}]', encoding="utf-8")
    assert suite.read_checks(tmp_path) == {"tools-list": [{"id": "a", "status": "SUCCESS"}]}


def test_a_failure_that_is_expected_is_no_surprise_and_one_that_is_gone_is():
    faults = [Fault("caching", "hints", "no ttlMs"), Fault("ping", "ping", "silence")]
    assert expectations.compare("dual", "2026-07-28", faults, [EXPECTED]) == ["ping [ping] failed: silence"]
    assert expectations.compare("dual", "2026-07-28", faults[:1], [EXPECTED]) == []
    assert expectations.compare("dual", "2026-07-28", [], [EXPECTED]) == [
        "caching [hints] is met: take it out of expected_failures.toml"
    ]


def test_an_expectation_is_for_its_fixture_and_its_set_alone():
    faults = [Fault("caching", "hints", "no ttlMs")]
    for fixture, requirement_set in (("handshake", "2026-07-28"), ("dual", "2025-11-25")):
        surprises = expectations.compare(fixture, requirement_set, faults, [EXPECTED])
        assert surprises == ["caching [hints] failed: no ttlMs"]


def test_an_expectation_needs_a_reason():
    assert expectations.parse_expected_failures(ENTRY) == [EXPECTED]
    for text in (ENTRY.replace("a reason", " "), ENTRY.replace("reason", "because")):
        with pytest.raises(ValueError, match="an entry needs exactly"):
            expectations.parse_expected_failures(text)


def test_the_file_of_expected_failures_can_be_read():
    assert all(entry.reason for entry in expectations.load_expected_failures())


def test_the_table_has_a_row_per_server_and_a_column_per_set():
    text = table.format_table({"dual": {"2025-11-25": Outcome(), "2026-07-28": parsed()}, "x": {}})
    assert [line.split() for line in text.splitlines()] == [
        ["server", "2025-11-25", "2026-07-28"],
        ["dual", "0/0", "1/3", "+1w"],
        ["x", "-", "-"],
    ]
