"""Arguments of a tool, as they are typed, by what its input schema says. Pure module."""

import json
from collections.abc import Mapping, Sequence
from typing import Final, cast

from fluidmcp.config.reading import show_key
from fluidmcp.errors import UserError

Json = dict[str, object]

_KINDS: Final[Mapping[str, tuple[type, ...]]] = {
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
    "string": (str,),
}


_MAX_REFERENCES: Final = 10


def read_arguments(typed: Sequence[str], document: str | None, schema: object, *, tool: str) -> Json:
    """The arguments of a call; `document` is a JSON object with all or some of them, `schema` the tool's inputSchema.

    Only what is needed to read the text is checked, and that nothing required is missing: the rest is the server's.

    Raises:
        UserError: it is neither `key=value` nor `key:=JSON`, has no value of its type, is unknown, or is missing.
    """
    arguments: Json = {} if document is None else _read_document(document)
    described = _as_object(schema)
    properties = _as_object(described.get("properties"))
    for text in typed:
        key, is_json, value = _split(text)
        if key not in properties and properties and described.get("additionalProperties") is not True:
            raise UserError(
                f"{tool} has no argument {show_key(key)}.", hint=f"It has: {', '.join(map(show_key, properties))}."
            )
        parsed = (
            _read_json(key, value) if is_json else read_value(key, value, _as_object(properties.get(key)), described)
        )
        before = arguments.get(key)
        if isinstance(before, list) and isinstance(parsed, list):
            arguments[key] = [*cast("list[object]", before), *cast("list[object]", parsed)]
        else:
            arguments[key] = parsed
    required = described.get("required")
    missing = [
        name
        for name in (cast("list[object]", required) if isinstance(required, list) else [])
        if isinstance(name, str) and name not in arguments
    ]
    if missing:
        raise UserError(
            f"{tool} needs {', '.join(map(show_key, missing))}.",
            hint="Add "
            + " ".join(f"{name}={_show_kind(_as_object(properties.get(name)), described)}" for name in missing),
        )
    return arguments


def describe_arguments(schema: object) -> list[tuple[str, str, bool, str]]:
    """Name, type, whether it is required, and description of each argument, in the order of the schema."""
    described = _as_object(schema)
    required = described.get("required")
    needed = cast("list[object]", required) if isinstance(required, list) else []
    rows: list[tuple[str, str, bool, str]] = []
    for name, value in _as_object(described.get("properties")).items():
        about = _as_object(value)
        text = about.get("description")
        rows.append((name, _show_kind(about, described), name in needed, text if isinstance(text, str) else ""))
    return rows


def _read_document(text: str) -> Json:
    try:
        document: object = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise UserError("--args holds no JSON object.", hint="""For example: --args '{"query": "invoice"}'""")
    return cast(Json, document)


def _split(text: str) -> tuple[str, bool, str]:
    key, equals, value = text.partition("=")
    if not equals or not key.removesuffix(":"):
        raise UserError(f"{show_key(text)} is no argument.", hint="Write key=value, or key:=JSON.")
    return key.removesuffix(":"), key.endswith(":"), value


def _read_json(key: str, text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise UserError(
            f"The value of {show_key(key)} is no JSON.", hint=f"For a text, write {key}=..., without the colon."
        ) from None


def read_value(key: str, text: str, schema: Json, root: Json | None = None) -> object:
    """A typed text as what the schema of the argument says; `root` is the schema that its `$ref` leads into.

    Raises:
        UserError: it has no value of a type that the schema allows.
    """
    kinds = list_kinds(schema, root)
    if not kinds:
        return text
    others = [kind for kind in kinds if kind != "string"]
    try:
        value: object = json.loads(text) if others else text
    except (ValueError, RecursionError):
        value = text
    if any(_is(value, kind) for kind in others):
        return value
    if "string" in kinds:
        return text
    if "array" in kinds:
        items = list_kinds(_as_object(_resolve(schema, root).get("items")), root)
        return [read_value(key, text, {"type": items} if items else {})]
    raise UserError(
        f"The value of {show_key(key)} is not of its type.",
        why=f"The tool takes {' or '.join(kinds)}.",
        hint=f"For example: {key}={_EXAMPLES[kinds[0]]}",
    )


_EXAMPLES: Final = {"integer": "3", "number": "1.5", "boolean": "true", "object": "'{}'", "null": "null"}


def _resolve(schema: Json, root: Json | None) -> Json:
    """What a `$ref` into the same document stands for."""
    for _ in range(_MAX_REFERENCES):
        reference = schema.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#/") or root is None:
            return schema
        found: object = root
        for part in reference[2:].split("/"):
            found = _as_object(found).get(part.replace("~1", "/").replace("~0", "~"))
        schema = _as_object(found)
    return {}


def list_kinds(schema: Json, root: Json | None = None, *, depth: int = 0) -> list[str]:
    """The types that a schema allows, as far as it says so at its top; empty where it does not."""
    schema = _resolve(schema, root)
    if depth > _MAX_REFERENCES:
        return []
    kind = schema.get("type")
    if isinstance(kind, str):
        return [kind] if kind in _KINDS else []
    if isinstance(kind, list):
        return [name for name in cast("list[object]", kind) if isinstance(name, str) and name in _KINDS]
    found: list[str] = []
    for keyword in ("anyOf", "oneOf"):
        choices = schema.get(keyword)
        for choice in cast("list[object]", choices) if isinstance(choices, list) else []:
            found += list_kinds(_as_object(choice), root, depth=depth + 1)
    if found:
        return found
    listed = schema.get("enum")
    values = cast("list[object]", listed) if isinstance(listed, list) else []
    return list(dict.fromkeys(name for value in values for name in _KINDS if _is(value, name)))


def _is(value: object, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _KINDS[kind])


def _show_kind(schema: Json, root: Json) -> str:
    schema = _resolve(schema, root)
    listed = schema.get("enum")
    if isinstance(listed, list):
        return "|".join(str(value) for value in cast("list[object]", listed)[:8])
    return "|".join(list_kinds(schema, root)) or "any"


def _as_object(value: object) -> Json:
    return cast(Json, value) if isinstance(value, dict) else {}
