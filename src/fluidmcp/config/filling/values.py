"""The texts of an entry, with what stands for values filled in. Pure module: no I/O."""

from collections.abc import Mapping, Set
from dataclasses import dataclass

from fluidmcp.config.filling.expand import Expander, ExpansionError
from fluidmcp.config.filling.scripts import fill_script
from fluidmcp.config.reading import ObjectReader, name_type, show_plain


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

    def expand_all(self, text: str, path: str) -> list[str]:
        """An argument; several where it is an input of several values and nothing else."""
        try:
            several = self.expander.expand_several(text)
        except ExpansionError as error:
            self.reader.faults.append(f"{path} {error}")
            return []
        return [self.expand(text, path)] if several is None else several
