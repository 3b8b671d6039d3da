"""A package file with the two reference servers that the official clients are tried against."""

import json
from pathlib import Path

from tests import parts
from tests.acceptance.harness import BIN


def write_reference_servers(folder: Path) -> Path:
    """`time` is mcp-server-time (Python), `everything` is server-everything (Node). The path of the file."""
    node, *everything = parts.server_everything_command()
    servers = {
        "time": {"command": str(BIN / "mcp-server-time"), "args": ["--local-timezone", "Europe/Paris"]},
        "everything": {"command": node, "args": everything},
    }
    path = folder / "config.json"
    path.write_text(json.dumps({"mcpServers": servers}), encoding="utf-8")
    return path
