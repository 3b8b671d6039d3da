"""Reading JSON objects strictly: every fault is collected and names its path in the file, none repeats a value."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import cast

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_MAX_SHOWN_CHARACTERS = 40
MAX_SECONDS = 86_400.0


def show_key(key: str) -> str:
    """A key of a file as it may stand in a message: printable, short, quoted when it is unusual."""
    if _PLAIN_KEY.fullmatch(key):
        return key
    shown = key if len(key) <= _MAX_SHOWN_CHARACTERS else key[:_MAX_SHOWN_CHARACTERS] + "..."
    return repr(shown) if shown.isprintable() else ascii(shown)


def name_type(value: object) -> str:
    """What JSON calls the type of `value`."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "a list"
        case _:
            return "an object"


def as_object(value: object) -> dict[str, object] | None:
    """`value` where it is an object."""
    return cast("dict[str, object]", value) if isinstance(value, dict) else None


def as_list(value: object) -> list[object] | None:
    """`value` where it is a list."""
    return cast("list[object]", value) if isinstance(value, list) else None


def list_texts(value: object) -> Iterator[str]:
    """All texts in a value and in what it holds."""
    members = as_object(value)
    if isinstance(value, str):
        yield value
    for item in as_list(value) or (members.values() if members is not None else ()):
        yield from list_texts(item)


def map_texts(value: object, change: Callable[[str], str]) -> object:
    """The same value with each text in it changed; names of members stay."""
    members, items = as_object(value), as_list(value)
    if members is not None:
        return {name: map_texts(member, change) for name, member in members.items()}
    if items is not None:
        return [map_texts(item, change) for item in items]
    return change(value) if isinstance(value, str) else value


def show_plain(value: object) -> str | None:
    """A number or boolean as JavaScript would write it (`5`, `1.5`, `true`); None for anything else."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    return str(value) if isinstance(value, (int, float)) else None


class ObjectReader:
    """One JSON object, read key by key. What is wrong is added to `faults`, which nested readers share."""

    def __init__(self, value: object, *, path: str, faults: list[str], names: Mapping[str, str] | None = None) -> None:
        """`names`: what keys are called in the file, where that is another name."""
        self.path = path
        self._names = names or {}
        self.faults = faults
        self.is_object = isinstance(value, dict)
        self._value = cast("dict[str, object]", value) if self.is_object else {}
        if not self.is_object:
            faults.append(f"{path} must be an object, not {name_type(value)}")

    def __contains__(self, key: str) -> bool:
        return key in self._value

    def get(self, key: str) -> object:
        return self._value.get(key)

    def keys(self) -> Iterable[str]:
        return self._value.keys()

    def items(self) -> Iterable[tuple[str, object]]:
        return self._value.items()

    def unknown(self, known: frozenset[str]) -> tuple[str, ...]:
        return tuple(key for key in self._value if key not in known)

    def path_of(self, key: str) -> str:
        name = self._names.get(key)
        return f"{self.path}.{show_key(key) if name is None else name}"

    def fault(self, key: str, text: str) -> None:
        self.faults.append(f"{self.path_of(key)} {text}")

    def nested(self, key: str) -> "ObjectReader":
        return ObjectReader(self._value[key], path=self.path_of(key), faults=self.faults)

    def replaced(self, value: Mapping[str, object]) -> "ObjectReader":
        """Another object at the same place, which shares the faults."""
        return ObjectReader(dict(value), path=self.path, faults=self.faults, names=self._names)

    def text(self, key: str) -> str | None:
        """The string under `key`; None when it is absent, null or not a string (which is then a fault)."""
        value = self._value.get(key)
        if value is None:
            return None
        if not isinstance(value, str):
            self.fault(key, f"must be a string, not {name_type(value)}")
            return None
        if "\0" in value:
            self.fault(key, "holds a NUL character")
            return None
        return value

    def required_text(self, key: str) -> str | None:
        if self._value.get(key) is None:
            self.fault(key, "is missing")
            return None
        text = self.text(key)
        if text == "":
            self.fault(key, "is empty")
            return None
        return text

    def flag(self, key: str, *, default: bool = False) -> bool:
        value = self._value.get(key)
        if value is None:
            return default
        if isinstance(value, bool):
            return value
        self.fault(key, f"must be true or false, not {name_type(value)}")
        return False

    def seconds(self, key: str) -> float | None:
        """The number of seconds under `key`, more than 0 and at most a day; None when it is absent, null or wrong."""
        value = self._value.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.fault(key, f"must be a number of seconds, not {name_type(value)}")
            return None
        if not 0 < value <= MAX_SECONDS:  # NaN is not either
            self.fault(key, f"must be more than 0 and at most {MAX_SECONDS:.0f} seconds")
            return None
        return float(value)

    def texts(self, key: str, *, plain: bool = False) -> tuple[str, ...]:
        """The list of strings under `key`; empty when it is absent or wrong. `plain` takes numbers and booleans too."""
        value = self._value.get(key)
        if value is None:
            return ()
        if not isinstance(value, list):
            self.fault(key, f"must be a list of strings, not {name_type(value)}")
            return ()
        texts: list[str] = []
        for index, item in enumerate(cast("Sequence[object]", value)):
            text = item if isinstance(item, str) else show_plain(item) if plain else None
            if text is None:
                self.faults.append(f"{self.path_of(key)}[{index}] must be a string, not {name_type(item)}")
            elif "\0" in text:
                self.faults.append(f"{self.path_of(key)}[{index}] holds a NUL character")
            else:
                texts.append(text)
        return tuple(texts)
