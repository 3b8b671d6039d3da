"""How the OpenAPI document describes the login routes. Data only."""

from typing import Any

_ERROR: dict[str, Any] = {
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["error"],
                "properties": {
                    "error": {"type": "string"},
                    "message": {"type": "string"},
                    "hint": {"type": "string"},
                },
            }
        }
    }
}

_TOKEN_ANSWER: dict[str, Any] = {
    "description": "The token. Hold it and send it with every request; the gateway does not keep it.",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["success", "package", "token_data", "message"],
                "properties": {
                    "success": {"type": "boolean", "const": True},
                    "package": {"type": "string"},
                    "token_data": {
                        "type": "object",
                        "required": ["access_token", "refresh_token", "expires_in", "token_type", "scope"],
                        "properties": {
                            "access_token": {"type": "string"},
                            "refresh_token": {"type": ["string", "null"]},
                            "expires_in": {"type": ["integer", "null"], "description": "Seconds."},
                            "token_type": {"type": "string", "const": "Bearer"},
                            "scope": {"type": ["string", "null"]},
                        },
                    },
                    "message": {"type": "string"},
                },
            }
        }
    },
}


def _error(description: str) -> dict[str, Any]:
    return {"description": description, **_ERROR}


_COMMON: dict[int | str, dict[str, Any]] = {
    403: _error("Not opened as a page of its own, or an account that is not allowed."),
    404: _error("Unknown package, or a package without OAuth."),
    429: _error("Too many from this address; see Retry-After."),
    503: _error("A variable is missing in the environment of the gateway, or the provider cannot be reached."),
}

LOGIN: dict[str, Any] = {
    "summary": "Begin a login",
    "description": "Sends the browser to the provider of the package (authorization code with PKCE). With "
    "`Accept: application/json` the answer is the address to open instead, and nothing is begun.",
    "response_model": None,
    "responses": {
        200: {"description": "Asked for as JSON: the address to open in a browser."},
        302: {"description": "To the provider, with a cookie that belongs to this login."},
        **_COMMON,
    },
}

CALLBACK: dict[str, Any] = {
    "summary": "Finish a login",
    "description": "The provider sends the browser here. The code is redeemed once, for the browser that began the "
    "login, within ten minutes.",
    "response_model": None,
    "responses": {
        200: _TOKEN_ANSWER,
        400: _error("The state is unknown, used, expired or of another browser, or the provider said no."),
        502: _error("The answer of the provider cannot be used."),
        **_COMMON,
    },
}

CALLBACK_OF: dict[str, Any] = {
    "summary": "Finish one of several logins",
    "description": "As /{package}/auth/callback, for a package whose `auth` names its logins.",
    "response_model": None,
    "responses": CALLBACK["responses"],
}

KEYS: dict[str, Any] = {
    "summary": "The page on which a person types keys",
    "description": "Of a package whose `auth` is of the type `keys`. A login leads here.",
    "response_model": None,
    "responses": {
        200: {"description": "The page.", "content": {"text/html": {}}},
        400: {"description": "The login is unknown, over, or of another browser.", "content": {"text/html": {}}},
    },
}

TYPED_KEYS: dict[str, Any] = {
    "summary": "What the person typed",
    "response_model": None,
    "responses": {
        200: {"description": "On to the client, or the tokens.", "content": {"text/html": {}, "application/json": {}}},
        400: {"description": "The page again: a key is not good.", "content": {"text/html": {}}},
    },
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "content": {
                "application/x-www-form-urlencoded": {
                    "schema": {
                        "type": "object",
                        "properties": {"state": {"type": "string"}, "decision": {"enum": ["allow", "deny"]}},
                        "additionalProperties": {"type": "string"},
                    }
                }
            },
        }
    },
}

REFRESH: dict[str, Any] = {
    "summary": "Refresh a token",
    "description": "Exchanges a refresh token at the provider of the package, with the client secret that only the "
    "gateway knows.",
    "response_model": None,
    "responses": {
        200: _TOKEN_ANSWER,
        400: _error("No refresh token, or one that the provider does not accept."),
        413: _error("The body is too large."),
        415: _error("The body is not application/json."),
        502: _error("The answer of the provider cannot be used."),
        **_COMMON,
    },
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "required": ["refresh_token"],
                        "properties": {"refresh_token": {"type": "string"}},
                    }
                }
            },
        }
    },
}
