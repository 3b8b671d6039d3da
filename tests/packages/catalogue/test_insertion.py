"""One more entry in the text of a file: all else stays as it was written."""

import json
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluidmcp.errors import ConfigurationError
from fluidmcp.packages.catalogue.insertion import insert_entry
from fluidmcp.packages.formats.documents import decode_document

ENTRY: Final[dict[str, Any]] = {"package": "npm:x@1.0.0", "args": ["é"]}


def insert(text: str, name: str = "new", entry: dict[str, Any] = ENTRY) -> str:
    return insert_entry(text.encode(), name, entry, shown="mine.json").decode()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            '{\n  "mcpServers": {\n    "a": {"command": "x"}\n  }\n}\n',
            '{\n  "mcpServers": {\n    "a": {"command": "x"},\n    "new": {\n      "package": "npm:x@1.0.0",\n'
            '      "args": [\n        "é"\n      ]\n    }\n  }\n}\n',
        ),
        (
            '{"mcpServers": {"a": {"command":"x"} } }',
            '{"mcpServers": {"a": {"command":"x"}, "new": {"package": "npm:x@1.0.0", "args": ["é"]} } }',
        ),
        ("{}", '{"mcpServers": {"new": {"package": "npm:x@1.0.0", "args": ["é"]}}}'),
        ('{"mcpServers":{}}\n', '{"mcpServers":{"new": {"package": "npm:x@1.0.0", "args": ["é"]}}}\n'),
        (
            '{\r\n\t"mcpServers": {},\r\n\t"inputs": []\r\n}',
            '{\r\n\t"mcpServers": {\r\n\t\t"new": {\r\n\t\t\t"package": "npm:x@1.0.0",\r\n\t\t\t"args": [\r\n'
            '\t\t\t\t"é"\r\n\t\t\t]\r\n\t\t}\r\n\t},\r\n\t"inputs": []\r\n}',
        ),
        (
            '\ufeff{\n  // ours\n  "mcpServers": {\n    "a": {"command": "x"}, // not {this}\n'
            "    /* nor, this */\n  },\n}",
            '\ufeff{\n  // ours\n  "mcpServers": {\n    "a": {"command": "x"}, // not {this}\n    /* nor, this */\n'
            '    "new": {\n      "package": "npm:x@1.0.0",\n      "args": [\n        "é"\n      ]\n    },\n  },\n}',
        ),
        (
            '{\n "$schema": "s",\n "inputs": [1.0, 1e2]}',
            '{\n "$schema": "s",\n "inputs": [1.0, 1e2],\n "mcpServers": {\n  "new": {\n   "package": "npm:x@1.0.0",\n'
            '   "args": [\n    "é"\n   ]\n  }\n }\n}',
        ),
        (
            '{"mcpServers": {"a": {"command": "}"},\n"b": {"command": "x"} // last\n}}',
            '{"mcpServers": {"a": {"command": "}"},\n"b": {"command": "x"}, // last\n  "new": {\n'
            '    "package": "npm:x@1.0.0",\n    "args": [\n      "é"\n    ]\n  }\n}}',
        ),
    ],
    ids=["usual", "one-line", "nothing", "no-servers", "tabs-and-crlf", "comments", "no-key", "odd"],
)
def test_the_entry_is_written_in_the_way_of_the_file(before: str, after: str):
    assert insert(before) == after


VALUES: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("_a x-b //c".split()), inner, max_size=2)
    ),
    max_leaves=5,
)
SERVERS: Final = st.dictionaries(
    st.sampled_from('a B "} {,:[ é ////x /*'.split()),
    st.dictionaries(st.sampled_from("command args env disabled _note".split()), VALUES, max_size=3),
    max_size=4,
)


@given(servers=SERVERS, around=VALUES, has_servers=st.booleans(), indent=st.sampled_from([None, 0, 1, 3, "\t"]))
def test_the_file_says_the_same_as_before_and_the_entry(
    servers: dict[str, Any], around: Any, has_servers: bool, indent: int | str | None
):
    document: dict[str, Any] = {"x-a": around, **({"mcpServers": servers} if has_servers else {}), "inputs": around}
    text = json.dumps(document, indent=indent, ensure_ascii=False)
    inserted = insert(text)
    read = decode_document(inserted.encode(), source="mine.json")
    expected = {**document, "mcpServers": {**(servers if has_servers else {}), "new": ENTRY}}
    assert json.dumps(read) == json.dumps(expected)
    # What was there is there, in its order: nothing but the entry and a comma came in.
    left = iter(inserted)
    assert all(char in left for char in text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"servers": {}}', "At its top stands servers."),
        ('{"mcpServers": {}, "theme": "dark"}', "At its top stands theme."),
        ('{"a": {"command": "x"}}', "At its top stands a."),
        ('{"mcpServers": []}', "mcpServers is a list, not an object."),
        ('{"mcpServers": {"a": 1}}', "mcpServers.a is a number, not an object."),
        ('{"mcpServers": {"a": {"autoApprove": []}}}', "mcpServers.a.autoApprove is not a key of ours."),
        ('mcpServers:\n  a: {command: "x"}\n', "It is not JSON."),
        ('[mcpServers.a]\ncommand = "x"\n', "It is not JSON."),
    ],
    ids=str,
)
def test_a_file_that_is_not_of_our_own_form_is_refused_with_what_to_do(text: str, why: str):
    with pytest.raises(ConfigurationError) as refused:
        insert(text)
    assert (refused.value.what, refused.value.why) == (
        "mine.json is not a file of our own form, and is left as it is.",
        why,
    )
    assert "-o" in refused.value.hint and "fluidmcp import" in refused.value.hint


@pytest.mark.parametrize("text", ["", "[]", '{"mcpServers": {"a": {}, "a": {}}}', '{"mcpServers": {'], ids=str)
def test_a_file_that_cannot_be_read_is_an_error(text: str):
    with pytest.raises(ConfigurationError):
        insert(text)


@pytest.mark.parametrize(
    ("there", "why"),
    [
        ("new", "It is left as it is."),
        ("New", "Both would be served at /new."),
        ("@néw", "Both would be served at /new."),
    ],
    ids=str,
)
def test_an_entry_of_that_name_or_address_is_an_error(there: str, why: str):
    with pytest.raises(ConfigurationError) as refused:
        insert(json.dumps({"mcpServers": {"bad name!" * 20: {}, there: {}}}))
    assert refused.value.what.startswith("mine.json has an entry ") and refused.value.why == why
    assert "--as new-2" in refused.value.hint
