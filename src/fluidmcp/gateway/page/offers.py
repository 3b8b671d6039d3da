"""What packages offer to everybody, for the page: asked of server processes that run already. None is started."""

import asyncio
from collections.abc import Mapping
from typing import Final

import msgspec

from fluidmcp.gateway.core import MountedPackage
from fluidmcp.gateway.mcp.own_question import ask_for_tools
from fluidmcp.pages.home import ToolView

OFFER_SECONDS: Final = 2.0
"""How long the page waits for the lists of tools, all together."""
MAX_TOOLS: Final = 100
MAX_NAME_CHARACTERS: Final = 128
MAX_DESCRIPTION_CHARACTERS: Final = 600


class _Tool(msgspec.Struct):
    name: str
    title: str | None = None
    description: str | None = None


class _Result(msgspec.Struct):
    tools: list[msgspec.Raw]


class _Answer(msgspec.Struct):
    result: _Result


_decode = msgspec.json.Decoder(_Answer).decode
_decode_tool = msgspec.json.Decoder(_Tool).decode


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
    body = await ask_for_tools(package.endpoints, package.name)
    if body is None:
        return None
    try:
        tools = _decode(body).result.tools
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    shown = (_show(tool) for tool in tools[:MAX_TOOLS])
    return tuple(tool for tool in shown if tool is not None)


def _show(raw: msgspec.Raw) -> ToolView | None:
    """None for one that is no tool: the others are shown all the same."""
    try:
        tool = _decode_tool(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    words = tool.description or tool.title or ""
    return ToolView(name=_cut(tool.name, MAX_NAME_CHARACTERS), description=_cut(words, MAX_DESCRIPTION_CHARACTERS))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
