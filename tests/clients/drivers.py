"""The official MCP clients, each driven through the same four steps: connect, list the tools, call one, close."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import httpx2
import msgspec
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import TextContent

from tests import parts

CLIENT_LIMIT_SECONDS: Final = 60.0
SCRIPT: Final = Path(__file__).with_name("typescript_client.mjs")


class Conversation(msgspec.Struct, frozen=True):
    """What a client saw of a server."""

    server: str
    tools: list[str]
    text: str
    is_error: bool


async def talk_with_python_sdk(
    url: str, tool: str, arguments: Mapping[str, Any], *, token: str | None = None
) -> Conversation:
    """The Python SDK 2.x in its automatic mode: 2026-07-28 first, `initialize` where the server does not speak it."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(asyncio.timeout(CLIENT_LIMIT_SECONDS))
        http = await stack.enter_async_context(httpx2.AsyncClient(headers=headers, trust_env=False, timeout=30.0))
        client = await stack.enter_async_context(Client(streamable_http_client(url, http_client=http)))
        listed = await client.list_tools()
        answer = await client.call_tool(tool, dict(arguments))
        return Conversation(
            server=client.server_info.name if client.server_info else "",
            tools=[item.name for item in listed.tools],
            text="\n".join(part.text for part in answer.content if isinstance(part, TextContent)),
            is_error=bool(answer.is_error),
        )


async def talk_with_typescript_sdk(
    url: str, tool: str, arguments: Mapping[str, Any], *, token: str | None = None
) -> Conversation:
    """The TypeScript SDK 1.x, in Node. Raises AssertionError with its stderr when it fails."""
    command = [str(parts.require("node")), str(SCRIPT), str(parts.require("typescript-sdk")), url, tool]
    process = await asyncio.create_subprocess_exec(
        *command,
        json.dumps(dict(arguments)),
        *([token] if token else []),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(CLIENT_LIMIT_SECONDS):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode == 0, f"the TypeScript client failed: {err.decode(errors='replace')}"
    return msgspec.json.decode(out, type=Conversation)
