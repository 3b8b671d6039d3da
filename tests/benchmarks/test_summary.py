"""Samples become medians, and ratios within one round."""

from benchmarks.samples import Run, Sample, make_failed
from benchmarks.summary import summarize


def sample(per_second: float, *, wrong: int = 0, fault: str = "") -> Sample:
    return Sample(
        answers=100,
        seconds=1,
        per_second=per_second,
        p50_ms=1,
        p99_ms=2,
        max_ms=3,
        gateway_seconds=0.5,
        load_seconds=0.1,
        all_answers=120,
        wrong=wrong,
        refused=0,
        lost=0,
        stuck=0,
        fault=fault,
    )


def runs_of(gateway: str, *rates: float) -> list[Run]:
    return [Run(gateway=gateway, case="16", round=number, sample=sample(rate)) for number, rate in enumerate(rates)]


def test_a_ratio_compares_samples_of_one_round():
    runs = [*runs_of("limit", 100, 200, 400), *runs_of("ours", 50, 50, 300)]
    line = summarize(runs, "limit")[1]
    assert (line.ratio, line.lowest_ratio, line.highest_ratio) == (0.5, 0.25, 0.75)
    assert line.per_second == 50


def test_processor_time_is_told_per_request():
    assert summarize(runs_of("ours", 100), "limit")[0].gateway_ms == 5


def test_a_gateway_without_a_reference_in_its_round_has_no_ratio():
    assert summarize(runs_of("ours", 100), "limit")[0].ratio is None


def test_a_wrong_answer_is_a_fault_in_few_words():
    bad = sample(100, wrong=1, fault="refused: HTTP 413 <html>Payload too large")
    assert summarize([Run(gateway="ours", case="16", round=0, sample=bad)], "limit")[0].fault == "refused (413)"


def test_answers_that_were_refused_by_content_do_not_name_a_status():
    bad = sample(100, wrong=1, fault='another id: HTTP 200 {"id": 5}')
    assert summarize([Run(gateway="ours", case="16", round=0, sample=bad)], "limit")[0].fault == "another id"


def test_a_gateway_that_cannot_start_says_why():
    failed = Run(gateway="ours", case="16", round=0, sample=make_failed("cannot start: no port"))
    assert summarize([failed], "limit")[0].fault == "cannot start: no port"


def test_a_fault_of_the_reference_leaves_the_round_without_ratios():
    bad = Run(gateway="limit", case="16", round=0, sample=sample(100, wrong=1))
    assert summarize([bad, *runs_of("ours", 100)], "limit")[1].ratio is None
