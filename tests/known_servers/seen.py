"""What was seen of the known servers: `seen.toml`, and the same form for what a test sees now."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.known_servers.stage import Stage, Told

FILE: Final = Path(__file__).with_name("seen.toml")

Record = dict[str, Any]
"""`package`, `proof`, `tools`; with a call also `tool`, and `credential`: request -> the forms that it held."""


def load_seen() -> dict[str, Record]:
    return tomllib.loads(FILE.read_text(encoding="utf-8"))


def describe(stage: Stage, told: Mapping[str, Told]) -> Record:
    """What both persons saw; where one saw something else, that stands beside it and equals no record."""
    (tools,) = {person.tools for person in told.values()}
    record: Record = {"package": stage.server.entry["package"], "proof": stage.proof, "tools": tools}
    if stage.trial.tool:
        forms = list_forms(stage, next(iter(told)))
        record |= {"tool": stage.trial.tool, "credential": forms}
        others = [list_forms(stage, person) for person in told]
        if any(other != forms for other in others):
            record["differs"] = others
    return record


def list_forms(stage: Stage, person: str) -> dict[str, list[str]]:
    """Request -> the forms of that person's credential in it."""
    forms: dict[str, set[str]] = {}
    for seen in stage.stub.seen:
        if seen.person == person:
            forms.setdefault(seen.where, set()).update(seen.forms)
    return {where: sorted(forms[where]) for where in sorted(forms)}


def to_toml(name: str, record: Record) -> str:
    """The table of the file, to be put there when a version was raised and what is seen now is right."""
    lines = [f"[{name}]"]
    for key, value in record.items():
        if key != "credential":
            lines.append(f"{key} = {_to_value(value)}")
    for where, forms in record.get("credential", {}).items():
        lines.append(f'credential."{where}" = {_to_value(forms)}')
    return "\n".join(lines) + "\n"


def _to_value(value: str | int | Sequence[str]) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    return str(value) if isinstance(value, int) else f"[{', '.join(_to_value(item) for item in value)}]"
