"""The client of FastMCP 4 with `auth="oauth"`: it listens for the code itself, and opens the browser of the system."""
# pyright: basic, reportMissingImports=false

import webbrowser
from contextlib import asynccontextmanager
from typing import Any

from fastmcp import Client
from fastmcp.client.auth import OAuth
from talking import TOOL, Json, converse, run, say


class Browser(webbrowser.BaseBrowser):
    """The browser of this machine is the test."""

    def open(self, url: str, new: int = 0, autoraise: bool = True) -> bool:
        say("open", url=url)
        return True


async def talk(given: Json) -> None:
    webbrowser.register("the test", None, Browser(), preferred=True)
    auth = OAuth(client_metadata_url=given.get("client_metadata_url"))

    @asynccontextmanager
    async def connect():
        async with Client(given["url"], auth=auth, mode=given["mode"]) as client:

            async def call() -> str:
                answer: Any = await client.call_tool(TOOL, {})
                return answer.content[0].text

            yield call

    await converse(connect)


if __name__ == "__main__":
    run(talk)
