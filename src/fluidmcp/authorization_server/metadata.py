"""The documents by which MCP clients find the login of a package. Pure module.

RFC 9728 (protected resource), RFC 8414 (authorization server) with RFC 9207, RFC 7591 and the draft for client id
metadata documents. All addresses are built on the public URL.
"""

from collections.abc import Sequence
from typing import Final

from fluidmcp.config.urls import split_public_url

PROTECTED_RESOURCE: Final = "/.well-known/oauth-protected-resource"
AUTHORIZATION_SERVER: Final = "/.well-known/oauth-authorization-server"
OPENID_CONFIGURATION: Final = "/.well-known/openid-configuration"

ENDPOINTS: Final = ("mcp", "sse")
"""The addresses of a package: one audience, with a document each, because `resource` has to be the address itself."""


def resource_url(public_url: str, package: str, endpoint: str = "mcp") -> str:
    return f"{public_url}/{package}/{endpoint}"


def resource_metadata_url(public_url: str, package: str, endpoint: str = "mcp") -> str:
    """Where the document of an address stands: its path comes after the well-known one (RFC 9728 section 3.1)."""
    origin, path = split_public_url(public_url)
    return f"{origin}{PROTECTED_RESOURCE}{path}/{package}/{endpoint}"


def protected_resource(
    resource: str, *, authorization_server: str, scopes: Sequence[str], name: str
) -> dict[str, object]:
    """The metadata of one address (RFC 9728 section 2). A resource cannot ask for `offline_access`."""
    document: dict[str, object] = {
        "resource": resource,
        "authorization_servers": [authorization_server],
        "bearer_methods_supported": ["header"],
        "resource_name": name,
    }
    asked = [scope for scope in scopes if scope != "offline_access"]
    if asked:
        document["scopes_supported"] = asked
    return document


def authorization_server(
    issuer: str, *, package_url: str, scopes: Sequence[str], resources: Sequence[str], can_register: bool
) -> dict[str, object]:
    """The metadata of the authorization server (RFC 8414 section 2).

    `issuer` is `package_url`, or the public URL: then the three endpoints that clients of 2025-03-26 expect there
    are named by it.
    """
    document: dict[str, object] = {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/authorize",
        "token_endpoint": f"{issuer}/token",
        "revocation_endpoint": f"{package_url}/revoke",
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_methods_supported": ["none"],
        "revocation_endpoint_auth_methods_supported": ["none"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
        "client_id_metadata_document_supported": True,
        "protected_resources": list(resources),
    }
    if can_register:
        document["registration_endpoint"] = f"{issuer}/register"
    if scopes:
        document["scopes_supported"] = list(scopes)
    return document
