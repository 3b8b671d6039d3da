"""The settings of isolation: the levels, the paths of an entry, the range of user ids."""

import os.path
from dataclasses import dataclass
from typing import Final, Literal, cast, get_args

from fluidmcp.config.reading import ObjectReader

IsolationLevel = Literal["auto", "landlock", "uid", "namespace", "none"]
LEVELS: Final[tuple[str, ...]] = get_args(IsolationLevel)

FIRST_USER_ID: Final = 1000
"""Lower ones belong to the system and to people."""
LAST_USER_ID: Final = 2**31 - 2
MAX_USER_IDS: Final = 100_000
PATH_KEYS: Final = frozenset({"read", "write"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """Files and folders that a server needs beyond its own, absolute; what may be written may be read as well."""

    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()


def parse_level(text: object) -> IsolationLevel:
    """ValueError: it is no level."""
    if not isinstance(text, str) or text not in LEVELS:
        raise ValueError
    return cast(IsolationLevel, text)


def parse_user_ids(text: object) -> range:
    """The ids of `FIRST-LAST`, both included. ValueError: it is something else, or reaches into those of the system."""
    if not isinstance(text, str):
        raise ValueError
    first, dash, last = text.strip().partition("-")
    if not dash or not (first.isascii() and first.isdigit() and last.isascii() and last.isdigit()):
        raise ValueError
    ids = range(int(first), int(last) + 1)
    if not ids or ids[0] < FIRST_USER_ID or ids[-1] > LAST_USER_ID or len(ids) > MAX_USER_IDS:
        raise ValueError
    return ids


def read_level(reader: ObjectReader) -> IsolationLevel | None:
    """The member `isolation` of an entry; None where it says nothing."""
    value = reader.get("isolation")
    if value is None:
        return None
    try:
        return parse_level(value)
    except ValueError:
        reader.fault("isolation", f"must be one of {', '.join(LEVELS)}")
        return None


def read_paths(reader: ObjectReader, *, directory: str, home: str) -> Paths:
    """The member `paths` of an entry. Relative ones count from `directory`, `~` is the operator's home."""
    if reader.get("paths") is None:
        return Paths()
    nested = reader.nested("paths")
    for key in nested.unknown(PATH_KEYS):
        nested.fault(key, 'is not known here; use "read" and "write"')
    found = {key: _read_list(nested, key, directory=directory, home=home) for key in sorted(PATH_KEYS)}
    return Paths(read=found["read"], write=found["write"])


def _read_list(reader: ObjectReader, key: str, *, directory: str, home: str) -> tuple[str, ...]:
    paths: list[str] = []
    for text in reader.texts(key):
        if not text:
            reader.fault(key, "holds an empty path")
            continue
        expanded = home + text[1:] if home and (text == "~" or text.startswith("~/")) else text
        # `normpath` leaves two slashes at the beginning as they are.
        path = "/" + os.path.normpath(os.path.join(os.path.abspath(directory), expanded)).lstrip("/")
        if path == "/":
            reader.fault(key, 'may not be the whole file system: name folders, or set "isolation" to "none"')
        elif path == "/proc" or path.startswith("/proc/"):
            reader.fault(key, "may not be below /proc, which tells of other processes")
        else:
            paths.append(path)
    return tuple(paths)
