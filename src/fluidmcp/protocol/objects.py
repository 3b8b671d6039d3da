"""JSON objects as members in raw text, changed without touching what no caller named. Pure module: no I/O, no clock.

A value passes as the bytes that the peer sent, numbers of any size included. Members are added behind those bytes; only
where one is replaced or taken out is the object put together again, one level deep.
"""

import re
from collections.abc import Collection, Mapping
from typing import Final, TypeAlias, cast

import msgspec
from msgspec import UNSET, Raw, UnsetType

from fluidmcp.protocol.jsonrpc import Json, encode_object, has_escaped_ascii, parse_object

Text: TypeAlias = Json | Raw

MAX_CANDIDATES: Final = 4
"""Places where a name occurs in a text that are tried for the member of that name."""

_COLON: Final = re.compile(rb"[ \t]*:[ \t]*")

_decode_text = msgspec.json.Decoder(str).decode


def view(text: Text) -> memoryview:
    """The bytes of a text without a copy."""
    # Raw offers its bytes as a buffer, which its annotations do not tell.
    return memoryview(cast("bytes", text))


def is_object(text: Text | UnsetType | None) -> bool:
    """Whether a value is an object; it has to be the text of one value without space around it, as members are."""
    return text is not None and text is not UNSET and bytes(view(text)[:1]) == b"{"


def is_null(text: Text) -> bool:
    return bytes(view(text)[:5]) == b"null"


def read_object(text: Text | UnsetType | None) -> dict[str, Raw] | None:
    """The members of a JSON object, or None when the text is missing or something else."""
    return None if text is None else parse_object(text)


def read_text(text: Text | UnsetType | None) -> str | None:
    """A JSON string, or None for anything else."""
    if text is None or text is UNSET or bytes(view(text)[:1]) != b'"':
        return None
    try:
        return _decode_text(cast("bytes", text))
    except msgspec.DecodeError:
        return None


def write_object(members: Mapping[str, Raw]) -> Json:
    """An object on one line, its members in their order and their values as they are."""
    return encode_object(cast("dict[str, Raw]", members))


def replace_value(text: Text, members: Mapping[str, Raw], name: str, value: Text) -> Json:
    """`text` with another value for one of its `members`; all other bytes stay.

    Where the object holds the name twice, or spells it with escapes, it is written anew with each name once: two
    readers of the text must not find different values.
    """
    body = bytes(text)
    start = _find_value(body, name, bytes(members[name]))
    if start is None:
        return write_object({**members, name: Raw(value)})
    whole = memoryview(body)
    return b"".join((whole[:start], view(value), whole[start + len(view(members[name])) :]))


def spells_once(text: Text, members: Mapping[str, Raw], name: str) -> bool:
    """Whether `text` spells the name of one of its `members` once, and plainly; False also where that is hard to see.

    Then every reader of the text finds the same value under that name.
    """
    return _find_value(bytes(text), name, bytes(members[name])) is not None


def _find_value(body: bytes, name: str, value: bytes) -> int | None:
    """Where the value of a member begins, if the object spells its name once, and plainly."""
    key = b'"%b"' % name.encode()
    start = -1
    for _ in range(MAX_CANDIDATES):
        start = body.find(key, start + 1)
        if start < 0:
            return None
        colon = _COLON.match(body, start + len(key))
        if colon is not None and body.startswith(value, colon.end()):
            if body.count(key) == 1 and not has_escaped_ascii(body):
                return colon.end()
            renamed = b"".join((body[:start], b'"', b"~" * len(name), b'"', body[start + len(key) :]))
            others = parse_object(renamed)
            if others is not None and name not in others:
                return colon.end()
    return None


def add_members(text: Text, members: Mapping[str, Raw], additions: Mapping[str, Text]) -> Text:
    """`text` with those additions that it does not hold yet, behind its own members, whose bytes stay as they are.

    `members` are the members of `text`, which ends with its last brace. With nothing to add the same object comes back.
    """
    pieces: list[bytes | memoryview] = [view(text)[:-1]]
    separator = b',"' if members else b'"'
    for name, value in additions.items():
        if name not in members:
            pieces += (separator, name.encode(), b'":', view(value))
            separator = b',"'
    if len(pieces) == 1:
        return text
    pieces.append(b"}")
    return b"".join(pieces)


def without_members(text: Text, members: Mapping[str, Raw], names: Collection[str]) -> Text:
    """`text` without the named members; the same object where it has none of them."""
    kept = {name: value for name, value in members.items() if name not in names}
    return text if len(kept) == len(members) else write_object(kept)
