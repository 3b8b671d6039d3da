"""Links that make an editor ask whether it shall add a server. Pure module.

The editor shows the name and the address, and the person says yes there; nothing is added by the link alone.
"""

import base64
import json
from urllib.parse import quote

from fluidmcp.packages.clients.endpoint import Endpoint
from fluidmcp.packages.clients.table import CURSOR, VSCODE


def make_cursor_link(endpoint: Endpoint) -> str:
    """`cursor://...`: the name, and the entry as base64 of JSON. Its `+`, `/` and `=` are escaped for the query."""
    config = base64.b64encode(_write(CURSOR.make_entry(endpoint)).encode()).decode()
    return (
        f"cursor://anysphere.cursor-deeplink/mcp/install?name={quote(endpoint.name, safe='')}"
        f"&config={quote(config, safe='')}"
    )


def make_vscode_link(endpoint: Endpoint, *, insiders: bool = False) -> str:
    """`vscode:mcp/install?...`: the entry with its name in it, as JSON that is escaped for a URL."""
    scheme = "vscode-insiders" if insiders else "vscode"
    return f"{scheme}:mcp/install?{quote(write_vscode_server(endpoint), safe='')}"


def write_vscode_server(endpoint: Endpoint) -> str:
    """What `code --add-mcp` takes, and the link too."""
    return _write({"name": endpoint.name, **VSCODE.make_entry(endpoint)})


def _write(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
