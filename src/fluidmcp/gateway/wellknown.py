"""The addresses at which MCP clients look for a login, and how pages of any origin may read them (CORS).

A document of RFC 8414 stands where that says (the path of the issuer inserted behind the well-known one), and also
where clients of OpenID Connect look. At the root stand those of the one package with a login, for clients that know no
other place; where there are several, nothing does.
"""

import re
from collections.abc import Callable, Coroutine, Mapping
from types import MappingProxyType
from typing import Any, Final

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from fluidmcp.auth.facade import Facade
from fluidmcp.auth.server.metadata import AUTHORIZATION_SERVER, DOORS, OPENID_CONFIGURATION, PROTECTED_RESOURCE

CORS_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
        # MCP clients send their revision with everything, and a page may only send what is named here.
        "Access-Control-Allow-Headers": "Content-Type, Accept, MCP-Protocol-Version",
        "Access-Control-Max-Age": "86400",
    }
)
"""No cookie counts at these addresses, and what they answer is for whoever asks."""

DOCUMENT_SECONDS: Final = 300

_OPEN_TO_PAGES: Final = re.compile(r"(/[^/]+)?(/\.well-known/.*|/(token|register|revoke))", re.ASCII)


def is_open_to_pages(path: str) -> bool:
    """Whether pages of any origin may call this path: nothing at it goes by a cookie or by where the caller is."""
    return _OPEN_TO_PAGES.fullmatch(path) is not None


def build_wellknown_router(
    facades: Mapping[str, Facade], *, public_url: str, foreign: Mapping[str, Mapping[str, dict[str, object]]]
) -> APIRouter:
    """The routes of all documents. `foreign` holds, by package and door, what names another authorization server."""
    router = APIRouter(tags=["login for MCP clients"])
    for path, describe in _documents(facades, public_url=public_url, foreign=foreign).items():
        router.add_api_route(path, _answer_with(describe), methods=["GET"], response_model=None, name=path)
        router.add_api_route(path, answer_preflight, methods=["OPTIONS"], include_in_schema=False, name=path)
    return router


async def answer_preflight() -> Response:
    """What a browser asks before it lets a page call us (Fetch standard, "CORS-preflight fetch")."""
    return Response(status_code=204, headers=dict(CORS_HEADERS))


def list_document_paths(facades: Mapping[str, Facade], foreign: Mapping[str, object]) -> list[str]:
    """The paths of all documents, for the list of doors that a guarded gateway leaves open."""
    return list(_documents(facades, public_url="", foreign={name: dict.fromkeys(DOORS, {}) for name in foreign}))


def _documents(
    facades: Mapping[str, Facade], *, public_url: str, foreign: Mapping[str, Mapping[str, dict[str, object]]]
) -> dict[str, Callable[[], dict[str, object]]]:
    documents: dict[str, Callable[[], dict[str, object]]] = {}

    def add_resource(path: str, facade: Facade, door: str) -> None:
        documents[path] = lambda: facade.describe_resource(door)

    def add_server(path: str, facade: Facade, issuer: str | None = None) -> None:
        documents[path] = lambda: facade.describe_server(issuer=issuer)

    for name, facade in facades.items():
        for door in DOORS:
            add_resource(f"{PROTECTED_RESOURCE}/{name}/{door}", facade, door)
        add_server(f"{AUTHORIZATION_SERVER}/{name}", facade)
        add_server(f"{OPENID_CONFIGURATION}/{name}", facade)
        add_server(f"/{name}{AUTHORIZATION_SERVER}", facade)
        add_server(f"/{name}{OPENID_CONFIGURATION}", facade)
    for name, by_door in foreign.items():
        for door, document in by_door.items():
            documents[f"{PROTECTED_RESOURCE}/{name}/{door}"] = lambda document=document: document
    if len(facades) == 1:
        (facade,) = facades.values()
        add_resource(PROTECTED_RESOURCE, facade, "mcp")
        add_server(AUTHORIZATION_SERVER, facade, public_url)
        add_server(OPENID_CONFIGURATION, facade, public_url)
    return documents


def _answer_with(describe: Callable[[], dict[str, object]]) -> Callable[[], Coroutine[Any, Any, Response]]:
    async def answer() -> Response:
        headers = {**CORS_HEADERS, "Cache-Control": f"public, max-age={DOCUMENT_SECONDS}"}
        return JSONResponse(describe(), headers=headers)

    return answer
