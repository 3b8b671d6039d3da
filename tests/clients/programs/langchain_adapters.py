"""`MultiServerMCPClient` of langchain-mcp-adapters: the tools of a server as tools of LangChain, in one session."""
# pyright: basic, reportMissingImports=false

from langchain_mcp_adapters.callbacks import CallbackContext, Callbacks
from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_mcp_adapters.tools import load_mcp_tools
from mcp.types import ElicitResult
from steps import ASK, ECHO, NAME, REPORT_PROGRESS, TEXT, UNSUPPORTED, Json, run, take


async def answer(_mcp: object, _params: object, _context: CallbackContext) -> ElicitResult:
    return ElicitResult(action="accept", content={"name": NAME})


async def talk(url: str, _given: Json) -> Json:
    progress: list[float] = []

    async def note(value: float, _total: float | None, _message: str | None, _context: CallbackContext) -> None:
        progress.append(value)

    callbacks = Callbacks(on_progress=note, on_elicitation=answer)
    client = MultiServerMCPClient({"it": {"transport": "http", "url": url}}, callbacks=callbacks)
    async with client.session("it", auto_initialize=False) as session:
        greeting = await session.initialize()
        loaded = await load_mcp_tools(session, callbacks=callbacks, server_name="it")
        tools = {tool.name: tool for tool in loaded}

        async def call(tool: str, arguments: Json) -> str:
            return (await tools[tool].ainvoke(arguments))[0]["text"]

        echo = await take(call(ECHO, {"text": TEXT}))
        await take(call(REPORT_PROGRESS, {}))
        return {
            "protocol": greeting.protocolVersion,
            "tools": len(tools),
            "echo": echo,
            "progress": len(progress),
            "elicitation": await take(call(ASK, {})),
            "cancelled": UNSUPPORTED,
        }


if __name__ == "__main__":
    run(talk)
