"""Plays back answers as providers document them. What a test shows with it holds for those answers, not for the
provider as it is today: no provider can be reached from where the tests run.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fluidmcp.oauth_client.fetch import Fetcher
from tests.providers.serving import serve


@dataclass
class Replay:
    """`answers` by method and path, such as "GET /tokeninfo"; what else is asked for is a 500."""

    answers: dict[str, Response] = field(default_factory=dict[str, Response])
    requests: list[tuple[str, dict[str, str], str]] = field(default_factory=list[tuple[str, dict[str, str], str]])
    """What came, in order: method and path with query, headers, body."""
    address: str = ""
    fetcher: Fetcher = field(default_factory=Fetcher)

    def answer(self, request: str, document: Any, status: int = 200) -> None:
        self.answers[request] = JSONResponse(document, status_code=status)

    async def handle(self, request: Request) -> Response:
        query = f"?{request.url.query}" if request.url.query else ""
        name = f"{request.method} {request.url.path}"
        self.requests.append((name + query, dict(request.headers), (await request.body()).decode()))
        return self.answers.get(name, Response(status_code=500))


@asynccontextmanager
async def replaying() -> AsyncGenerator[Replay]:
    replay = Replay()
    app = Starlette(routes=[Route("/{path:path}", replay.handle, methods=["GET", "POST"])])
    async with serve(app) as address:
        replay.address = address
        yield replay
    await replay.fetcher.aclose()
