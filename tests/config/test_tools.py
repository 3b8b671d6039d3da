"""Lists of tools as people write them, and what they let through."""

import pytest

from fluidmcp.config.reading import ObjectReader
from fluidmcp.config.tools import ToolFilter, read_tools


def read(entry: object) -> tuple[ToolFilter | None, list[str]]:
    faults: list[str] = []
    return read_tools(ObjectReader(entry, path="a", faults=faults)), faults


@pytest.mark.parametrize(
    ("tools", "found"),
    [
        ({"allow": ["x", "y"]}, ToolFilter(frozenset({"x", "y"}))),
        ({"deny": ["x"]}, ToolFilter(None, frozenset({"x"}))),
        ({"allow": ["x"], "deny": ["x"]}, ToolFilter(frozenset({"x"}), frozenset({"x"}))),
        ({"allow": []}, ToolFilter(frozenset())),
        ({"deny": []}, None),
        ({}, None),
    ],
)
def test_an_entry_says_which_of_its_tools_are_served(tools: object, found: ToolFilter | None) -> None:
    assert read({"tools": tools}) == (found, [])


def test_an_entry_that_says_nothing_serves_all() -> None:
    assert read({}) == (None, [])


@pytest.mark.parametrize(
    ("tools", "fault"),
    [
        (None, "a.tools must be an object, not null"),
        (["x"], "a.tools must be an object, not a list"),
        ({"allowed": ["x"]}, 'a.tools.allowed is not known here; use "allow" and "deny"'),
        ({"deny": "x"}, "a.tools.deny must be a list of strings, not a string"),
        ({"deny": None}, "a.tools.deny must be a list of strings, not null"),
        ({"allow": None}, "a.tools.allow must be a list of strings, not null"),
        ({"allow": ["x", 1]}, "a.tools.allow[1] must be a string, not a number"),
        ({"deny": [""]}, "a.tools.deny holds an empty name"),
        ({"deny": ["get_*"]}, 'a.tools.deny holds a "*", but names of tools are exact here: list them'),
    ],
)
def test_what_could_be_meant_to_keep_a_tool_away_and_would_not_is_a_fault(tools: object, fault: str) -> None:
    assert read({"tools": tools})[1] == [fault]


@pytest.mark.parametrize(
    ("allow", "deny", "name", "is_allowed"),
    [
        (None, {"x"}, "y", True),
        (None, {"x"}, "x", False),
        ({"x"}, set[str](), "x", True),
        ({"x"}, set[str](), "y", False),
        ({"x"}, set[str](), "X", False),
        ({"x"}, {"x"}, "x", False),
        (set[str](), set[str](), "x", False),
        (None, {"delete_mail"}, "delete mail", True),
        (None, {"x"}, "an ordinary name, even with a comma", True),
        (None, {"x"}, "\u043c\u043e\u0439", True),
    ],
)
def test_a_tool_is_served_if_it_is_allowed_and_not_denied(
    allow: set[str] | None, deny: set[str], name: str, is_allowed: bool
) -> None:
    tools = ToolFilter(None if allow is None else frozenset(allow), frozenset(deny))
    assert tools.allows(name) is is_allowed


@pytest.mark.parametrize(
    "name",
    [
        "DELETE_mail",
        " delete_mail",
        "delete_mail ",
        "delete\uff3fmail",
        "\uff44elete_mail",
        "delete_mail\0",
        "delete_mail\n",
        "delete\u200b_mail",
        "dele\u00adte_mail",
        "\ufb01le",
    ],
)
def test_a_denied_tool_is_denied_however_it_is_spelled(name: str) -> None:
    assert not ToolFilter(None, frozenset({"Delete_mail", "file"})).allows(name)
    assert ToolFilter(None, frozenset({"other"})).allows("Delete_mail")
