"""The routes of the documents that tell MCP clients where to log in."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from fluidmcp.authorization_server.authorization_server import AuthorizationServer
from fluidmcp.gateway.login.wellknown import CORS_HEADERS, describe_documents

DOCUMENT_SECONDS: Final = 300


def build_wellknown_router(
    authorization_servers: Mapping[str, AuthorizationServer],
    *,
    public_url: str,
    foreign: Mapping[str, Mapping[str, dict[str, object]]],
) -> APIRouter:
    """The routes of all documents; see `describe_documents`."""
    router = APIRouter(tags=["login for MCP clients"])
    for path, describe in describe_documents(authorization_servers, public_url=public_url, foreign=foreign).items():
        router.add_api_route(
            path, _answer_with(describe), methods=["GET"], response_model=None, name=path, summary=_summarise(path)
        )
        router.add_api_route(path, answer_preflight, methods=["OPTIONS"], include_in_schema=False, name=path)
    return router


def _summarise(path: str) -> str:
    if "/oauth-protected-resource" in path:
        return "Where to log in to this address (RFC 9728)"
    return "The endpoints of its login (RFC 8414)"


async def answer_preflight() -> Response:
    """What a browser asks before it lets a page call us (Fetch standard, "CORS-preflight fetch")."""
    return Response(status_code=204, headers=dict(CORS_HEADERS))


def _answer_with(describe: Callable[[], dict[str, object]]) -> Callable[[], Coroutine[Any, Any, Response]]:
    async def answer() -> Response:
        headers = {**CORS_HEADERS, "Cache-Control": f"public, max-age={DOCUMENT_SECONDS}"}
        return JSONResponse(describe(), headers=headers)

    return answer
