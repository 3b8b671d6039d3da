"""Changes in the text of a JSON file, with or without comments; all else in it stays as it was written. Pure module.

The place is found in the text, and nothing but what is meant is put in or taken out: spaces, the form of numbers,
comments and the order are those of whoever wrote the file. The text must be good JSON but for comments and trailing
commas, and hold no byte order mark.
"""

import json
import re
from dataclasses import dataclass
from typing import Final, overload

from fluidmcp.packages.formats.jsonc import blank_comments

_COMMENT: Final = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_REST_OF_LINE: Final = re.compile(r"[ \t]*(?://[^\n]*|/\*[^\n]*?\*/[ \t]*)?\r?\n")
"""Space and a comment that belongs to what stands before it."""


@dataclass(frozen=True, slots=True)
class JsonMember:
    name: str
    key: int
    """Where its name begins."""
    value: int
    end: int
    """Where its value begins and ends."""


@dataclass(frozen=True, slots=True)
class JsonObject:
    """An object in a text. It is of the text that it was found in, and of no changed one."""

    opening: int
    closing: int
    """Where its braces are."""
    members: tuple[JsonMember, ...]

    def find(self, name: str) -> JsonMember | None:
        return next((member for member in self.members if member.name == name), None)


@overload
def find_object(text: str) -> JsonObject: ...
@overload
def find_object(text: str, *path: str) -> JsonObject | None: ...
def find_object(text: str, *path: str) -> JsonObject | None:
    """The object at a path of names below the top; None where a name is missing, or stands for no object."""
    plain = blank_comments(text)
    found = _read_object(plain, plain.index("{"))
    for name in path:
        member = found.find(name)
        if member is None or plain[member.value] != "{":
            return None
        found = _read_object(plain, member.value)
    return found


def put_member(text: str, place: JsonObject, name: str, value: object) -> str:
    """The text with one more member of an object, as its last."""
    before, behind = text[: place.closing], text[place.closing :]
    has_comma = False
    if place.members:
        end = place.members[-1].end
        has_comma = "," in _COMMENT.sub("", before[end:])
        before = before[:end] + ("" if has_comma else ",") + before[end:]
    kept = before.rstrip()
    if "\n" not in (text[place.opening : place.closing] if place.members else text.strip()):
        space = " " if place.members else ""
        return f"{kept}{space}{_write(name)}: {_write(value)}{before[len(kept) :]}{behind}"
    line_end = "\r\n" if "\r\n" in text else "\n"
    outer = _read_indent(text, place.opening)
    unit = _find_unit(text)
    inner = (_find_indent(text, place.members[0].key) if place.members else None) or outer + unit
    lines = f"{_write(name)}: {json.dumps(value, indent=unit, ensure_ascii=False)}".split("\n")
    written = "".join(f"{line_end}{inner}{line}" for line in lines) + ("," if has_comma else "")
    space = before[len(kept) :]
    if "\n" not in space:
        # The brace had no line of its own.
        space = line_end + outer
    return f"{kept}{written}{space}{behind}"


def replace_member(text: str, member: JsonMember, value: object) -> str:
    """The text with another value in place of that of a member, on one line."""
    return text[: member.value] + _write(value) + text[member.end :]


def remove_member(text: str, place: JsonObject, member: JsonMember) -> str:
    """The text without a member, its comma, and what else its lines hold: comments above it stay."""
    plain = blank_comments(text)
    number = place.members.index(member)
    line_start = text.rfind("\n", 0, member.key) + 1
    start = line_start if not text[line_start : member.key].strip() else member.key
    end = member.end
    comma = _find_comma(text, end)
    if comma is not None:
        end = comma + 1
        if start == member.key:
            end = _skip(plain, end) if "\n" not in text[end : _skip(plain, end)] else end
    if start == line_start and (rest := _REST_OF_LINE.match(text, end)):
        end = rest.end()
    if comma is None and number > 0:
        # The last one: the comma behind the one before it goes too, because most readers take none before a brace.
        before = _find_comma(text, place.members[number - 1].end)
        assert before is not None
        gap = text[before + 1 : start].rstrip(" \t") if start == member.key else text[before + 1 : start]
        return text[:before] + gap + text[end:]
    return text[:start] + text[end:]


def _find_comma(text: str, position: int) -> int | None:
    """Where the comma behind a value is, comments between them passed over; None: a brace comes first."""
    while position < len(text):
        if text[position] == ",":
            return position
        if text[position] == "/" and (comment := _COMMENT.match(text, position)):
            position = comment.end()
        elif text[position].isspace():
            position += 1
        else:
            return None
    return None


def _read_object(plain: str, opening: int) -> JsonObject:
    """Where the members of an object are; `plain` is good JSON."""
    decoder = json.JSONDecoder()
    members: list[JsonMember] = []
    position = _skip(plain, opening + 1)
    while plain[position] != "}":
        key = position
        name, position = decoder.raw_decode(plain, key)
        value = _skip(plain, _skip(plain, position) + 1)
        _, end = decoder.raw_decode(plain, value)
        members.append(JsonMember(name, key, value, end))
        position = _skip(plain, end)
        if plain[position] == ",":
            position = _skip(plain, position + 1)
    return JsonObject(opening, position, tuple(members))


def _skip(plain: str, position: int) -> int:
    match = _SPACE.match(plain, position)
    return position if match is None else match.end()


def _write(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _find_unit(text: str) -> str:
    """What the file indents by: what stands before the first member at its top."""
    top = find_object(text)
    return (_find_indent(text, top.members[0].key) if top.members else None) or "  "


def _find_indent(text: str, position: int) -> str | None:
    """What stands before a position on its line, where that is nothing but space."""
    line = text[:position].rpartition("\n")[2]
    return None if line.strip() else line


def _read_indent(text: str, position: int) -> str:
    """The space with which the line of a position begins."""
    line = text[:position].rpartition("\n")[2]
    return line[: len(line) - len(line.lstrip())]
