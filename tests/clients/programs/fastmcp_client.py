"""The client of FastMCP 4, in the handshake era (`legacy`) or in the one that it finds out (`auto`)."""
# pyright: basic, reportMissingImports=false

from fastmcp import Client
from fastmcp.client.elicitation import ElicitResult
from steps import ASK, ECHO, NAME, REPORT_PROGRESS, TEXT, WAIT, Json, cancel_while_running, forgive_close, run, take


async def answer(_message: str, _type: object, _params: object, _context: object) -> ElicitResult:
    return ElicitResult(action="accept", content={"name": NAME})


async def talk(url: str, given: Json) -> Json:
    progress: list[float] = []

    async def note(value: float, _total: float | None, _message: str | None) -> None:
        progress.append(value)

    async def call(tool: str, arguments: Json, **options: object) -> str:
        return (await client.call_tool(tool, arguments, **options)).content[0].text

    seen: Json = {}
    with forgive_close(seen):
        async with Client(url, mode=given["mode"], elicitation_handler=answer) as client:
            tools = await client.list_tools()
            echo = await take(call(ECHO, {"text": TEXT}))
            await take(call(REPORT_PROGRESS, {}, progress_handler=note))
            seen |= {
                "protocol": client.protocol_version,
                "tools": len(tools),
                "echo": echo,
                "progress": len(progress),
                "elicitation": await take(call(ASK, {})),
                "cancelled": await take(cancel_while_running(lambda arguments: call(WAIT, arguments))),
            }
    return seen


if __name__ == "__main__":
    run(talk)
