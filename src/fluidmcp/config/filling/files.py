"""The `files` of an entry: what is written into the private home of a person's process before it starts. Pure module.

`{"~/.mail/credentials.json": {"json": {...}}}` says where; `{"creds.json": {"json": {...}, "env": "NAME"}}` does not,
and NAME then holds the path. Where a file goes is decided here, once and for all, by the operator's text alone.
"""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from fluidmcp.config.filling.expand import Expander
from fluidmcp.config.filling.templates import Content
from fluidmcp.config.filling.values import Values
from fluidmcp.config.reading import ObjectReader, show_key
from fluidmcp.config.variables import check_token_variable

HOME_FOLDERS: Final = (".config", ".cache", ".local", ".local/share", ".local/state", "tmp")
"""The folders of every private home, outer ones first."""

MAX_FILES: Final = 16
MAX_FILES_BYTES: Final = 256 * 1024
"""All files of a process together, filled in."""

_UNNAMED_FOLDER: Final = ".fluidmcp-files"
_MAX_NAME_BYTES: Final = 255
_MAX_TARGET_BYTES: Final = 1024
FILE_KEYS: Final = frozenset({"json", "text", "env"})


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTemplate:
    """A file of an entry."""

    name: str
    """As it is written, for messages."""
    target: str
    """Where it goes, relative to the home: names that are neither `.` nor `..`, with `/` between them."""
    content: Content
    variable: str = ""
    """The variable that holds its path, if any does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateFile:
    """A file for one process, filled in."""

    target: str
    text: str = field(repr=False)
    variable: str = ""


def read_content(reader: ObjectReader, expander: Expander, *, text_key: str) -> Content | None:
    """What stands under `json`, or as a text under `text_key`; None where both are there or none is, or a fault."""
    if "json" in reader and reader.get(text_key) is not None:
        reader.fault("json", f"stands beside {text_key}; keep one of the two")
        return None
    values = Values(reader, expander)
    if "json" in reader:
        return values.json("json")
    text = reader.text(text_key)
    return None if text is None else values.template(text, reader.path_of(text_key))


def read_files(reader: ObjectReader, expander: Expander) -> tuple[FileTemplate, ...]:
    """The `files` of an entry; what is wrong is a fault of its field."""
    if reader.get("files") is None:
        return ()
    nested = reader.nested("files")
    if len(tuple(nested.keys())) > MAX_FILES:
        reader.fault("files", f"holds more than {MAX_FILES} files")
    files = [file for name in nested.keys() if (file := _read_file(nested, name, expander)) is not None]
    _check_targets(nested, files)
    return tuple(files)


def _read_file(files: ObjectReader, name: str, expander: Expander) -> FileTemplate | None:
    before = len(files.faults)
    reader = files.nested(name)
    for key in reader.unknown(FILE_KEYS):
        reader.fault(key, 'is not known here; use "json" or "text", and "env"')
    fault = _check_name(name)
    if fault is not None:
        files.fault(name, fault)
    content = read_content(reader, expander, text_key="text")
    if content is None and len(reader.faults) == before:
        files.fault(name, 'has no content: give it "json" or "text"')
    variable = reader.text("env") or ""
    fault = check_token_variable(variable) if variable or reader.get("env") == "" else None
    if fault is not None:
        reader.fault("env", fault)
    has_place = name.startswith("~/")
    if not has_place and not variable:
        reader.fault("env", "is missing: name the variable that is to hold the file's path, or begin its name with ~/")
    if content is None or len(reader.faults) > before:
        return None
    target = name.removeprefix("~/") if has_place else f"{_UNNAMED_FOLDER}/{name}"
    return FileTemplate(name=name, target=target, content=content, variable=variable)


def _check_name(name: str) -> str | None:
    """What is wrong with the name of a file, as the end of a sentence; None when it is fine."""
    target = name.removeprefix("~/")
    parts = target.split("/")
    if not target.isprintable() or "$" in target:
        return "must be a plain path: nothing is filled in, and all of it can be printed"
    if target.startswith("/") or target == "~":
        return "must be a path below the private home, which begins with ~/"
    if any(part in ("", ".", "..") for part in parts):
        return "must be the path of a file, without . and .. and empty names in it"
    if len(parts) > 1 and target == name:
        return "must begin with ~/, or be a name without a folder"
    if any(len(part.encode()) > _MAX_NAME_BYTES for part in parts) or len(target.encode()) > _MAX_TARGET_BYTES:
        return "is too long for the path of a file"
    return None


def _check_targets(files: ObjectReader, found: Iterable[FileTemplate]) -> None:
    """No two files in one place, and none where a folder has to be."""
    folders = {_fold(folder): "that folder is there already" for folder in HOME_FOLDERS}
    places: dict[str, str] = {}
    for file in found:
        place = _fold(file.target)
        if place in places:
            files.fault(file.name, f"is the same file as {show_key(places[place])}")
        places[place] = file.name
        parents = place.split("/")[:-1]
        for count in range(1, len(parents) + 1):
            folders.setdefault("/".join(parents[:count]), f"{show_key(file.name)} lies below it")
    for place, name in places.items():
        if place in folders:
            files.fault(name, f"cannot be a file: {folders[place]}")


def _fold(path: str) -> str:
    """Equal for paths that some file system takes for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
