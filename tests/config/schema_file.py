"""Writes docs/schema/config.json; part of scripts/update-docs."""

import json
from pathlib import Path
from typing import Final

from fluidmcp.config.schema import build_schema

SCHEMA_FILE: Final = Path(__file__).resolve().parents[2] / "docs" / "schema" / "config.json"


def write_schema() -> str:
    """The text of the file."""
    return json.dumps(build_schema(), indent=2) + "\n"


if __name__ == "__main__":
    SCHEMA_FILE.parent.mkdir(exist_ok=True)
    SCHEMA_FILE.write_text(write_schema(), encoding="utf-8")
