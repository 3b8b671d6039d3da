"""The Python SDK 2.x, in the handshake era (`legacy`) or in the one that it finds out (`auto`)."""

from typing import Any

from mcp import Client
from mcp.client.session import ClientRequestContext
from mcp_types import CallToolResult, ElicitRequestParams, ElicitResult, TextContent
from steps import (
    ASK,
    ECHO,
    NAME,
    REPORT_PROGRESS,
    TEXT,
    UNSUPPORTED,
    WAIT,
    Json,
    cancel_while_running,
    forgive_close,
    run,
    take,
)


async def answer(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
    return ElicitResult(action="accept", content={"name": NAME})


async def talk(url: str, given: Json) -> Json:
    return await talk_over(url, given["mode"])


async def talk_over(server: Any, mode: str, *, can_cancel: bool = True) -> Json:
    """A conversation with whatever `Client` takes for a server: a URL, or a transport."""
    noted: list[float] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        noted.append(progress)

    def call(tool: str, arguments: Json | None = None, **options: Any):
        return client.call_tool(tool, arguments, **options)

    seen: Json = {}
    with forgive_close(seen):
        async with Client(server, mode=mode, elicitation_callback=answer) as client:
            tools = await client.list_tools()
            echo = await take(call(ECHO, {"text": TEXT}))
            await take(call(REPORT_PROGRESS, progress_callback=note))
            asked = await take(call(ASK, {}))
            cancelled = UNSUPPORTED
            if can_cancel:
                cancelled = await take(cancel_while_running(lambda arguments: call(WAIT, arguments)))
            seen |= {
                "protocol": client.protocol_version,
                "tools": len(tools.tools),
                "echo": text_of(echo),
                "progress": len(noted),
                "elicitation": text_of(asked),
                "cancelled": cancelled,
            }
    return seen


def text_of(answered: CallToolResult | str) -> str:
    if isinstance(answered, str):
        return answered
    return "".join(part.text for part in answered.content if isinstance(part, TextContent))


if __name__ == "__main__":
    run(talk)
