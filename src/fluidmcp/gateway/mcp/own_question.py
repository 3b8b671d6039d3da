"""Questions that the gateway itself has for a package: which tools it serves. No process is started for one.

They take the way of every other request, through the endpoint of the package, so what an entry does not serve is not in
the answer.
"""

import asyncio
from typing import Any, Final, cast

import msgspec

from fluidmcp.gateway.http import HttpReply, HttpRequest
from fluidmcp.gateway.mcp.endpoint import McpEndpoint, read_mcp_head
from fluidmcp.gateway.mcp.messages import Caller
from fluidmcp.gateway.mcp.pending import PendingReply

MAX_PAGES: Final = 20
_HEADERS: Final = {"accept": "application/json", "content-type": "application/json"}


class _Page(msgspec.Struct, rename="camel"):
    tools: list[msgspec.Raw]
    next_cursor: str | None = None


class _Answer(msgspec.Struct):
    result: _Page


_decode = msgspec.json.Decoder(_Answer).decode


async def ask_for_tools(endpoint: McpEndpoint, package: str, cursor: str | None = None) -> bytes | None:
    """One page of `tools/list`, as text of JSON; None: no process runs that everybody shares, or its answer is none."""
    params = {} if cursor is None else {"cursor": cursor}
    question = msgspec.json.encode({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": params})
    request = HttpRequest("POST", f"/{package}/mcp", "", _HEADERS, _read_nothing, _watch_nothing, can_wait=False)
    outcome = endpoint.begin_now(request, read_mcp_head(_HEADERS), question, Caller(None))
    reply = await outcome.wait(request) if isinstance(outcome, PendingReply) else outcome
    return reply.body if isinstance(reply, HttpReply) and reply.status == 200 else None


async def count_tools(endpoint: McpEndpoint, package: str, *, limit_seconds: float) -> int | None:
    """How many tools a package serves; None: it is not known within the limit, or the list has no end."""
    count, cursor = 0, None
    try:
        async with asyncio.timeout(limit_seconds):
            for _ in range(MAX_PAGES):
                body = await ask_for_tools(endpoint, package, cursor)
                if body is None:
                    return None
                page = _decode(body).result
                count, cursor = count + len(page.tools), page.next_cursor
                if not cursor:
                    return count
    except (TimeoutError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    return None


async def _read_nothing() -> bytes:
    return b""


def _watch_nothing(callback: Any) -> Any:
    return cast(Any, lambda: None)
