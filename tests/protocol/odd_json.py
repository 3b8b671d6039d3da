"""Strategies for JSON texts that a program easily alters: long numbers, odd spacing, escapes, repeated keys."""

import json

from hypothesis import strategies as st

NUMBERS = st.one_of(
    st.integers().map(str),
    st.sampled_from(
        ["1.00", "1e400", "-0", "1E5", "9007199254740993", "123456789012345678901234567890123456789012345678901234567"]
    ),
)
STRINGS = st.one_of(
    st.text(max_size=8).map(lambda text: json.dumps(text.encode("utf-8", "replace").decode())),
    st.sampled_from([r'"\u00e9"', r'"\/"', '"é"', '"😀"', r'"\ud83d\ude00"']),
)
SPACES = st.sampled_from(["", " ", "  ", "\t"])


def _array(parts: tuple[str, list[str]]) -> str:
    space, values = parts
    return f"[{space}" + f"{space},{space}".join(values) + f"{space}]"


def _object(parts: tuple[str, list[tuple[str, str]]]) -> str:
    space, members = parts
    return f"{{{space}" + f"{space},{space}".join(f"{key}{space}:{space}{value}" for key, value in members) + "}"


VALUES = st.recursive(
    st.one_of(NUMBERS, STRINGS, st.sampled_from(["null", "true", "false"])),
    lambda children: st.one_of(
        st.tuples(SPACES, st.lists(children, max_size=3)).map(_array),
        st.tuples(SPACES, st.lists(st.tuples(STRINGS, children), max_size=3)).map(_object),
    ),
    max_leaves=8,
).map(str.encode)
"""The text of one value, as a peer might write it."""

MEMBERS = st.dictionaries(
    st.text("abcdefgh/.é", min_size=1, max_size=6).map(lambda name: "x" + name), VALUES, max_size=4
)
"""Members of an object, whose names begin with x: none of those that the protocol gives a meaning."""


def write(members: dict[str, bytes]) -> bytes:
    """The plainest spelling of an object around members that stay as they are."""
    return (
        b"{"
        + b",".join(json.dumps(name, ensure_ascii=False).encode() + b":" + members[name] for name in members)
        + b"}"
    )
