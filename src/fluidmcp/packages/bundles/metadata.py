"""The metadata.json of an unpacked bundle: its manifest in the form of our own file. Pure."""

import re
from collections.abc import Mapping, Sequence
from typing import cast

from fluidmcp.config.entries import MAX_NAME_CHARACTERS, RESERVED_NAMES
from fluidmcp.packages.formats.shapes import Input, ReadFile


def name_package(name: str) -> str:
    """The name under which a bundle is installed and served; empty where nothing of `name` can be kept."""
    served = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._")[:MAX_NAME_CHARACTERS].rstrip("-._")
    return f"{served}-server" if served in RESERVED_NAMES else served


def build_metadata(read: ReadFile, *, name: str) -> dict[str, object]:
    """What is written into metadata.json, whose folder is the working directory by itself."""
    value = cast("Mapping[str, object]", read.entries[0].value)
    document: dict[str, object] = {"mcpServers": {name: {key: value[key] for key in value if key != "cwd"}}}
    if read.inputs:
        document["inputs"] = write_inputs(read.inputs)
    return document


def write_inputs(inputs: Sequence[Input]) -> list[dict[str, object]]:
    """Inputs as our own file has them: VS Code's form, and what it lacks."""
    return [_write_input(asked) for asked in inputs]


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
