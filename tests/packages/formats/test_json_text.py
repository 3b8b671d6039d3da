"""Members put into the text of a JSON file and taken out: all else stays as it was written."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluidmcp.packages.formats.json_text import find_object, put_member, remove_member, replace_member
from fluidmcp.packages.formats.jsonc import blank_comments


def remove(text: str, *path: str) -> str:
    place = find_object(text, *path[:-1])
    assert place is not None
    member = place.find(path[-1])
    assert member is not None
    return remove_member(text, place, member)


def read(text: str) -> object:
    return json.loads(blank_comments(text))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"a": 1}', "{}"),
        ('{"a": 1, "b": 2}', '{"b": 2}'),
        ('{"b": 2, "a": 1}', '{"b": 2}'),
        ('{"b": 2, "a": 1, "c": 3}', '{"b": 2, "c": 3}'),
        ('{\n  "a": 1,\n  "b": 2\n}\n', '{\n  "b": 2\n}\n'),
        ('{\n  "b": 2,\n  "a": {\n    "x": 1\n  }\n}\n', '{\n  "b": 2\n}\n'),
        ('{\n  "b": 2, // two\n  "a": 1 // one\n}\n', '{\n  "b": 2 // two\n}\n'),
        ('{\n  "b": 2, /* , */\n  "a": 1,\n}\n', '{\n  "b": 2, /* , */\n}\n'),
        ('{\n  // of a\n  "a": 1 /* one */, // here\n  // of b\n  "b": 2\n}', '{\n  // of a\n  // of b\n  "b": 2\n}'),
        ('{\r\n\t"a": 1,\r\n\t"b": 2\r\n}', '{\r\n\t"b": 2\r\n}'),
    ],
)
def test_a_member_goes_with_its_lines_and_its_comma(before: str, after: str):
    assert remove(before, "a") == after


def test_a_value_is_replaced_in_its_place():
    text = '{\n  "a": {"u": "x", /* mine */ "v": 1.50}, // end\n}'
    place = find_object(text, "a")
    assert place is not None
    member = place.find("u")
    assert member is not None

    assert replace_member(text, member, "y") == '{\n  "a": {"u": "y", /* mine */ "v": 1.50}, // end\n}'


def test_what_is_no_object_is_not_found():
    text = '{"a": [1], "b": {"c": {}}}'

    assert find_object(text, "a") is None
    assert find_object(text, "x") is None
    assert find_object(text, "b", "c") is not None
    assert find_object(text, "b", "c", "d") is None


NAMES = st.sampled_from(["a", "b", 'q"', "é", "//", "/*", "}"])
VALUES = st.recursive(
    st.none() | st.integers() | st.text('a,{}/*\\"é\n'),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(NAMES, below, max_size=3),
    max_leaves=8,
)
GAPS = st.lists(st.sampled_from([" ", "\n", "\t", "/* , */", "// } ,\n", "/*\n*/"]), max_size=3).map("".join)


@st.composite
def written_objects(draw: st.DrawFn) -> str:
    members = draw(st.dictionaries(NAMES, VALUES, max_size=4))
    text = "{" + draw(GAPS)
    for number, (name, value) in enumerate(members.items()):
        written = json.dumps(value, indent=draw(st.sampled_from([None, 2])))
        text += f"{json.dumps(name)}{draw(GAPS)}:{draw(GAPS)}{written}{draw(GAPS)}"
        if number + 1 < len(members) or draw(st.booleans()):
            text += "," + draw(GAPS)
    return text + "}" + draw(GAPS)


@given(text=written_objects(), name=NAMES, value=VALUES)
def test_however_it_is_written_the_rest_says_what_it_said(text: str, name: str, value: object):
    said = read(text)
    assert isinstance(said, dict)
    if name in said:
        removed = remove(text, name)
        del said[name]
        assert read(removed) == said
        text = removed

    put = put_member(text, find_object(text), name, value)

    assert read(put) == {**said, name: value}
    assert read(remove(put, name)) == said
