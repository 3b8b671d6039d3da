"""What is typed becomes arguments by the tool's schema."""

import pytest

from fluidmcp.cli.calls.arguments import describe_arguments, read_arguments
from fluidmcp.errors import UserError

SCHEMA = {
    "type": "object",
    "properties": {
        "text": {"type": "string", "description": "What\nto say"},
        "count": {"type": "integer"},
        "ratio": {"type": "number"},
        "deep": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "numbers": {"type": "array", "items": {"type": "integer"}},
        "where": {"type": "object"},
        "either": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        "perhaps": {"type": ["string", "null"]},
        "color": {"enum": ["red", "blue"]},
        "level": {"enum": [1, 2]},
        "free": {},
        "place": {"$ref": "#/$defs/place"},
        "maybe": {"anyOf": [{"$ref": "#/$defs/count"}, {"type": "null"}]},
        "round": {"$ref": "#/$defs/round"},
    },
    "$defs": {
        "place": {"type": "object"},
        "count": {"type": "integer"},
        "round": {"anyOf": [{"$ref": "#/$defs/round"}]},
    },
    "required": ["text"],
}


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("text=3", "3"),
        ("text=", ""),
        ("text=a=b=c", "a=b=c"),
        ("text=null", "null"),
        ("count=3", 3),
        ("count=-3.0", -3.0),
        ("ratio=1.5", 1.5),
        ("deep=true", True),
        ("tags=a", ["a"]),
        ('tags=["a","b"]', ["a", "b"]),
        ("tags=3", ["3"]),
        ("numbers=3", [3]),
        ('where={"a":1}', {"a": 1}),
        ("either=3", 3),
        ("either=x", "x"),
        ("perhaps=null", None),
        ("perhaps=x", "x"),
        ("color=red", "red"),
        ("level=2", 2),
        ("free=3", "3"),
        ('place={"city": "Ulm"}', {"city": "Ulm"}),
        ("maybe=3", 3),
        ("round=3", "3"),
        ("text:=3", 3),
        ('free:={"a": [null]}', {"a": [None]}),
    ],
)
def test_a_value_has_the_type_that_the_schema_says(typed: str, value: object):
    key = typed.partition("=")[0].removesuffix(":")

    arguments = read_arguments([typed], '{"text": ""}', SCHEMA, tool="say")

    assert arguments[key] == value
    assert type(arguments[key]) is type(value)


def test_the_same_key_again_adds_to_a_list_and_replaces_what_is_none():
    typed = ["text=a", "text=b", "tags=x", "tags=y", "numbers=1", "numbers=[2,3]"]

    assert read_arguments(typed, None, SCHEMA, tool="say") == {"text": "b", "tags": ["x", "y"], "numbers": [1, 2, 3]}


@pytest.mark.parametrize(
    ("typed", "document", "what", "hint"),
    [
        (["count=x"], None, "count is not of its type", "count=3"),
        (["count=1.5"], None, "count is not of its type", "count=3"),
        (["deep=yes"], None, "deep is not of its type", "deep=true"),
        (["where=[1]"], None, "where is not of its type", "where='{}'"),
        (["count:=x"], None, "count is no JSON", "count=..."),
        (["nope=1"], None, "say has no argument nope", "text, count"),
        (["hello"], None, "hello is no argument", "key=value"),
        (["=x"], None, "is no argument", "key=value"),
        ([], None, "say needs text", "text=string"),
        ([], "[1]", "--args holds no JSON object", "--args '{"),
        ([], "{", "--args holds no JSON object", "--args '{"),
        (["numbers=x"], None, "numbers is not of its type", "numbers=3"),
    ],
)
def test_what_cannot_be_read_says_what_to_type(typed: list[str], document: str | None, what: str, hint: str):
    with pytest.raises(UserError) as caught:
        read_arguments(typed, document, SCHEMA, tool="say")

    assert what in caught.value.what
    assert hint in caught.value.hint


@pytest.mark.parametrize("schema", [None, {}, {"type": "object"}, {"properties": [], "required": "x"}, 3])
def test_a_tool_without_a_useful_schema_takes_texts(schema: object):
    assert read_arguments(["a=1"], None, schema, tool="say") == {"a": "1"}
    assert describe_arguments(schema) == []


def test_the_arguments_are_described():
    rows = {name: (kind, needed, about) for name, kind, needed, about in describe_arguments(SCHEMA)}

    assert rows["text"] == ("string", True, "What\nto say")
    assert rows["color"] == ("red|blue", False, "")
    assert rows["free"] == ("any", False, "")
