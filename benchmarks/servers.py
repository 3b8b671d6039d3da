"""The MCP servers behind the gateways: the echo server, and two real ones."""

import sys
from pathlib import Path
from typing import Final

from benchmarks.cases import ServerName
from benchmarks.node import find_node
from benchmarks.workshop import ROOT, Workshop

EVERYTHING: Final = (
    ROOT / ".parts" / "node_modules" / "@modelcontextprotocol" / "server-everything" / "dist" / "index.js"
)


def find_server(workshop: Workshop, name: ServerName, arguments: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The command of a server on stdio. `arguments` are for the echo server.

    Raises:
        LookupError: it is not installed.
    """
    match name:
        case "echo":
            return (*workshop.echo, *arguments)
        case "time":
            return (str(Path(sys.executable).with_name("mcp-server-time")), "--local-timezone", "UTC")
        case "everything":
            if not EVERYTHING.exists():
                raise LookupError("server-everything is not there: scripts/install-parts")
            return (find_node(), str(EVERYTHING), "stdio")
