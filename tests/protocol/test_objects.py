import json

import pytest
from hypothesis import given
from msgspec import UNSET, Raw

from fluidmcp.protocol.objects import (
    add_members,
    read_object,
    read_text,
    replace_value,
    without_members,
    write_object,
)
from tests.protocol.odd_json import MEMBERS, SPACES, VALUES, write


@given(MEMBERS, MEMBERS)
def test_members_are_added_behind_bytes_that_stay(members: dict[str, bytes], additions: dict[str, bytes]) -> None:
    text = write(members)
    parsed = read_object(text)
    assert parsed is not None
    added = bytes(add_members(text, parsed, additions))
    assert added.startswith(text[:-1])
    assert added == write({**additions, **members}) or added == write(
        {**members, **{name: value for name, value in additions.items() if name not in members}}
    )


@given(MEMBERS)
def test_an_object_without_the_named_members_is_the_same_object(members: dict[str, bytes]) -> None:
    text = write(members)
    parsed = read_object(text)
    assert parsed is not None
    assert without_members(text, parsed, ("a", "b")) is text
    assert add_members(text, parsed, {}) is text
    if members:
        first, *others = members
        assert without_members(text, parsed, (first,)) == write({name: members[name] for name in others})


@given(VALUES, VALUES, VALUES, SPACES)
def test_around_a_replaced_value_every_byte_stays(old: bytes, new: bytes, other: bytes, spaces: str) -> None:
    space = spaces.encode()
    head = b'{"in":{"name":%b},"b":%b,"b":"name",%b"name"%b:%b' % (old, other, space, space, space)
    tail = b'%b,"name ":%b,%b"c":"\\"name"}' % (space, other, space)
    members = read_object(head + old + tail)
    assert members is not None
    assert replace_value(head + old + tail, members, "name", new) == head + new + tail


@pytest.mark.parametrize(
    "text", [b'{"a":1,"name":1,"name":1}', rb'{"a":1,"n\u0061me":1}', rb'{"a":1,"name":1,"n\u0061me":1}']
)
def test_a_name_that_is_there_twice_is_there_once_after_a_replacement(text: bytes) -> None:
    members = read_object(text)
    assert members is not None
    assert replace_value(text, members, "name", b"2") == b'{"a":1,"name":2}'


@pytest.mark.parametrize(
    "text", [None, UNSET, b"[]", b"1", b'"{}"', b"{", b'{"a":}', b'{"a":"\\ud800"', b'{"a":NaN,"b":"\\ud800"}']
)
def test_what_is_no_object_has_no_members(text: bytes | None) -> None:
    assert read_object(text) is None


def test_an_object_that_is_nested_too_deeply_has_no_members() -> None:
    # Python 3.11 stops at 1,000 levels, 3.13 at 10,000.
    assert read_object(b'{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}") is None
    assert read_object(b'{"b":"\\ud800","a":' + b"[" * 200_000 + b"]" * 200_000 + b"}") is None


def test_lone_surrogates_pass_as_escapes() -> None:
    text = rb'{"cut":"\ud83d","n":12345678901234567890123,"in":{"\udc00":[1]},"\ud800":2}'
    members = read_object(text)
    assert members is not None
    assert bytes(members["cut"]) == rb'"\ud83d"'
    assert bytes(members["n"]) == b"12345678901234567890123"
    written = write_object({**members, "new": Raw(b"1")})
    assert written.isascii()
    assert json.loads(written) == {**json.loads(text), "new": 1}


def test_only_strings_are_texts() -> None:
    assert read_text(rb'"\u00e9"') == "é"
    assert [read_text(text) for text in (None, UNSET, b"1", b"null", b'{"a":1}', rb'"\ud800"', b'"')] == [None] * 7
