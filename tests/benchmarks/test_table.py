"""Numbers and tables as people read them."""

import pytest

from benchmarks.table import format_number, format_ratio, write_table


@pytest.mark.parametrize(
    ("number", "text"),
    [(62_345.6, "62,300"), (999.6, "1000"), (123.4, "123"), (4.567, "4.57"), (0.01534, "0.0153"), (0, "0")],
)
def test_numbers_have_three_digits_that_count(number: float, text: str):
    assert format_number(number) == text


@pytest.mark.parametrize(("ratio", "text"), [(None, "-"), (1.0, "1.00"), (0.456, "0.46"), (0.0123, "0.012")])
def test_ratios_have_two(ratio: float | None, text: str):
    assert format_ratio(ratio) == text


def test_a_table_is_markdown_with_columns_of_one_width():
    assert write_table(("a", "b"), [("long", "1"), ("x", "22")]).splitlines() == [
        "| a    | b  |",
        "| ---- | -- |",
        "| long | 1  |",
        "| x    | 22 |",
    ]
