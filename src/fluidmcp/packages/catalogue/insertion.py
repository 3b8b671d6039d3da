"""One more entry in the text of a file of our own form; all else in it stays as it was written. Pure module: no I/O.

The place is found in the text, and nothing but the entry and a comma is put in: spaces, the form of numbers, comments
and the order are those of whoever wrote the file.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fluidmcp.config.entries import KNOWN_KEYS, make_address_name
from fluidmcp.config.reading import as_object, name_type, show_key
from fluidmcp.errors import ConfigurationError
from fluidmcp.packages.formats.documents import decode_document, tell_language
from fluidmcp.packages.formats.jsonc import blank_comments

_BOM: Final = "\ufeff"
_COMMENT_KEY: Final = re.compile(r"_|\$|//|#|x-")
_COMMENT: Final = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_TOP_KEYS: Final = frozenset({"mcpServers", "inputs"})


def insert_entry(content: bytes, name: str, entry: Mapping[str, object], *, shown: str) -> bytes:
    """The content of a file with the entry `name` as its last; `shown` is what messages call the file.

    Raises:
        ConfigurationError: it is not of our own form or no JSON, or an entry of that name or address is there.
    """
    document = decode_document(content, source=shown)
    text = content.decode("utf-8")
    if tell_language(text, shown) != "JSON":
        raise _not_ours(shown, "It is not JSON.")
    _check_form(document, shown)
    servers = as_object(document.get("mcpServers")) or {}
    _check_is_free(name, servers, shown)
    written = (_BOM if text.startswith(_BOM) else "") + _insert(text.removeprefix(_BOM), name, entry)
    inserted = written.encode()
    wanted = {**document, "mcpServers": {**servers, name: dict(entry)}}
    if json.dumps(decode_document(inserted, source=shown)) != json.dumps(wanted):
        raise ConfigurationError(
            f"{shown} cannot be added to.",
            why="The place for one more entry is not found in its text.",
            hint="Write the entry into it by hand: fluidmcp catalogue NAME shows it.",
        )
    return inserted


def _check_form(document: Mapping[str, object], shown: str) -> None:
    other = [key for key in document if key not in _TOP_KEYS and not _COMMENT_KEY.match(key)]
    if other:
        raise _not_ours(shown, f"At its top stands {', '.join(map(show_key, other[:3]))}.")
    servers = document.get("mcpServers", {})
    members = as_object(servers)
    if members is None:
        raise _not_ours(shown, f"mcpServers is {name_type(servers)}, not an object.")
    for name, entry in members.items():
        keys = as_object(entry)
        if keys is None:
            raise _not_ours(shown, f"mcpServers.{show_key(name)} is {name_type(entry)}, not an object.")
        unknown = [key for key in keys if key not in KNOWN_KEYS and not _COMMENT_KEY.match(key)]
        if unknown:
            path = f"mcpServers.{show_key(name)}.{show_key(unknown[0])}"
            raise _not_ours(shown, f"{path} is not a key of ours.")


def _not_ours(shown: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"{shown} is not a file of our own form, and is left as it is.",
        why=why,
        hint="Name another file with -o. To have its servers there too, first: fluidmcp import FILE -o OTHER.json",
    )


def _check_is_free(name: str, servers: Mapping[str, object], shown: str) -> None:
    address = make_address_name(name, source=shown, number=len(servers) + 1)
    for number, other in enumerate(servers, start=1):
        try:
            is_taken = address == make_address_name(other, source=shown, number=number)
        except ConfigurationError:
            continue
        if is_taken or other == name:
            raise ConfigurationError(
                f"{shown} has an entry {show_key(other)} already.",
                why="It is left as it is." if other == name else f"Both would be served at /{address}.",
                hint=f"Choose another name with --as, for example --as {address[:60]}-2, or remove that entry.",
            )


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    key: int
    """Where its name begins."""
    value: int
    end: int
    """Where its value begins and ends."""


@dataclass(frozen=True, slots=True)
class _Object:
    opening: int
    closing: int
    """Where its braces are."""
    members: tuple[_Member, ...]


def _insert(text: str, name: str, entry: Mapping[str, object]) -> str:
    plain = blank_comments(text)
    top = _read_object(plain, plain.index("{"))
    unit = (_find_indent(text, top.members[0].key) if top.members else None) or "  "
    servers = next((member for member in top.members if member.name == "mcpServers"), None)
    if servers is None:
        return _put(text, top, "mcpServers", {name: entry}, unit)
    return _put(text, _read_object(plain, servers.value), name, entry, unit)


def _read_object(plain: str, opening: int) -> _Object:
    """Where the members of an object are; `plain` is good JSON."""
    decoder = json.JSONDecoder()
    members: list[_Member] = []
    position = _skip(plain, opening + 1)
    while plain[position] != "}":
        key = position
        name, position = decoder.raw_decode(plain, key)
        value = _skip(plain, _skip(plain, position) + 1)
        _, end = decoder.raw_decode(plain, value)
        members.append(_Member(name, key, value, end))
        position = _skip(plain, end)
        if plain[position] == ",":
            position = _skip(plain, position + 1)
    return _Object(opening, position, tuple(members))


def _skip(plain: str, position: int) -> int:
    match = _SPACE.match(plain, position)
    return position if match is None else match.end()


def _put(text: str, place: _Object, name: str, value: object, unit: str) -> str:
    """The text with one more member of an object."""
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
    inner = (_find_indent(text, place.members[0].key) if place.members else None) or outer + unit
    lines = f"{_write(name)}: {json.dumps(value, indent=unit, ensure_ascii=False)}".split("\n")
    written = "".join(f"{line_end}{inner}{line}" for line in lines) + ("," if has_comma else "")
    space = before[len(kept) :]
    if "\n" not in space:
        # The brace had no line of its own.
        space = line_end + outer
    return f"{kept}{written}{space}{behind}"


def _write(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _find_indent(text: str, position: int) -> str | None:
    """What stands before a position on its line, where that is nothing but space."""
    line = text[:position].rpartition("\n")[2]
    return None if line.strip() else line


def _read_indent(text: str, position: int) -> str:
    """The space with which the line of a position begins."""
    line = text[:position].rpartition("\n")[2]
    return line[: len(line) - len(line.lstrip())]
