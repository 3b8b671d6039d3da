"""`Mcp-Param-*`: arguments of a tool that a client repeats as HTTP headers. Pure module: no I/O, no clock.

Source: 2026-07-28, "Streamable HTTP", "Custom Headers from Tool Parameters". A tool says in its `inputSchema` which
arguments those are, with `x-mcp-header`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, TypeAlias, cast

import msgspec
from msgspec import UNSET, Raw, UnsetType

from fluidmcp.protocol.objects import is_null, read_object, read_text
from fluidmcp.protocol.stateless import decode_header_value, header_mismatch

_ANNOTATION: Final = "x-mcp-header"
_PREFIX: Final = "Mcp-Param-"
_TYPES: Final = frozenset(("string", "integer", "boolean"))
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_DECIMAL: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_MAX_NUMBER: Final = 64
"""Characters of a number that is compared by its value; integers in headers have 16 digits at most."""

_SCHEMA: Final = frozenset(
    (
        "items",
        "contains",
        "unevaluatedItems",
        "additionalProperties",
        "propertyNames",
        "unevaluatedProperties",
        "not",
        "if",
        "then",
        "else",
        "contentSchema",
    )
)
_SCHEMA_LIST: Final = frozenset(("allOf", "anyOf", "oneOf", "prefixItems"))
_SCHEMA_MAP: Final = frozenset(("patternProperties", "dependentSchemas", "$defs", "definitions"))
"""The keywords of JSON Schema 2020-12 below which schemas stand, by the form of what stands there."""

Path: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HeaderRule:
    """One argument that a header repeats.

    `header` is the name as the tool writes it, with its prefix; `path` the keys that lead to the argument; `kind` the
    type of the argument: `string`, `integer` or `boolean`.
    """

    header: str
    path: Path
    kind: str


def read_header_rules(tool: Raw | bytes) -> tuple[HeaderRule, ...]:
    """The rules of a tool as `tools/list` describes it.

    One annotation that breaks the constraints of "Schema Extension" makes the whole tool invalid: clients drop it from
    their list and send no headers for it, so no rule is left.
    """
    members = read_object(tool)
    if members is None or "inputSchema" not in members:
        return ()
    try:
        schema: object = msgspec.json.decode(members["inputSchema"])
    except (msgspec.DecodeError, RecursionError):
        return ()
    rules: dict[str, HeaderRule] = {}
    for path, position in _walk(schema):
        if _ANNOTATION not in position:
            continue
        rule = _read_rule(path, position)
        if rule is None or rule.header.lower() in rules:
            return ()
        rules[rule.header.lower()] = rule
    return tuple(rules.values())


def _read_rule(path: Path | None, schema: dict[str, object]) -> HeaderRule | None:
    """The rule of one annotation, None where it breaks a constraint."""
    name, kind = schema[_ANNOTATION], schema.get("type")
    if not path or not isinstance(name, str) or _TOKEN.fullmatch(name) is None:
        return None
    if not isinstance(kind, str) or kind not in _TYPES:
        return None
    return HeaderRule(header=_PREFIX + name, path=path, kind=kind)


def _walk(root: object) -> Iterator[tuple[Path | None, dict[str, object]]]:
    """Every schema in a schema, with the `properties` that lead to it, None where something else leads there too.

    Values that are data (`default`, `enum`, ...) and what `$ref` points to are no schemas here.
    """
    waiting: list[tuple[Path | None, object]] = [((), root)]
    while waiting:
        path, node = waiting.pop()
        if not isinstance(node, dict):
            continue
        schema = cast("dict[str, object]", node)
        yield path, schema
        for keyword, value in schema.items():
            if keyword == "properties" and isinstance(value, dict):
                for name, child in cast("dict[str, object]", value).items():
                    waiting.append((None if path is None else (*path, name), child))
            elif keyword in _SCHEMA:
                waiting.append((None, value))
            elif keyword in _SCHEMA_LIST and isinstance(value, list):
                waiting += ((None, child) for child in cast("list[object]", value))
            elif keyword in _SCHEMA_MAP and isinstance(value, dict):
                waiting += ((None, child) for child in cast("dict[str, object]", value).values())


def check_tool_headers(
    rules: tuple[HeaderRule, ...], arguments: Raw | UnsetType | None, headers: Mapping[str, str]
) -> None:
    """Each header and its argument are there together and equal, or missing together; null counts as missing.

    Numbers are compared by value (42 is 42.0). Headers without a rule are ignored. The names in `headers` are in
    lower case, the values without space around them.

    Raises:
        StatelessError: -32020 with 400.
    """
    for rule in rules:
        sent = headers.get(rule.header.lower())
        value = _find_argument(arguments, rule.path)
        if value is None or bytes(value)[:1] in b"{[":
            # An object has no form as a header; one that claims to be it would mislead whoever routes by headers.
            if sent is not None:
                raise header_mismatch(f"The header {rule.header} is there, and its argument is not.")
        elif sent is None:
            raise header_mismatch(f"The header {rule.header} is missing, and its argument is there.")
        elif not _is_equal(rule, bytes(value), decode_header_value(sent, rule.header)):
            raise header_mismatch(f"The header {rule.header} is not what its argument is.")


def _find_argument(arguments: Raw | UnsetType | None, path: Path) -> Raw | None:
    value = arguments
    for name in path:
        members = read_object(value)
        if members is None or name not in members:
            return None
        value = members[name]
    return None if value is None or value is UNSET or is_null(value) else value


def _is_equal(rule: HeaderRule, value: bytes, sent: str) -> bool:
    if value[:1] == b'"':
        return read_text(value) == sent
    if value.decode() == sent:
        return True
    if rule.kind != "integer" or value in (b"true", b"false") or len(value) > _MAX_NUMBER or len(sent) > _MAX_NUMBER:
        return False
    return _DECIMAL.fullmatch(sent) is not None and Decimal(value.decode()) == Decimal(sent)
