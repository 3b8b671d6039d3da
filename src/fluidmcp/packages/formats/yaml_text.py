"""YAML as the programs that write it read it: the core schema of YAML 1.2 (section 10.3): `no` and `on` are text.

PyYAML's own rules are those of YAML 1.1. Tags for anything but plain data are refused, and so are files whose aliases
would make a small text a huge value.
"""

import re
from typing import Any, Final, cast

import yaml

from fluidmcp.config.reading import as_list, as_object
from fluidmcp.packages.formats.members import build_object

_MERGE: Final = "<<"
"""Merge keys, as the programs' own readers take them (YAML Language-Independent Types, "Merge")."""
MAX_NODES: Final = 100_000
"""Values in one file, those behind aliases counted each time they are used."""

_PLAIN: Final = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
    ),
)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        # Counted while it is read: the reader is slow, and 4 MB can hold millions.
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise _too_many()
        return super().compose_node(parent, index)


def _too_many() -> ValueError:
    return ValueError(f"It holds more than {MAX_NODES} values.")


def _count(node: yaml.Node, counts: dict[int, int]) -> int:
    """How many values a node stands for, with those behind aliases counted at each use."""
    known = counts.get(id(node))
    if known is not None:
        if known == 0:
            raise ValueError("A value holds itself.")
        return known
    counts[id(node)] = 0
    total = 1
    if isinstance(node, yaml.MappingNode):
        total += sum(_count(part, counts) for pair in node.value for part in pair)
    elif isinstance(node, yaml.SequenceNode):
        total += sum(_count(part, counts) for part in node.value)
    if total > MAX_NODES:
        raise _too_many()
    counts[id(node)] = total
    return total


def _construct_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[str, Any]:
    own = {key_node.value for key_node, _ in node.value if isinstance(key_node, yaml.ScalarNode)}
    merged: dict[str, Any] = {}
    for value_node in [value_node for key_node, value_node in node.value if key_node.value == _MERGE]:
        found = cast("object", loader.construct_object(value_node, deep=True))  # pyright: ignore[reportUnknownMemberType]
        for mapping in as_list(found) or [found]:
            merged = {**(as_object(mapping) or {}), **merged}
    pairs: list[tuple[str, Any]] = []
    for key_node, value_node in node.value:
        if key_node.value == _MERGE:
            continue
        # `1:` or `true:` as a key is text, as JSON would have it.
        key = key_node.value if isinstance(key_node, yaml.ScalarNode) else "?"
        pairs.append((str(key), loader.construct_object(value_node, deep=True)))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
    return {**{key: value for key, value in merged.items() if key not in own}, **build_object(pairs)}


def _construct_int(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    base = 8 if text.startswith("0o") else 16 if text.startswith("0x") else 10
    return int(text, base)


def _construct_float(loader: _Loader, node: yaml.ScalarNode) -> float:
    text = str(loader.construct_scalar(node)).lower()
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))


for _tag, _pattern, _firsts in _PLAIN:
    for _first in _firsts:
        _Loader.yaml_implicit_resolvers.setdefault("" if _first == "\0" else _first, []).append(
            (f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"))
        )
_Loader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)  # pyright: ignore[reportUnknownMemberType]
_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)  # pyright: ignore[reportUnknownMemberType]
_Loader.add_constructor("tag:yaml.org,2002:float", _construct_float)  # pyright: ignore[reportUnknownMemberType]


def load_yaml(text: str) -> object:
    """The one document of a YAML text.

    Raises:
        ValueError: it is no YAML, or holds what is no plain data; line and column are named.
        DuplicateKeyError: a key stands twice in one mapping.
    """
    loader = _Loader(text)
    try:
        node: yaml.Node | None = loader.get_single_node()
        if node is None:
            return None
        _count(node, {})
        return cast("object", loader.construct_document(node))  # pyright: ignore[reportUnknownMemberType]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"Line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        raise ValueError(f"{where}{error.problem or 'it is no YAML'}.") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{' '.join(str(error).split())}.") from None
    finally:
        loader.dispose()  # pyright: ignore[reportUnknownMemberType]
