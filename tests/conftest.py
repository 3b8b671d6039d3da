"""What holds for the whole suite: missing parts, skips that must not happen, and which test shows which statement."""

import json
import os
import signal
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import cast

import pytest
from hypothesis import HealthCheck, settings

from tests import parts

# How fast inputs are made says how busy the machine is, and nothing about what is tested.
settings.register_profile("fluidmcp", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fluidmcp")

COMPLETE = os.environ.get("FMCP_TESTS_COMPLETE") == "1"
"""Set where every part is installed: a skip is then a failure."""

SLOW_FOLDERS = tuple(
    "scale containers conformance known_servers isolation clients acceptance demo browser cli configurations processes "
    "gateway".split()
)
"""Whose files take longest, so that they come first: at the end of a run all workers have something to do."""

TESTS = Path(__file__).parent
HEAVY_FOLDERS = tuple(
    TESTS / name
    for name in (
        "conformance clients configurations isolation known_servers containers scale deploy cli/doctor browser "
        "first_minute site release".split()
    )
)
"""What other people's programs say of the gateway, a gateway for each of a hundred files and of two dozen published
servers, every attack at every level of isolation, real containers and what is shipped for them, a thousand clients at
once, dozens of gateways set up wrongly, pages in a browser, newcomers with an empty folder, the documentation site, and
releases. They run where they are named: `pytest tests/conformance`.
"""

Marks = dict[str, dict[str, list[str]]]
"""`{"promise": {"112": ["tests/…::test_…"]}, "threat": {…}}`; parametrised cases count once."""

MARKS_KEY = pytest.StashKey[Marks]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--marks-to", metavar="FILE", help="write which test shows which promise and threat, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config.option, "loadscopereorder"):
        # pytest-xdist would begin with the files of the most tests, and those are the quick ones.
        config.option.loadscopereorder = False
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        # A shell starts what runs in its background so, and the programs under test would not hear Ctrl-C either.
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    order = {name: number for number, name in enumerate(SLOW_FOLDERS)}
    items.sort(key=lambda item: order.get(item.path.parent.name, len(order)))
    config.stash[MARKS_KEY] = _collect_marks(items)
    if is_whole_suite(config):
        heavy = [item for item in items if _is_heavy(item)]
        config.hook.pytest_deselected(items=heavy)
        items[:] = [item for item in items if not _is_heavy(item)]


def _is_heavy(item: pytest.Item) -> bool:
    return any(folder in item.path.parents for folder in HEAVY_FOLDERS)


def pytest_runtest_setup(item: pytest.Item) -> None:
    names = [str(name) for mark in item.iter_markers("needs") for name in mark.args]
    missing = [parts.missing_part(name) for name in names if parts.find(name) is None]
    if missing:
        pytest.skip("; ".join(missing))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if COMPLETE and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped although FMCP_TESTS_COMPLETE=1: {_reason(report.longrepr)}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if COMPLETE and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped although FMCP_TESTS_COMPLETE=1: {_reason(report.longrepr)}"
    return report


def pytest_collection_finish(session: pytest.Session) -> None:
    marks = session.config.stash[MARKS_KEY]
    target = session.config.getoption("--marks-to")
    if isinstance(target, str):
        Path(target).write_text(json.dumps(marks, indent=1, sort_keys=True), encoding="utf-8")


def is_whole_suite(config: pytest.Config) -> bool:
    """Whether nothing was selected: no paths, names, marks, and nothing left out."""
    options = ("keyword", "markexpr", "deselect", "ignore", "ignore_glob", "lf", "failedfirst", "stepwise")
    is_selected = any(config.getoption(option, None) for option in options)  # one of a plug-in that is off is missing
    return config.args_source is pytest.Config.ArgsSource.TESTPATHS and not is_selected


def _collect_marks(items: Iterable[pytest.Item]) -> Marks:
    marks: Marks = {"promise": {}, "threat": {}}
    for item in items:
        test = item.nodeid.partition("[")[0]
        for kind, tests_of in marks.items():
            for mark in item.iter_markers(kind):
                for number in mark.args:
                    tests = tests_of.setdefault(str(number), [])
                    if test not in tests:
                        tests.append(test)
    return marks


def _reason(longrepr: object) -> str:
    """The text of a skip: pytest gives it as (file, line, reason)."""
    return str(cast("tuple[object, ...]", longrepr)[-1]) if isinstance(longrepr, tuple) else str(longrepr)
