"""The Python SDK 1.x, with the login that it brings (`OAuthClientProvider`)."""
# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false, reportArgumentType=false

from contextlib import asynccontextmanager
from typing import Any

from mcp import ClientSession
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamablehttp_client
from mcp.shared.auth import OAuthClientMetadata
from memory import Memory
from pydantic import AnyUrl
from talking import TOOL, Json, converse, open_callback, run, say


async def talk(given: Json) -> None:
    async with open_callback() as callback:

        async def open_browser(url: str) -> None:
            say("open", url=url)

        async def wait() -> tuple[str, str | None]:
            answer = await callback.wait()
            return answer["code"], answer.get("state")

        metadata = OAuthClientMetadata(
            client_name="Python SDK 1",
            redirect_uris=[AnyUrl(callback.url)],
            grant_types=["authorization_code", "refresh_token"],
        )
        auth = OAuthClientProvider(
            given["url"],
            metadata,
            Memory(),
            redirect_handler=open_browser,
            callback_handler=wait,
            client_metadata_url=given.get("client_metadata_url"),
        )

        @asynccontextmanager
        async def connect():
            async with streamablehttp_client(given["url"], auth=auth) as (reading, writing, _):
                async with ClientSession(reading, writing) as session:
                    await session.initialize()

                    async def call() -> str:
                        answer: Any = await session.call_tool(TOOL, {})
                        return answer.content[0].text

                    yield call

        await converse(connect)


if __name__ == "__main__":
    run(talk)
