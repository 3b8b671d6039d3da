"""The endpoints that programs call: token, introspection, revocation, userinfo and metadata."""

import base64
import binascii
from urllib.parse import unquote_plus

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fluidmcp.demo.forms import read_form
from fluidmcp.demo.grants import AccessToken, GrantBook, OAuthError, TokenPair
from fluidmcp.demo.mailboxes import Person, find_person
from fluidmcp.demo.registration import SCOPES, Registration


def read_bearer_token(request: Request) -> str:
    """The one bearer token of the `Authorization` header (RFC 6750 section 2.1), or the empty string."""
    values = request.headers.getlist("authorization")
    scheme, _, token = values[0].partition(" ") if len(values) == 1 else ("", "", "")
    return token.strip() if scheme.lower() == "bearer" else ""


class TokenEndpoints:
    def __init__(self, registration: Registration, grants: GrantBook) -> None:
        self._registration = registration
        self._grants = grants

    def routes(self) -> list[Route]:
        return [
            Route("/token", self.token, methods=["POST"]),
            Route("/introspect", self.introspect, methods=["POST"]),
            Route("/revoke", self.revoke, methods=["POST"]),
            Route("/userinfo", self.userinfo, methods=["GET"]),
            Route("/.well-known/oauth-authorization-server", self.metadata, methods=["GET"]),
        ]

    async def token(self, request: Request) -> Response:
        """RFC 6749 sections 4.1.3 and 6."""
        form = await read_form(request)
        client_id = self._authenticate(request, form)
        match form.get("grant_type"):
            case "authorization_code":
                pair = self._grants.redeem_code(
                    _require(form, "code"),
                    client_id=client_id,
                    redirect_uri=_require(form, "redirect_uri"),
                    code_verifier=_require(form, "code_verifier"),
                )
            case "refresh_token":
                if not set(form.get("scope", "").split()) <= SCOPES.keys():
                    raise OAuthError("invalid_scope", "A refresh cannot ask for more than was allowed.")
                pair = self._grants.refresh(_require(form, "refresh_token"), client_id=client_id)
            case None:
                raise OAuthError("invalid_request", "grant_type is missing.")
            case _:
                raise OAuthError("unsupported_grant_type", "Only authorization_code and refresh_token are supported.")
        return JSONResponse(_to_json(pair))

    async def introspect(self, request: Request) -> Response:
        """RFC 7662 section 2: anything but a live access token of this client is just not active."""
        form = await read_form(request)
        client_id = self._authenticate(request, form)
        access = self._grants.find_access_token(_require(form, "token"))
        if access is None or access.grant.client_id != client_id:
            return JSONResponse({"active": False})
        return JSONResponse(
            {
                "active": True,
                "iss": self._registration.issuer,
                "sub": access.grant.subject,
                "client_id": access.grant.client_id,
                "scope": access.grant.scope,
                "token_type": "Bearer",
                "iat": int(access.issued_at),
                "exp": int(access.expires_at),
            }
        )

    async def revoke(self, request: Request) -> Response:
        """RFC 7009 section 2: the answer does not say whether the token existed."""
        form = await read_form(request)
        client_id = self._authenticate(request, form)
        self._grants.revoke_token(_require(form, "token"), client_id=client_id)
        return Response(status_code=200)

    async def userinfo(self, request: Request) -> Response:
        person = _find_owner(self._grants.find_access_token(read_bearer_token(request)))
        if person is None:
            return JSONResponse(
                {"error": "invalid_token"},
                status_code=401,
                headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
            )
        return JSONResponse({"sub": person.subject, "name": person.name, "email": person.email, "email_verified": True})

    async def metadata(self, request: Request) -> Response:
        """RFC 8414 section 2."""
        issuer = self._registration.issuer
        methods = ["client_secret_basic", "client_secret_post"]
        return JSONResponse(
            {
                "issuer": issuer,
                "authorization_endpoint": f"{issuer}/authorize",
                "token_endpoint": f"{issuer}/token",
                "introspection_endpoint": f"{issuer}/introspect",
                "revocation_endpoint": f"{issuer}/revoke",
                "userinfo_endpoint": f"{issuer}/userinfo",
                "scopes_supported": list(SCOPES),
                "response_types_supported": ["code"],
                "response_modes_supported": ["query"],
                "grant_types_supported": ["authorization_code", "refresh_token"],
                "code_challenge_methods_supported": ["S256"],
                "token_endpoint_auth_methods_supported": methods,
                "introspection_endpoint_auth_methods_supported": methods,
                "revocation_endpoint_auth_methods_supported": methods,
                "authorization_response_iss_parameter_supported": True,
            }
        )

    def _authenticate(self, request: Request, form: dict[str, str]) -> str:
        """The client id, proven by HTTP Basic or by the form, not by both (RFC 6749 section 2.3).

        Raises:
            OAuthError: `invalid_client`, or `invalid_request` when both ways are used.
        """
        header = request.headers.get("authorization")
        if header is not None and "client_secret" in form:
            raise OAuthError("invalid_request", "Use one way of client authentication, not two.")
        if header is not None:
            client_id, client_secret = _parse_basic(header)
        else:
            client_id, client_secret = form.get("client_id", ""), form.get("client_secret", "")
        if not self._registration.is_client(client_id, client_secret) or form.get("client_id", client_id) != client_id:
            raise OAuthError("invalid_client", "The client id or the client secret is wrong.", status=401)
        return client_id


def _find_owner(access: AccessToken | None) -> Person | None:
    return None if access is None else find_person(access.grant.subject)


def _require(form: dict[str, str], name: str) -> str:
    value = form.get(name, "")
    if not value:
        raise OAuthError("invalid_request", f"{name} is missing.")
    return value


def _parse_basic(header: str) -> tuple[str, str]:
    """Both parts are form-encoded before they are joined (RFC 6749 section 2.3.1)."""
    scheme, _, credentials = header.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        client_id, _, client_secret = base64.b64decode(credentials, validate=True).decode("utf-8").partition(":")
        return unquote_plus(client_id, errors="strict"), unquote_plus(client_secret, errors="strict")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""


def _to_json(pair: TokenPair) -> dict[str, object]:
    return {
        "access_token": pair.access_token,
        "token_type": "Bearer",
        "expires_in": pair.expires_in,
        "refresh_token": pair.refresh_token,
        "scope": pair.scope,
    }
