"""The command line of MCP Inspector: one process per call; the login lies in the home directory.

Further keys of the argument: `node`, `package` (the folder of the inspector), `home`, `port` (for its listener).
"""

import asyncio
import json
import os
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from spoken_urls import watch
from talking import TOOL, Call, Json, converse, run


async def talk(given: Json) -> None:
    script = f"{given['package']}/clients/cli/build/index.js"
    options = ["--protocol-era", given["mode"], "--connect-timeout", "60000", "--format", "json"]
    callback = ["--callback-url", f"http://127.0.0.1:{given['port']}/oauth/callback"]
    command = [given["node"], script, given["url"], *options, *callback, "--method", "tools/call", "--tool-name", TOOL]
    if "client_metadata_url" in given:
        command += ["--client-metadata-url", given["client_metadata_url"]]
    # It opens the browser of the system, which is none here, and writes the address too. Without a terminal it has to
    # be told that somebody is there.
    shown = {"BROWSER": "true", "MCP_AUTO_OPEN_ENABLED": "true", "MCP_INSPECTOR_SECRET_STORE": "file"}
    environment = {"PATH": os.environ["PATH"], "HOME": given["home"], **shown}

    async def call() -> str:
        process = await asyncio.create_subprocess_exec(
            *command, env=environment, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, limit=1 << 20
        )
        assert process.stdout is not None and process.stderr is not None
        written: list[str] = []
        try:
            out, _ = await asyncio.gather(process.stdout.read(), watch(process.stderr, written=written))
            if await process.wait():
                raise AssertionError("\n".join(written))
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return json.loads(out)["result"]["content"][0]["text"]

    @asynccontextmanager
    async def connect() -> AsyncGenerator[Call]:
        yield call

    await converse(connect)


if __name__ == "__main__":
    run(talk)
