"""The metadata.json of an unpacked bundle: its manifest in the form of our own file. Pure."""

import re
from collections.abc import Mapping
from typing import cast

from fluidmcp.config.entries import MAX_NAME_CHARACTERS, RESERVED_NAMES
from fluidmcp.packages.formats.inputs import write_inputs
from fluidmcp.packages.formats.shapes import ReadFile


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
