"""The member `tools` of an entry: which of its server's tools are served."""

import unicodedata
from dataclasses import dataclass, field
from typing import Final

from fluidmcp.config.reading import ObjectReader

TOOL_KEYS: Final = frozenset({"allow", "deny"})


@dataclass(frozen=True, slots=True)
class ToolFilter:
    """Which tools are served, by their names. `deny` wins; with `allow` None every tool that is not denied is served.

    A tool is allowed by its exact name. A server may take other spellings of a name than the one that it lists, so a
    tool is denied in all that look alike to such servers: in capitals, with space around it, in compatibility
    characters. Names with characters that cannot be seen (controls, zero width) are never served.
    """

    allow: frozenset[str] | None = None
    deny: frozenset[str] = frozenset()
    _denied: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_denied", frozenset(map(_fold, self.deny)))

    def allows(self, name: str) -> bool:
        if self.allow is not None and name not in self.allow:
            return False
        return name.isprintable() and _fold(name) not in self._denied


def _fold(name: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).strip()


def read_tools(reader: ObjectReader) -> ToolFilter | None:
    """The member `tools` of an entry, `{"allow"?: [...], "deny"?: [...]}`; None where it is not there, or says nothing.

    An empty list `allow` allows nothing. Null is a fault, as everything else that could be meant to keep a tool away
    and would not.
    """
    if "tools" not in reader:
        return None
    nested = reader.nested("tools")
    for key in nested.unknown(TOOL_KEYS):
        nested.fault(key, 'is not known here; use "allow" and "deny"')
    allow, deny = _read_names(nested, "allow"), _read_names(nested, "deny")
    return None if allow is None and not deny else ToolFilter(allow, deny or frozenset())


def _read_names(reader: ObjectReader, key: str) -> frozenset[str] | None:
    if key not in reader:
        return None
    if reader.get(key) is None:
        reader.fault(key, "must be a list of strings, not null")
    names = reader.texts(key)
    if "" in names:
        reader.fault(key, "holds an empty name")
    if any("*" in name for name in names):
        # Taken as a name it would deny nothing.
        reader.fault(key, 'holds a "*", but names of tools are exact here: list them')
    return frozenset(names)
