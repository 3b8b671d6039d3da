"""Dynamic client registration (RFC 7591), without a database and without secrets.

Unknown members are ignored, as section 2 wants it. `token_endpoint_auth_method` becomes `none` whatever was asked for,
which section 3.2.1 allows: a secret that every program can have for the asking proves nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Final, cast

import msgspec

from fluidmcp.authorization_server.client_ids import ApplicationType, ClientIds, RegisteredClient
from fluidmcp.authorization_server.client_metadata import check_grants, read_client_name, read_redirect_uris
from fluidmcp.config.clients import ClientRules
from fluidmcp.config.redirects import redirect_kind
from fluidmcp.errors import OAuthError

MAX_SCOPE_CHARACTERS: Final = 4096


class Registrar:
    """Registers the clients of one package."""

    def __init__(self, client_ids: ClientIds, rules: ClientRules) -> None:
        self._client_ids = client_ids
        self._rules = rules

    def register(self, body: bytes) -> dict[str, object]:
        """The client information response (RFC 7591 section 3.2.1) to the body of a registration.

        Raises:
            OAuthError: `invalid_redirect_uri`, `invalid_client_metadata`, or `access_denied` for who is shut out.
        """
        if not self._rules.dynamic_registration:
            raise OAuthError(
                "access_denied",
                "Clients cannot register here.",
                status=403,
                hint="Ask the operator of the gateway to enter the client, or use one with a metadata document.",
            )
        document = _decode(body)
        redirect_uris = read_redirect_uris(document)
        check_grants(document)
        if self._rules.denies(client_id="", redirect_uris=redirect_uris):
            raise OAuthError("access_denied", "This client is not let in here.", status=403)
        client = RegisteredClient(
            name=read_client_name(document, redirect_uris),
            redirect_uris=redirect_uris,
            application_type=_read_application_type(document, redirect_uris),
            issued_at=int(self._client_ids.now()),
        )
        response: dict[str, object] = {
            "client_id": self._client_ids.seal(client),
            "client_id_issued_at": client.issued_at,
            "client_name": client.name,
            "redirect_uris": list(redirect_uris),
            "application_type": client.application_type,
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
        }
        scope = document.get("scope")
        if isinstance(scope, str) and len(scope) <= MAX_SCOPE_CHARACTERS:
            response["scope"] = scope
        return response


def _decode(body: bytes) -> Mapping[str, object]:
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise OAuthError("invalid_client_metadata", "The body cannot be read as JSON.") from error
    if not isinstance(document, dict):
        raise OAuthError("invalid_client_metadata", "The body is no JSON object.")
    return cast("dict[str, object]", document)


def _read_application_type(document: Mapping[str, object], redirect_uris: Sequence[str]) -> ApplicationType:
    """What kind of program it is (OpenID Connect Dynamic Client Registration 1.0 section 2).

    A "web" client cannot have its answers sent to a device. A client that says nothing gets the type that fits its
    addresses: the default of the specification, "web", would shut out clients from before 2026-07-28.
    """
    said = document.get("application_type")
    is_on_device = any(redirect_kind(uri) != "https" for uri in redirect_uris)
    match said:
        case None:
            return "native" if is_on_device else "web"
        case "native":
            return "native"
        case "web":
            if is_on_device:
                raise OAuthError(
                    "invalid_redirect_uri",
                    "A web application has https addresses only.",
                    hint='A program on a device registers with "application_type": "native".',
                )
            return "web"
        case _:
            raise OAuthError("invalid_client_metadata", 'application_type must be "web" or "native".')
