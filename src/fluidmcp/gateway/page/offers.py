"""What packages offer to everybody, for the page: asked of server processes that run already. None is started.

The question takes the way of every other request, through the endpoint of the package, so what an entry does not serve
is not in the answer.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec

from fluidmcp.gateway.core import MountedPackage
from fluidmcp.gateway.http import HttpReply, HttpRequest
from fluidmcp.gateway.mcp.endpoint import read_mcp_head
from fluidmcp.gateway.mcp.messages import Caller
from fluidmcp.gateway.mcp.pending import PendingReply
from fluidmcp.pages.home import ToolView

OFFER_SECONDS: Final = 2.0
"""How long the page waits for the lists of tools, all together."""
MAX_TOOLS: Final = 100
MAX_NAME_CHARACTERS: Final = 128
MAX_DESCRIPTION_CHARACTERS: Final = 600

_QUESTION: Final = b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}'
_HEADERS: Final = {"accept": "application/json", "content-type": "application/json"}


class _Tool(msgspec.Struct):
    name: str
    title: str | None = None
    description: str | None = None


class _Result(msgspec.Struct):
    tools: list[_Tool]


class _Answer(msgspec.Struct):
    result: _Result


_decode = msgspec.json.Decoder(_Answer).decode


async def list_offers(packages: Mapping[str, MountedPackage]) -> dict[str, tuple[ToolView, ...]]:
    """The first page of tools of each package that says it in time; the others are left out."""
    tasks = {name: asyncio.create_task(_list_tools(package)) for name, package in packages.items()}
    if tasks:
        _, late = await asyncio.wait(tasks.values(), timeout=OFFER_SECONDS)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)
    offers: dict[str, tuple[ToolView, ...]] = {}
    for name, task in tasks.items():
        tools = None if task.cancelled() else task.result()
        if tools is not None:
            offers[name] = tools
    return offers


async def _list_tools(package: MountedPackage) -> tuple[ToolView, ...] | None:
    """None: no process runs, or its answer is none."""
    request = HttpRequest("POST", f"/{package.name}/mcp", "", _HEADERS, _read_nothing, _watch_nothing, can_wait=False)
    outcome = package.endpoints.begin_now(request, read_mcp_head(_HEADERS), _QUESTION, Caller(None))
    reply = await outcome.wait(request) if isinstance(outcome, PendingReply) else outcome
    if not isinstance(reply, HttpReply) or reply.status != 200:
        return None
    try:
        tools = _decode(reply.body).result.tools
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return tuple(map(_show, tools[:MAX_TOOLS]))


def _show(tool: _Tool) -> ToolView:
    words = tool.description or tool.title or ""
    return ToolView(name=_cut(tool.name, MAX_NAME_CHARACTERS), description=_cut(words, MAX_DESCRIPTION_CHARACTERS))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


async def _read_nothing() -> bytes:
    return b""


def _watch_nothing(callback: Any) -> Any:
    return cast(Any, lambda: None)
