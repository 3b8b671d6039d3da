import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from fluidmcp.protocol.surrogates import MAX_LONE_SURROGATES, mark_lone_surrogates

PIECES = [
    *(rf"\u{digits}" for digits in ("d83d", "DE00", "dbFF", "Dc00", "d7ff", "e000", "0041", "d83d\\ude00")),
    *("u", "d83d", "x", "é", "\\\\", r"\n", r"\"", r"\/"),
]


@given(st.lists(st.sampled_from(PIECES), max_size=10))
def test_exactly_the_lone_surrogates_are_marked_and_come_back(pieces: list[str]) -> None:
    text = f'"{"".join(pieces)}"'.encode()
    value: str = json.loads(text)
    marked = mark_lone_surrogates(text)
    if marked is None:
        assert msgspec.json.decode(text) == value
        return
    assert any("\ud800" <= character <= "\udfff" for character in value)
    assert bytes(marked.restore(Raw(marked.text))) == text
    assert marked.restore_name(msgspec.json.decode(marked.text)) == value


@pytest.mark.parametrize("text", [b"", b'"x"', rb'"\ud83d\ude00"', rb'"\\ud83d"', rb"\ud83"])
def test_a_text_without_any_is_left_alone(text: bytes) -> None:
    assert mark_lone_surrogates(text) is None


def test_a_text_with_too_many_does_not_decode() -> None:
    allowed = mark_lone_surrogates(b'"%b"' % (rb"\ud800" * MAX_LONE_SURROGATES))
    assert allowed is not None
    msgspec.json.decode(allowed.text)
    refused = mark_lone_surrogates(b'"%b"' % (rb"\ud800" * (MAX_LONE_SURROGATES + 1)))
    assert refused is not None
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(refused.text)
