"""Secrets that a file asks its one user for, asked of each person instead (`import --ask-each-person`). Pure module."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from fluidmcp.config.filling.templates import KEY_NAME
from fluidmcp.config.logins.keys import MAX_KEYS, MAX_TITLE_CHARACTERS
from fluidmcp.config.reading import list_texts, map_texts
from fluidmcp.packages.formats.shapes import Input

_INPUT: Final = re.compile(r"(?<!\$)\$\{input:([^{}]+)\}")
_PLACES: Final = ("env", "files")
"""Where a value of a person may stand. Arguments can be read by every user of the machine."""


def ask_each_person(
    name: str, entry: Mapping[str, object], inputs: Mapping[str, Input]
) -> tuple[dict[str, object], tuple[str, ...]]:
    """An entry in our own form whose secret inputs became keys, and notes about those that did not.

    It is as it was where it has a login already, is shared or remote, or asks for no secret.
    """
    changed = dict(entry)
    asked = [item for item_id in _list_ids(entry) if (item := inputs.get(item_id)) is not None and item.is_secret]
    if not asked or any(entry.get(key) for key in ("auth", "shared", "url", "disabled")):
        return changed, ()
    elsewhere = {found for key, value in entry.items() if key not in _PLACES for found in _find(value)}
    kept = [item for item in asked if item.id in elsewhere]
    names = _name_keys([item for item in asked if item.id not in elsewhere])
    notes = [
        f"{name} still asks you for {item.id}, for everybody: it stands outside of env and files." for item in kept
    ]
    if not names:
        return changed, tuple(notes)
    if len(names) > MAX_KEYS:
        return changed, (f"{name} asks for more than {MAX_KEYS} secrets, and goes on asking you for them.",)

    def write(text: str) -> str:
        return _INPUT.sub(lambda match: f"${{keys.{names[match[1]]}}}" if match[1] in names else match[0], text)

    for key in _PLACES:
        if key in changed:
            changed[key] = map_texts(changed[key], write)
    titles = {names[item.id]: item.description for item in asked if item.id in names}
    changed["auth"] = {"type": "keys", "keys": {key: _describe(title) for key, title in titles.items()}}
    return changed, tuple(notes)


def _list_ids(entry: Mapping[str, object]) -> Sequence[str]:
    return tuple(dict.fromkeys(_find(dict(entry))))


def _find(value: object) -> Iterator[str]:
    for text in list_texts(value):
        yield from _INPUT.findall(text)


def _name_keys(inputs: Sequence[Input]) -> dict[str, str]:
    """A name for each, by the id of its input."""
    names: dict[str, str] = {}
    for item in inputs:
        plain = re.sub(r"[^a-z0-9]+", "_", item.id.lower()).strip("_")[:28]
        base = name = plain if KEY_NAME.fullmatch(plain) else f"key_{plain}"[:28].rstrip("_")
        number = 2
        while name in names.values():
            name, number = f"{base}_{number}", number + 1
        names[item.id] = name
    return names


def _describe(title: str) -> dict[str, object]:
    shown = title.strip()
    return {"title": shown} if shown and shown.isprintable() and len(shown) <= MAX_TITLE_CHARACTERS else {}
