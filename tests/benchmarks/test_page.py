"""Results go between two marks, and the prose around them stays."""

from pathlib import Path

import pytest

from benchmarks.page import BEGIN, END, MarksError, replace_results, write_results
from benchmarks.samples import Figures, Results, Run, make_failed
from benchmarks.summary import summarize

PAGE = Path(__file__).resolve().parents[2] / "docs" / "performance.md"


def test_only_what_is_between_the_marks_changes():
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert replace_results(page, "new") == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    assert replace_results(replace_results(page, "x"), "new") == replace_results(page, "new")


@pytest.mark.parametrize("page", ["", BEGIN, END, f"{END}{BEGIN}", f"{BEGIN}{BEGIN}{END}", f"{BEGIN}{END}{END}"])
def test_a_page_without_its_marks_is_refused(page: str):
    with pytest.raises(MarksError):
        replace_results(page, "new")


def test_the_page_has_its_marks():
    assert replace_results(PAGE.read_text(encoding="utf-8"), "new")


def test_a_gateway_that_failed_is_in_the_table_with_its_reason():
    run = Run(gateway="other", case="16", round=0, sample=make_failed("cannot be installed"))
    figures = (Figures(gateway="other", title="Another one", fault="cannot be installed"),)
    results = Results(machine="2 processors", rounds=1, is_compiled=False, figures=figures, runs=(run,))
    text = write_results(results, summarize(results.runs, "limit"), "limit", "plot.svg")
    assert text.count("cannot be installed") == 4
    assert "lower bounds" in text
    assert "(plot.svg)" in text
