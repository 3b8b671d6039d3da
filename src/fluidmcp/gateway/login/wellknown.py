"""The addresses at which MCP clients look for a login, and how pages of any origin may read them (CORS).

A document of RFC 8414 stands where that says (the path of the issuer inserted behind the well-known one), and also
where clients of OpenID Connect look. Where exactly one package has a login, its documents are
also at the root, for clients that know no other place.
"""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from fluidmcp.authorization_server.authorization_server import AuthorizationServer
from fluidmcp.authorization_server.metadata import (
    AUTHORIZATION_SERVER,
    ENDPOINTS,
    OPENID_CONFIGURATION,
    PROTECTED_RESOURCE,
)

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

_OPEN_TO_PAGES: Final = re.compile(r"(/[^/]+)?(/\.well-known/.*|/(token|register|revoke))", re.ASCII)


def is_open_to_pages(path: str) -> bool:
    """Whether pages of any origin may call this path: nothing at it goes by a cookie or by where the caller is."""
    return _OPEN_TO_PAGES.fullmatch(path) is not None


def list_document_paths(
    authorization_servers: Mapping[str, AuthorizationServer], foreign: Mapping[str, object]
) -> list[str]:
    """The paths of all documents, for the list of endpoints that a guarded gateway leaves open."""
    return list(
        describe_documents(
            authorization_servers, public_url="", foreign={name: dict.fromkeys(ENDPOINTS, {}) for name in foreign}
        )
    )


def describe_documents(
    authorization_servers: Mapping[str, AuthorizationServer],
    *,
    public_url: str,
    foreign: Mapping[str, Mapping[str, dict[str, object]]],
) -> dict[str, Callable[[], dict[str, object]]]:
    """All documents by their paths. `foreign`: by package and endpoint, what names another authorization server."""
    documents: dict[str, Callable[[], dict[str, object]]] = {}

    def add_resource(path: str, authorization_server: AuthorizationServer, endpoint: str) -> None:
        documents[path] = lambda: authorization_server.describe_resource(endpoint)

    def add_server(path: str, authorization_server: AuthorizationServer, issuer: str | None = None) -> None:
        documents[path] = lambda: authorization_server.describe_server(issuer=issuer)

    for name, authorization_server in authorization_servers.items():
        for endpoint in ENDPOINTS:
            add_resource(f"{PROTECTED_RESOURCE}/{name}/{endpoint}", authorization_server, endpoint)
        add_server(f"{AUTHORIZATION_SERVER}/{name}", authorization_server)
        add_server(f"{OPENID_CONFIGURATION}/{name}", authorization_server)
        add_server(f"/{name}{AUTHORIZATION_SERVER}", authorization_server)
        add_server(f"/{name}{OPENID_CONFIGURATION}", authorization_server)
    for name, by_endpoint in foreign.items():
        for endpoint, document in by_endpoint.items():
            documents[f"{PROTECTED_RESOURCE}/{name}/{endpoint}"] = lambda document=document: document
    if len(authorization_servers) == 1:
        (authorization_server,) = authorization_servers.values()
        add_resource(PROTECTED_RESOURCE, authorization_server, "mcp")
        add_server(AUTHORIZATION_SERVER, authorization_server, public_url)
        add_server(OPENID_CONFIGURATION, authorization_server, public_url)
    return documents
