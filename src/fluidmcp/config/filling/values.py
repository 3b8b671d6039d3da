"""The texts of an entry, with what stands for values filled in. Pure module: no I/O."""

import math
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Final, cast

from fluidmcp.config.filling.expand import Expander, ExpansionError
from fluidmcp.config.filling.scripts import fill_script
from fluidmcp.config.filling.templates import JsonText, Leaf, Template, find_number, looks_personal
from fluidmcp.config.reading import ObjectReader, as_list, as_object, name_type, show_key, show_plain

MAX_DEPTH: Final = 32
"""How deep a value may be nested that is written as JSON."""


@dataclass(slots=True)
class Values:
    """The texts of an object, filled in; what goes wrong becomes a fault of its field."""

    reader: ObjectReader
    expander: Expander

    def text(self, key: str) -> str | None:
        text = self.reader.text(key)
        return None if text is None else self.expand(text, self.reader.path_of(key))

    def script(self, text: str, path: str, own_names: Set[str]) -> tuple[str, Mapping[str, str]]:
        """A shell's script, and the variables that it needs."""
        try:
            return fill_script(text, self.expander, own_names=own_names)
        except ExpansionError as error:
            self.reader.faults.append(f"{path} {error}")
            return "", {}

    def all_texts(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for key, value in self.reader.items():
            text = self.plain(key, value)
            if text is not None:
                found[key] = text
        return found

    def plain(self, key: str, value: object) -> str | None:
        """A string, number or boolean as text; None for null, and for a fault."""
        if isinstance(value, str):
            text = self.reader.text(key)
            return None if text is None else self.expand(text, self.reader.path_of(key))
        if value is None:
            return None
        text = show_plain(value)
        if text is None:
            self.reader.fault(key, f"must be a string, not {name_type(value)}")
        return text

    def expand(self, text: str, path: str) -> str:
        try:
            expanded = self.expander.expand(text)
        except ExpansionError as error:
            self.reader.faults.append(f"{path} {error}")
            return ""
        if "\0" in expanded:
            self.reader.faults.append(f"{path} would hold a NUL character")
            return ""
        return expanded

    def template(self, text: str, path: str) -> Template:
        """The text with the values of a person still to be filled in."""
        try:
            template = self.expander.expand_template(text)
        except ExpansionError as error:
            self.reader.faults.append(f"{path} {error}")
            return Template(())
        if any(isinstance(part, str) and "\0" in part for part in template.parts):
            self.reader.faults.append(f"{path} would hold a NUL character")
            return Template(())
        try:
            template.text.encode()
        except UnicodeEncodeError:
            self.reader.faults.append(f"{path} holds half of a character, which cannot be written")
            return Template(())
        return template

    def json(self, key: str) -> JsonText:
        """Any JSON value, whose strings are templates."""
        return JsonText(self._read_leaf(self.reader.get(key), self.reader.path_of(key), 0))

    def _read_leaf(self, value: object, path: str, depth: int) -> Leaf:
        if depth > MAX_DEPTH:
            self.reader.faults.append(f"{path} is nested too deeply")
            return None
        if isinstance(value, str):
            return self.template(value, path)
        if isinstance(value, float) and not math.isfinite(value):
            self.reader.faults.append(f"{path} is no number of JSON")
            return None
        items = as_list(value)
        if items is not None:
            return [self._read_leaf(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(items)]
        members = as_object(value)
        if members is None:
            return cast("None | bool | int | float", value)
        for name in filter(looks_personal, members):
            self.reader.faults.append(f"{path} has the name {show_key(name)}: a value of a person cannot be a name")
        leaves = {name: self._read_leaf(item, f"{path}.{show_key(name)}", depth + 1) for name, item in members.items()}
        only = leaves.get("number")
        number = find_number(members, only) if isinstance(only, Template) else None
        return leaves if number is None else number

    def expand_all(self, text: str, path: str) -> list[str]:
        """An argument; several where it is an input of several values and nothing else."""
        try:
            several = self.expander.expand_several(text)
        except ExpansionError as error:
            self.reader.faults.append(f"{path} {error}")
            return []
        return [self.expand(text, path)] if several is None else several
