"""`mcp-remote`: a server on stdio for its client (here the Python SDK 2.x), and a client of the gateway over HTTP.

The client on stdio speaks the handshake era; `--protocol` says what mcp-remote speaks with the gateway.
Further keys of the argument: `node`, `package` (the folder of mcp-remote), `home` (a folder for what it stores).
"""

import re
import tempfile

from mcp import StdioServerParameters
from mcp.client.stdio import stdio_client
from python_sdk_2 import talk_over
from steps import Json, run


async def talk(url: str, given: Json) -> Json:
    command = [f"{given['package']}/dist/proxy.js", url, "--protocol", given["mode"]]
    environment = {"HOME": given["home"], "MCP_REMOTE_CONFIG_DIR": given["home"]}
    server = StdioServerParameters(command=given["node"], args=command, env=environment)
    with tempfile.TemporaryFile("w+") as log:
        # In the stateless era it posts a notification that this era does not have, and the call goes on.
        seen = await talk_over(stdio_client(server, errlog=log), "legacy", can_cancel=given["mode"] == "legacy")
        log.seek(0)
        stateless = re.search(r"Remote server speaks MCP ([0-9-]+)", log.read())
    return seen | {"protocol": stateless[1] if stateless else seen["protocol"]}


if __name__ == "__main__":
    run(talk)
