"""`inputs`: what a file asks its person for, in the form of VS Code (`promptString`, `pickString`, `command`), read
and written. Pure."""

from collections.abc import Iterable, Sequence

from fluidmcp.config.reading import as_list, as_object, show_plain
from fluidmcp.packages.formats.shapes import Input


def read_inputs(value: object) -> tuple[Input, ...]:
    """The inputs of a file; what is none is left out, and named by whoever refers to it."""
    return tuple(_read_all(as_list(value) or ()))


def write_inputs(inputs: Sequence[Input]) -> list[dict[str, object]]:
    """Inputs as our own file has them: VS Code's form, and what it lacks."""
    return [_write_input(asked) for asked in inputs]


def _read_all(items: Iterable[object]) -> Iterable[Input]:
    for item in items:
        members = as_object(item) or {}
        input_id = members.get("id")
        if not isinstance(input_id, str):
            continue
        kind = members.get("type", "promptString")
        yield Input(
            id=input_id,
            description=_text(members.get("description")) or "",
            is_secret=members.get("password") is True,
            is_required=members.get("required") is not False,
            default=_text(members.get("default")),
            choices=tuple(_read_choices(members.get("options"))) if kind == "pickString" else (),
            is_multiple=members.get("multiple") is True,
            is_number=members.get("number") is True,
            minimum=_number(members.get("min")),
            maximum=_number(members.get("max")),
            refusal="" if kind in ("promptString", "pickString") else _describe_kind(kind),
        )


def _read_choices(value: object) -> Iterable[str]:
    for option in as_list(value) or ():
        text = _text((as_object(option) or {}).get("value", option))
        if text is not None:
            yield text


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else show_plain(value)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _describe_kind(kind: object) -> str:
    shown = kind if isinstance(kind, str) and kind.isidentifier() else "something else"
    return f"its input is a {shown}, which only an editor can run"


def _write_input(asked: Input) -> dict[str, object]:
    written: dict[str, object] = {"id": asked.id, "type": "pickString" if asked.choices else "promptString"}
    if asked.description:
        written["description"] = asked.description
    if asked.choices:
        written["options"] = list(asked.choices)
    if asked.default is not None:
        written["default"] = asked.default
    for key, is_so in (("password", asked.is_secret), ("multiple", asked.is_multiple), ("number", asked.is_number)):
        if is_so:
            written[key] = True
    if not asked.is_required:
        written["required"] = False
    bounds = (("min", asked.minimum), ("max", asked.maximum))
    return written | {key: bound for key, bound in bounds if bound is not None}
