"""What a run takes: the limit always, and twins beside each other."""

from pathlib import Path

import pytest

from benchmarks.cases import find_cases
from benchmarks.choice import choose_gateways, list_gateways

ROOT = Path(__file__).resolve().parents[2]


def names_of(*names: str, against: Path | None = None) -> list[str]:
    return [gateway.name for gateway in choose_gateways(names, against)]


def test_the_limit_is_in_every_run():
    assert names_of("sealed", "open") == ["limit", "open", "sealed"]
    assert names_of() == [gateway.name for gateway in list_gateways()]


def test_another_checkout_stands_beside_this_one():
    assert names_of("open", "fastmcp", against=ROOT) == ["limit", "open@before", "open", "fastmcp"]


def test_unknown_names_are_refused():
    with pytest.raises(LookupError, match="opne"):
        choose_gateways(("opne",), None)
    with pytest.raises(LookupError, match="17"):
        find_cases(("16", "17"))
