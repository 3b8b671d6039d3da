"""How the OpenAPI document describes the authorization servers. Data only."""

from typing import Any

_PAGE: dict[str, Any] = {"content": {"text/html": {}}}
_ERROR: dict[str, Any] = {
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["error"],
                "properties": {"error": {"type": "string"}, "error_description": {"type": "string"}},
            }
        }
    }
}


def _page(description: str) -> dict[str, Any]:
    return {"description": description, **_PAGE}


def _error(description: str) -> dict[str, Any]:
    return {"description": description, **_ERROR}


def _form(*fields: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": {name: {"type": "string"} for name in fields}}
    return {"requestBody": {"required": True, "content": {"application/x-www-form-urlencoded": {"schema": schema}}}}


def _query(*names: str) -> dict[str, Any]:
    return {"parameters": [{"name": name, "in": "query", "schema": {"type": "string"}} for name in names]}


AUTHORIZE: dict[str, Any] = {
    "summary": "Ask a person to let an MCP client in",
    "description": "The authorization endpoint (OAuth 2.1). PKCE with S256 is required; `resource` may only be the "
    "package's own address. Answers carry `iss` (RFC 9207).",
    "response_model": None,
    "responses": {
        200: _page("The page that asks for consent."),
        302: {"description": "Back to the client with an error."},
        303: {"description": "To the login, where this browser remembers the consent."},
        400: _page("The client or its redirect URI is not good; nothing is sent anywhere."),
    },
    "openapi_extra": _query(
        "response_type",
        "client_id",
        "redirect_uri",
        "scope",
        "state",
        "code_challenge",
        "code_challenge_method",
        "resource",
    ),
}

CONSENT: dict[str, Any] = {
    "summary": "A person's answer",
    "response_model": None,
    "responses": {303: {"description": "To the login, or back to the client."}, 400: _page("Too old, or foreign.")},
    "openapi_extra": _form("request", "decision", "remember"),
}

REMEMBERED: dict[str, Any] = {
    "summary": "What this browser remembers",
    "response_model": None,
    "responses": {200: _page("The clients that are not asked about again, each with a button to forget it.")},
}

FORGET: dict[str, Any] = {
    "summary": "Forget a remembered consent",
    "response_model": None,
    "responses": {303: {"description": "Back to the list."}},
    "openapi_extra": _form("forget"),
}

GATEWAY_CALLBACK: dict[str, Any] = {
    "summary": "The callback of the login that the gateway as a whole asks for",
    "response_model": None,
    "responses": {
        302: {"description": "Back to the client."},
        303: {"description": "On to the login of the package."},
        400: _page("The state is unknown, used, expired or of another browser."),
    },
}

TOKEN: dict[str, Any] = {
    "summary": "Tokens for an authorization code or a refresh token",
    "response_model": None,
    "responses": {
        200: {
            "description": "The tokens. The gateway keeps none of them.",
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "required": ["access_token", "token_type", "expires_in", "scope"],
                        "properties": {
                            "access_token": {"type": "string"},
                            "token_type": {"type": "string", "const": "Bearer"},
                            "expires_in": {"type": "integer", "description": "Seconds."},
                            "refresh_token": {"type": "string"},
                            "scope": {"type": "string"},
                        },
                    }
                }
            },
        },
        400: _error("The request or the grant is not good."),
        429: _error("Too many from this address; see Retry-After."),
        502: _error("The provider's answer cannot be used."),
        503: _error("The provider cannot be reached; try again."),
    },
    "openapi_extra": _form(
        "grant_type", "code", "redirect_uri", "client_id", "code_verifier", "refresh_token", "scope", "resource"
    ),
}

REGISTER: dict[str, Any] = {
    "summary": "Register an MCP client (RFC 7591)",
    "description": "Nothing is stored: the client id holds the registration, sealed. It is good for 90 days, at this "
    "package. No secret is given out.",
    "response_model": None,
    "responses": {
        201: {"description": "The registration.", "content": {"application/json": {"schema": {"type": "object"}}}},
        400: _error("invalid_redirect_uri or invalid_client_metadata."),
        429: _error("Too many from this address; see Retry-After."),
    },
    "openapi_extra": {
        "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}
    },
}

REVOKE: dict[str, Any] = {
    "summary": "Revoke a token, and the login that it came of (RFC 7009)",
    "response_model": None,
    "responses": {200: {"description": "It is not good any more, or never was."}, 400: _error("No token.")},
    "openapi_extra": _form("token", "token_type_hint", "client_id"),
}
