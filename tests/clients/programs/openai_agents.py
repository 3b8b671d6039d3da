"""`MCPServerStreamableHttp` of openai-agents, without a model: it lists the tools, calls them, and cancels a call."""
# pyright: basic, reportMissingImports=false

from agents.mcp import MCPServerStreamableHttp
from steps import ECHO, TEXT, UNSUPPORTED, WAIT, Json, cancel_while_running, run, take

LIMIT_SECONDS = 60.0
"""Its own, 5 s, says more about the machine than about the client."""


async def talk(url: str, _given: Json) -> Json:
    parameters = {"url": url, "timeout": LIMIT_SECONDS}
    async with MCPServerStreamableHttp(parameters, client_session_timeout_seconds=LIMIT_SECONDS) as server:

        async def call(tool: str, arguments: Json) -> str:
            return (await server.call_tool(tool, arguments)).content[0].text

        tools = await server.list_tools()
        return {
            "protocol": server.session.protocol_version,
            "tools": len(tools),
            "echo": await take(call(ECHO, {"text": TEXT})),
            "progress": UNSUPPORTED,
            "elicitation": UNSUPPORTED,
            "cancelled": await take(cancel_while_running(lambda arguments: call(WAIT, arguments))),
        }


if __name__ == "__main__":
    run(talk)
