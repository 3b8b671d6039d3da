"""What the four clients send that doctor walks as: data only, as they were seen to do it.

Ports, and the part of an address that is made for each connection, are examples.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientProfile:
    """`document_url` is where a client's own description stands, for those that are known by one instead of a
    registration; `redirect_uri` is the one of the registered that a login uses. `place` says whose machine calls the
    gateway: the service's, or the person's.
    """

    name: str
    place: Literal["service", "device"]
    user_agent: str
    protocol_version: str
    redirect_uri: str
    registration: Mapping[str, object]
    document_url: str | None = None


_GRANTS: Final = ("authorization_code", "refresh_token")

CLAUDE: Final = ClientProfile(
    name="Claude",
    place="service",
    user_agent="Claude-User",
    protocol_version="2025-06-18",
    redirect_uri="https://claude.ai/api/mcp/auth_callback",
    registration=MappingProxyType(
        {
            "client_name": "Claude",
            "grant_types": _GRANTS,
            "response_types": ("code",),
            "redirect_uris": ("https://claude.ai/api/mcp/auth_callback",),
            "token_endpoint_auth_method": "client_secret_post",
            "scope": "claudeai",
        }
    ),
    document_url="https://claude.ai/oauth/mcp-oauth-client-metadata",
)
CURSOR: Final = ClientProfile(
    name="Cursor",
    place="device",
    user_agent="Cursor",
    protocol_version="2025-06-18",
    redirect_uri="cursor://anysphere.cursor-mcp/oauth/callback",
    registration=MappingProxyType(
        {
            "client_name": "Cursor",
            "grant_types": _GRANTS,
            "response_types": ("code",),
            "redirect_uris": (
                "cursor://anysphere.cursor-mcp/oauth/callback",
                "https://www.cursor.com/agents/mcp/oauth/callback",
                "http://localhost:8787/callback",
            ),
            "token_endpoint_auth_method": "none",
        }
    ),
)
VS_CODE: Final = ClientProfile(
    name="VS Code",
    place="device",
    user_agent="node",
    protocol_version="2025-11-25",
    redirect_uri="http://127.0.0.1:33418/",
    registration=MappingProxyType(
        {
            "client_name": "Visual Studio Code",
            "client_uri": "https://code.visualstudio.com",
            "grant_types": (*_GRANTS, "urn:ietf:params:oauth:grant-type:device_code"),
            "response_types": ("code",),
            "redirect_uris": (
                "https://insiders.vscode.dev/redirect",
                "https://vscode.dev/redirect",
                "http://127.0.0.1/",
                "http://127.0.0.1:33418/",
            ),
            "token_endpoint_auth_method": "none",
            "application_type": "native",
        }
    ),
    document_url="https://vscode.dev/oauth/client-metadata.json",
)
CHATGPT: Final = ClientProfile(
    name="ChatGPT",
    place="service",
    user_agent="openai-mcp/1.0.0",
    protocol_version="2025-06-18",
    redirect_uri="https://chatgpt.com/connector_platform_oauth_redirect",
    registration=MappingProxyType(
        {
            "client_name": "ChatGPT",
            "grant_types": _GRANTS,
            "response_types": ("code",),
            "redirect_uris": ("https://chatgpt.com/connector_platform_oauth_redirect",),
            "token_endpoint_auth_method": "none",
        }
    ),
)
CLIENTS: Final = (CLAUDE, CURSOR, VS_CODE, CHATGPT)
