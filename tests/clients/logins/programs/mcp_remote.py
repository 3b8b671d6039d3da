"""`mcp-remote`: a server on stdio for its client (here the Python SDK 2.x); the login lies in the home directory.

Further keys of the argument: `node`, `package` (the folder of mcp-remote), `home`, `port` (for its listener).
"""
# pyright: basic, reportMissingImports=false

import asyncio
import os
from contextlib import asynccontextmanager
from typing import Any

from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from spoken_urls import watch
from talking import TOOL, Json, converse, run


async def talk(given: Json) -> None:
    command = [f"{given['package']}/dist/proxy.js", given["url"], str(given["port"]), "--protocol", given["mode"]]
    environment = {"HOME": given["home"], "MCP_REMOTE_CONFIG_DIR": given["home"], "BROWSER": "true"}
    server = StdioServerParameters(command=given["node"], args=command, env={"PATH": os.environ["PATH"], **environment})

    @asynccontextmanager
    async def connect():
        reading, writing = os.pipe()
        stderr = asyncio.StreamReader()
        pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stderr), os.fdopen(reading, "rb")
        )
        written: list[str] = []
        watching = asyncio.create_task(watch(stderr, written=written))
        try:
            with os.fdopen(writing, "w") as log:
                async with Client(stdio_client(server, errlog=log), mode="legacy") as client:

                    async def call() -> str:
                        answer: Any = await client.call_tool(TOOL, {})
                        return answer.content[0].text

                    yield call
        except BaseException as error:
            error.add_note("\n".join(written))
            raise
        finally:
            watching.cancel()
            pipe.close()

    await converse(connect)


if __name__ == "__main__":
    run(talk)
