"""Finished work has a test for each of its promises and threats, and the pages that list them are up to date."""

from pathlib import Path

import pytest

from tests.conftest import MARKS_KEY, is_whole_suite
from tests.requirements import catalogue
from tests.requirements.catalogue import Area, Requirement, TestsById

NUMBER_OF_PROMISES = 126
NUMBER_OF_THREATS = 112


@pytest.fixture(scope="module")
def suite_marks(request: pytest.FixtureRequest) -> dict[str, TestsById]:
    """The marks of the whole suite, also where only a part of it runs."""
    return request.config.stash[MARKS_KEY] if is_whole_suite(request.config) else catalogue.collect_marks()


def test_the_lists_are_complete_and_each_row_has_a_known_area():
    promises, threats, areas = catalogue.load_promises(), catalogue.load_threats(), catalogue.load_areas()
    assert [row.id for row in promises] == [str(number) for number in range(1, NUMBER_OF_PROMISES + 1)]
    assert len({row.id for row in threats}) == len(threats) == NUMBER_OF_THREATS
    assert {row.area for row in promises + threats} == set(areas)


def test_every_promise_of_finished_work_has_a_test(suite_marks: dict[str, TestsById]):
    missing = catalogue.without_test(catalogue.load_promises(), catalogue.load_areas(), suite_marks["promise"])
    assert not missing, f"no test carries pytest.mark.promise of {', '.join(missing)}"


def test_every_threat_of_finished_work_has_a_test(suite_marks: dict[str, TestsById]):
    missing = catalogue.without_test(catalogue.load_threats(), catalogue.load_areas(), suite_marks["threat"])
    assert not missing, f"no test carries pytest.mark.threat of {', '.join(missing)}"


def test_marks_name_only_known_promises_and_threats(suite_marks: dict[str, TestsById]):
    assert catalogue.unknown_marks(catalogue.load_promises(), suite_marks["promise"]) == []
    assert catalogue.unknown_marks(catalogue.load_threats(), suite_marks["threat"]) == []


def test_a_missing_and_an_unknown_number_are_noticed():
    areas = {"done": Area(title="", finished=True), "later": Area(title="", finished=False)}
    rows = [
        Requirement(id="1", area="done", text=""),
        Requirement(id="2", area="done", text=""),
        Requirement(id="3", area="done", text="", not_testable="a picture"),
        Requirement(id="4", area="later", text=""),
    ]
    tests = {"1": ["tests/test_a.py::test_a"], "9": ["tests/test_a.py::test_b"]}
    assert catalogue.without_test(rows, areas, tests) == ["2"]
    assert catalogue.unknown_marks(rows, tests) == ["9"]


def test_the_pages_of_promises_and_threats_are_up_to_date(suite_marks: dict[str, TestsById], tmp_path: Path):
    catalogue.write_docs(suite_marks, tmp_path)
    for name in ("promises.md", "threats.md"):
        shown = (catalogue.ROOT / "docs" / name).read_text(encoding="utf-8")
        assert shown == (tmp_path / name).read_text(encoding="utf-8"), f"docs/{name} is old: run scripts/update-docs"
