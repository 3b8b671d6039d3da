"""The tokens that a person gets in the browser, as JSON."""

from typing import Final

from fastapi import Response
from fastapi.responses import JSONResponse

from fluidmcp.authorization_server.sealed_tokens import IssuedTokens
from fluidmcp.oauth_client.token_endpoint import TokenAnswer

SUCCESS_MESSAGE: Final = "Authentication successful! Use the access_token in Authorization header."


def token_data_response(package: str, answer: TokenAnswer | IssuedTokens) -> Response:
    """The documented answer: a provider's tokens, or sealed ones where a provider's token alone is not enough."""
    data = {"success": True, "package": package, "token_data": answer.as_token_data(), "message": SUCCESS_MESSAGE}
    return JSONResponse(data)
