import pytest

from fluidmcp.packages.formats.answers import check_answer, make_example, split_answer
from fluidmcp.packages.formats.shapes import Input


@pytest.mark.parametrize(
    ("asked", "text", "why"),
    [
        (Input(id="x"), "anything", ""),
        (Input(id="x"), "a\0b", "holds a NUL character"),
        (Input(id="x", choices=("a", "b")), "b", ""),
        (Input(id="x", choices=("a", "b")), "c", "must be one of a, b"),
        (Input(id="x", is_number=True, minimum=1, maximum=300), "300", ""),
        (Input(id="x", is_number=True, minimum=1, maximum=300), "301", "must be at most 300"),
        (Input(id="x", is_number=True, minimum=1, maximum=300), "0.5", "must be at least 1"),
        (Input(id="x", is_number=True), "nan", "must be a number"),
        (Input(id="x", is_number=True), "ten", "must be a number"),
    ],
)
def test_an_answer_is_held_against_its_input(asked: Input, text: str, why: str):
    assert check_answer(asked, text) == why


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ('["/a", "/b c"]', ("/a", "/b c")),
        ("/a\n\n/b c\n", ("/a", "/b c")),
        ("/a", ("/a",)),
        ("[not json", ("[not json",)),
        ('["/a", 1]', ('["/a", 1]',)),
        ("[]", ()),
        ("", ()),
    ],
)
def test_an_answer_may_be_several_values(text: str, values: tuple[str, ...]):
    assert split_answer(Input(id="x", is_multiple=True), text) == values
    assert split_answer(Input(id="x"), text) == (text,)


@pytest.mark.parametrize(
    ("asked", "example"),
    [
        (Input(id="x"), "a text"),
        (Input(id="x", is_number=True), "0"),
        (Input(id="x", is_number=True, minimum=2, maximum=9), "2"),
        (Input(id="x", is_number=True, maximum=-3), "-3"),
        (Input(id="x", is_number=True, choices=("1", "2")), "1"),
        (Input(id="x", choices=("a", "b")), "a"),
    ],
)
def test_an_example_is_an_answer_that_is_accepted(asked: Input, example: str):
    assert make_example(asked, "a text") == example
    assert check_answer(asked, example) == ""
