"""Values that entries share, read strictly."""

import pytest

from fluidmcp.config.reading import ObjectReader


@pytest.mark.parametrize(
    ("value", "seconds"), [(30, 30.0), (0.5, 0.5), (86_400, 86_400.0), (None, None)], ids=["30", "0.5", "a day", "null"]
)
def test_a_number_of_seconds_is_more_than_none_and_at_most_a_day(value: object, seconds: float | None) -> None:
    faults: list[str] = []
    assert ObjectReader({"t": value}, path="a", faults=faults).seconds("t") == seconds
    assert faults == []


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (0, "a.t must be more than 0 and at most 86400 seconds"),
        (-1, "a.t must be more than 0 and at most 86400 seconds"),
        (86_401, "a.t must be more than 0 and at most 86400 seconds"),
        (10**400, "a.t must be more than 0 and at most 86400 seconds"),
        (float("nan"), "a.t must be more than 0 and at most 86400 seconds"),
        ("30", "a.t must be a number of seconds, not a string"),
        (True, "a.t must be a number of seconds, not true or false"),
        ([30], "a.t must be a number of seconds, not a list"),
    ],
)
def test_anything_else_is_no_number_of_seconds(value: object, fault: str) -> None:
    faults: list[str] = []
    assert ObjectReader({"t": value}, path="a", faults=faults).seconds("t") is None
    assert faults == [fault]
