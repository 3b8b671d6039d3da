"""The file of a client with entries put in, changed or taken out; all else in it stays as it was written. Pure module.

JSON is changed in its text; TOML by tomlkit, which keeps comments and order. Whatever comes out is read again and
compared with what was meant, so that a file which is written in a way that this does not master is left alone.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final, cast

import tomlkit
from tomlkit.exceptions import TOMLKitError

from fluidmcp.config.reading import as_object
from fluidmcp.errors import ConfigurationError
from fluidmcp.packages.clients.planning import Change, Plan, Put, Remove, Replace, apply_plan
from fluidmcp.packages.clients.table import FileClient
from fluidmcp.packages.formats.documents import decode_document, tell_language
from fluidmcp.packages.formats.json_text import find_object, put_member, remove_member, replace_member
from fluidmcp.packages.formats.jsonc import blank_comments

MAX_CLIENT_FILE_BYTES: Final = 32 * 1024 * 1024
"""Claude Code keeps what it remembers of projects in the same file, and that grows."""
_BOM: Final = "\ufeff"
_LONE_LINE_FEED: Final = re.compile(r"(?<!\r)\n")


def read_client_file(content: bytes, client: FileClient, *, shown: str) -> Mapping[str, object]:
    """What the file says; one without anything in it says nothing.

    Raises:
        ConfigurationError: it cannot be read as the client's language.
    """
    if not content.removeprefix(_BOM.encode()).strip() or _has_comments_alone(content, client):
        return {}
    document = decode_document(content, source=shown, max_bytes=MAX_CLIENT_FILE_BYTES)
    language = tell_language(content.decode("utf-8-sig"), shown)
    if language != client.language.upper():
        raise ConfigurationError(
            f"{shown} is left as it is.",
            why=f"It reads as {language}, and {client.title} keeps {client.language.upper()} there.",
            hint=f"Look at the file; {client.title} can probably not read it either.",
        )
    return document


def _has_comments_alone(content: bytes, client: FileClient) -> bool:
    text = content.decode("utf-8-sig", "replace").lstrip()
    return client.language == "json" and text.startswith("/") and not blank_comments(text).strip()


def edit_client_file(content: bytes, client: FileClient, plan: Plan, *, shown: str) -> bytes:
    """The content with the changes of the plan in it.

    Raises:
        ConfigurationError: it cannot be read, or the place for a change is not found in it.
    """
    if not plan.changes:
        return content
    document = read_client_file(content, client, shown=shown)
    text = content.decode("utf-8")
    start = _BOM if text.startswith(_BOM) else ""
    text = text.removeprefix(_BOM)
    apply = _apply_to_toml if client.language == "toml" else _apply_to_json
    try:
        for change in plan.changes:
            text = apply(text, change)
    except (TOMLKitError, LookupError, TypeError, ValueError, AttributeError):
        raise _cannot_be_edited(client, shown) from None
    edited = (start + text).encode()
    wanted = apply_plan(document, plan)
    if not _is_same(edited, client, wanted, shown):
        raise _cannot_be_edited(client, shown)
    return edited


def _is_same(edited: bytes, client: FileClient, wanted: Mapping[str, object], shown: str) -> bool:
    try:
        return _spell(read_client_file(edited, client, shown=shown), client) == _spell(wanted, client)
    except ConfigurationError:
        return False


def _spell(document: Mapping[str, object], client: FileClient) -> str:
    said = {name: value for name, value in document.items() if name != client.member or value}
    # Dates of TOML are no JSON, and tables may stand in any order in it; its last server takes its table along.
    return json.dumps(said, default=repr, sort_keys=True)


def _cannot_be_edited(client: FileClient, shown: str) -> ConfigurationError:
    return ConfigurationError(
        f"{shown} is left as it is.",
        why="It is written in a way in which the place for the change is not found.",
        hint=f"Change it by hand: fluidmcp connect {client.key}, without --write, shows the entry.",
    )


def _apply_to_json(text: str, change: Change) -> str:
    if not blank_comments(text).strip():
        start = text.rstrip()
        text = f"{start}\n{{\n}}\n" if start else "{\n}\n"
    place = find_object(text, *change.place)
    if isinstance(change, Put):
        while place is None:
            # The first name of the path that is missing, made empty; the next round finds it.
            depth = next(n for n in range(len(change.place) + 1) if find_object(text, *change.place[: n + 1]) is None)
            above = find_object(text, *change.place[:depth])
            assert above is not None
            if depth + 1 == len(change.place):
                return put_member(text, above, change.place[depth], {change.name: dict(change.entry)})
            text = put_member(text, above, change.place[depth], {})
            place = find_object(text, *change.place)
        return put_member(text, place, change.name, dict(change.entry))
    if place is None or (member := place.find(change.name)) is None:
        raise LookupError(change.name)
    if isinstance(change, Remove):
        return remove_member(text, place, member)
    entry = find_object(text, *change.place, change.name)
    if entry is None:
        raise LookupError(change.name)
    key = entry.find(change.key)
    return put_member(text, entry, change.key, change.value) if key is None else replace_member(text, key, change.value)


def _apply_to_toml(text: str, change: Change) -> str:
    # What tomlkit gives depends on how the file is written, and its types do not say so.
    document: Any = tomlkit.parse(text)
    (top,) = change.place
    match change:
        case Put(name=name, entry=entry):
            if as_object(cast(object, document.get(top))) is None:
                document[top] = tomlkit.table(is_super_table=True)
            table: Any = tomlkit.table()
            for key, value in entry.items():
                table[key] = value
            if document.as_string().strip() and list(document)[-1] != top:
                table.add(tomlkit.nl())
            document[top][name] = table
        case Replace(name=name, key=key, value=value):
            document[top][name][key] = value
        case Remove(name=name):
            del document[top][name]
    written: str = document.as_string()
    return _LONE_LINE_FEED.sub("\r\n", written) if "\r\n" in text else written
