"""The Python SDK 2.x with the login that it brings (`OAuthClientProvider`). `client_metadata_url` makes it use CIMD."""
# pyright: basic, reportMissingImports=false

import ssl
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from mcp import Client
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientMetadata
from memory import Memory
from pydantic import AnyUrl
from talking import TOOL, Json, converse, open_callback, run, say


async def talk(given: Json) -> None:
    async with open_callback() as callback:

        async def open_browser(url: str) -> None:
            say("open", url=url)

        async def wait() -> AuthorizationCodeResult:
            answer = await callback.wait()
            return AuthorizationCodeResult(code=answer["code"], state=answer.get("state"), iss=answer.get("iss"))

        metadata = OAuthClientMetadata(
            client_name="Python SDK 2",
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
            async with httpx2.AsyncClient(
                auth=auth, trust_env=False, timeout=60, verify=ssl.create_default_context()
            ) as http:
                async with Client(streamable_http_client(given["url"], http_client=http), mode=given["mode"]) as client:

                    async def call() -> str:
                        answer: Any = await client.call_tool(TOOL, {})
                        return answer.content[0].text

                    yield call

        await converse(connect)


if __name__ == "__main__":
    run(talk)
