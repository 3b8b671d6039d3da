"""The command line of MCP Inspector: one process per question. Modes: `legacy`, `auto`, `modern` (--protocol-era).

It declares no elicitation and shows no progress. Ctrl+C closes its connection, which cancels in the stateless era only.
Further keys of the argument: `node`, `package` (the folder of the inspector), `home` (a folder for what it stores).
"""

import asyncio
import json
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process

from steps import ECHO, TEXT, UNSUPPORTED, WAIT, Json, cancel_while_running, run, take

CONNECT_LIMIT_MILLISECONDS = "60000"
FIRST_STATELESS_REVISION = "2026-07-28"


async def talk(url: str, given: Json) -> Json:
    async def start(*options: str) -> Process:
        script = f"{given['package']}/clients/cli/build/index.js"
        general = ["--protocol-era", given["mode"], "--connect-timeout", CONNECT_LIMIT_MILLISECONDS, "--format", "json"]
        command = [given["node"], script, url, *general, *options]
        environment = {"PATH": os.environ["PATH"], "HOME": given["home"]}
        return await asyncio.create_subprocess_exec(*command, env=environment, stdin=DEVNULL, stdout=PIPE, stderr=PIPE)

    async def ask(*options: str) -> Json:
        process = await start(*options)
        try:
            out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        if process.returncode:
            raise AssertionError(err.decode(errors="replace").strip())
        return json.loads(out)["result"]

    async def echo() -> str:
        answer = await ask(*call_options(ECHO, {"text": TEXT}))
        return answer["content"][0]["text"]

    async def cancel() -> str:
        processes: list[Process] = []

        async def call(arguments: Json) -> None:
            processes.append(await start(*call_options(WAIT, arguments)))
            await processes[0].communicate()

        async def interrupt() -> None:
            processes[0].send_signal(signal.SIGINT)

        return await cancel_while_running(call, interrupt)

    greeting, listed, echoed = await asyncio.gather(
        ask("--method", "initialize"), ask("--method", "tools/list"), take(echo())
    )
    is_stateless = greeting["protocolVersion"] >= FIRST_STATELESS_REVISION
    return {
        "protocol": greeting["protocolVersion"],
        "tools": len(listed["tools"]),
        "echo": echoed,
        "progress": UNSUPPORTED,
        "elicitation": UNSUPPORTED,
        "cancelled": await take(cancel()) if is_stateless else UNSUPPORTED,
    }


def call_options(tool: str, arguments: Json) -> list[str]:
    return ["--method", "tools/call", "--tool-name", tool, "--tool-args-json", json.dumps(arguments)]


if __name__ == "__main__":
    run(talk)
