"""One more entry in the text of a file of our own form; all else in it stays as it was written. Pure module: no I/O.

Nothing but the entry and a comma is put in (`formats/json_text`).
"""

import json
import re
from collections.abc import Mapping
from typing import Final

from fluidmcp.config.entries import KNOWN_KEYS, make_address_name
from fluidmcp.config.reading import as_object, name_type, show_key
from fluidmcp.errors import ConfigurationError
from fluidmcp.packages.formats.documents import decode_document, tell_language
from fluidmcp.packages.formats.json_text import find_object, put_member

_BOM: Final = "\ufeff"
_COMMENT_KEY: Final = re.compile(r"_|\$|//|#|x-")
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


def _insert(text: str, name: str, entry: Mapping[str, object]) -> str:
    place = find_object(text, "mcpServers")
    if place is None:
        return put_member(text, find_object(text), "mcpServers", {name: entry})
    return put_member(text, place, name, entry)
