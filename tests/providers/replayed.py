"""Answers of providers that no test can reach, replayed.

They are not recordings: each is written down from what the provider's documentation says of its addresses and fields.
What a test shows with them is that this project does the right thing if the documentation is right.
"""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from fluidmcp.errors import ProviderUnavailableError
from fluidmcp.oauth_client.fetch import FetchAnswer, Fetcher

Answers = Mapping[str, tuple[int, Mapping[str, Any]]]
"""Address to status and JSON object."""

_AUTH0 = "https://your-domain.auth0.com"
_OKTA = "https://your-domain.okta.com/oauth2/default"
_ENTRA = "https://login.microsoftonline.com/your-tenant-id"
_KEYCLOAK = "https://keycloak.example.com/realms/your-realm"

DOCUMENTS: Answers = MappingProxyType(
    {
        f"{_AUTH0}/.well-known/openid-configuration": (
            200,
            {
                "issuer": f"{_AUTH0}/",
                "authorization_endpoint": f"{_AUTH0}/authorize",
                "token_endpoint": f"{_AUTH0}/oauth/token",
                "jwks_uri": f"{_AUTH0}/.well-known/jwks.json",
                "userinfo_endpoint": f"{_AUTH0}/userinfo",
                "revocation_endpoint": f"{_AUTH0}/oauth/revoke",
                "code_challenge_methods_supported": ["S256", "plain"],
            },
        ),
        f"{_OKTA}/.well-known/openid-configuration": (
            200,
            {
                "issuer": _OKTA,
                "authorization_endpoint": f"{_OKTA}/v1/authorize",
                "token_endpoint": f"{_OKTA}/v1/token",
                "jwks_uri": f"{_OKTA}/v1/keys",
                "introspection_endpoint": f"{_OKTA}/v1/introspect",
                "revocation_endpoint": f"{_OKTA}/v1/revoke",
                "code_challenge_methods_supported": ["S256"],
            },
        ),
        f"{_ENTRA}/v2.0/.well-known/openid-configuration": (
            200,
            {
                "issuer": f"{_ENTRA}/v2.0",
                "authorization_endpoint": f"{_ENTRA}/oauth2/v2.0/authorize",
                "token_endpoint": f"{_ENTRA}/oauth2/v2.0/token",
                "jwks_uri": f"{_ENTRA}/discovery/v2.0/keys",
                "userinfo_endpoint": "https://graph.microsoft.com/oidc/userinfo",
            },
        ),
        f"{_KEYCLOAK}/.well-known/openid-configuration": (
            200,
            {
                "issuer": _KEYCLOAK,
                "authorization_endpoint": f"{_KEYCLOAK}/protocol/openid-connect/auth",
                "token_endpoint": f"{_KEYCLOAK}/protocol/openid-connect/token",
                "jwks_uri": f"{_KEYCLOAK}/protocol/openid-connect/certs",
                "introspection_endpoint": f"{_KEYCLOAK}/protocol/openid-connect/token/introspect",
                "revocation_endpoint": f"{_KEYCLOAK}/protocol/openid-connect/revoke",
                "code_challenge_methods_supported": ["plain", "S256"],
            },
        ),
        "https://oauth2.googleapis.com/tokeninfo": (400, {"error_description": "Invalid Value"}),
        "https://api.github.com/applications/your_client_id/token": (404, {"message": "Not Found"}),
    }
)


class ReplayFetcher(Fetcher):
    """Answers from memory; an address that it does not know cannot be reached. `forms` are those that were posted."""

    def __init__(self, answers: Answers = DOCUMENTS) -> None:
        super().__init__()
        self._answers = answers
        self.forms: list[tuple[str, dict[str, str]]] = []

    async def get(self, url: str, *, headers: Mapping[str, str] | None = None) -> FetchAnswer:
        return self._answer(url)

    async def post_form(
        self, url: str, form: Mapping[str, str], *, headers: Mapping[str, str] | None = None
    ) -> FetchAnswer:
        self.forms.append((url, dict(form)))
        return self._answer(url)

    async def post_json(
        self, url: str, document: Mapping[str, object], *, headers: Mapping[str, str] | None = None
    ) -> FetchAnswer:
        return self._answer(url)

    def _answer(self, url: str) -> FetchAnswer:
        if url not in self._answers:
            raise ProviderUnavailableError("The provider cannot be reached", why=f"No answer is known for {url}.")
        status, document = self._answers[url]
        return FetchAnswer(status=status, media_type="application/json", body=json.dumps(document).encode())
