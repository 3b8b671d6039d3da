"""The import path that the documentation gives for PKCE; the code is `fluidmcp.oauth_client.pkce`."""

from fluidmcp.oauth_client.pkce import code_challenge_s256, create_code_verifier

__all__ = ["code_challenge_s256", "create_code_verifier"]
