"""The JSON schema of our own file (draft 2020-12). Pure module: no I/O."""

from typing import Final

SCHEMA_PATH: Final = "/schema/config.json"
SCHEMA_ADDRESS: Final = f"http://localhost:8099{SCHEMA_PATH}"
"""Where a gateway on this machine serves it; `$schema` of the files that `fluidmcp import` writes."""
