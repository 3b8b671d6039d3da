"""Who an MCP client is: entered by the operator, described by a document of its own, or registered."""

import hashlib
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from fluidmcp.authorization_server.cimd import ClientDocuments, is_document_id
from fluidmcp.authorization_server.client_ids import ClientIds
from fluidmcp.config.clients import ClientRules
from fluidmcp.config.redirects import is_same_redirect
from fluidmcp.errors import OAuthError

_AGAIN = "Remove the server in the program, and add it again."


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A client that may ask a person. `host` vouches for it: its id is a document there. None: nobody does."""

    client_id: str
    kind: Literal["configured", "document", "registered", "page"]
    name: str
    redirect_uris: tuple[str, ...]
    host: str | None = None

    @property
    def digest(self) -> str:
        """A digest of all that a person consented to in this client; another one when its document changes."""
        parts = [self.client_id, self.kind, self.name, sorted(self.redirect_uris), self.host]
        return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()

    def find_redirect(self, presented: str | None) -> str:
        """The redirect URI to use: the presented one if it is registered, or the only one if none was presented.

        Raises:
            OAuthError: `invalid_request`; nothing may be sent anywhere.
        """
        if presented is None and len(self.redirect_uris) == 1:
            return self.redirect_uris[0]
        if presented is not None and any(self._is_same(uri, presented) for uri in self.redirect_uris):
            return presented
        raise OAuthError(
            "invalid_request",
            "The address for the answer is not one that this program registered.",
            why="So nothing was sent anywhere. The request may be a forgery.",
            hint=f"If you began this yourself: {_AGAIN[0].lower()}{_AGAIN[1:]}",
        )

    def _is_same(self, registered: str, presented: str) -> bool:
        # The gateway's own page has the gateway's port, and no other.
        return registered == presented if self.kind == "page" else is_same_redirect(registered, presented)


class ClientDirectory:
    """Finds the clients of one package. `own` is the gateway's own page; `documents`: None where there are none."""

    def __init__(
        self,
        *,
        client_ids: ClientIds,
        documents: ClientDocuments | None,
        rules: ClientRules,
        own: Client | None = None,
    ) -> None:
        self._client_ids = client_ids
        self._documents = documents
        self._rules = rules
        self._own = own
        self._configured = {client.client_id: client for client in rules.clients}

    async def find(self, client_id: str, *, client_address: str) -> Client:
        """The client of this id. `client_address` is who asks: fetching documents is limited by it.

        Raises:
            OAuthError: `invalid_client`, unknown, too old or shut out; or its document cannot be had.
        """
        if self._rules.denies(client_id=client_id):
            raise _denied()
        client = await self._find(client_id, client_address)
        if self._rules.denies(client_id=client_id, redirect_uris=client.redirect_uris):
            raise _denied()
        return client

    def is_denied(self, client_id: str) -> bool:
        """Whether the operator shuts this client out, as far as is known without fetching anything."""
        registered = self._client_ids.open(client_id, ignore_age=True)
        redirect_uris = () if registered is None else registered.redirect_uris
        return self._rules.denies(client_id=client_id, redirect_uris=redirect_uris)

    async def _find(self, client_id: str, client_address: str) -> Client:
        if self._own is not None and client_id == self._own.client_id:
            return self._own
        configured = self._configured.get(client_id)
        if configured is not None:
            return Client(
                client_id=client_id,
                kind="configured",
                name=configured.client_name,
                redirect_uris=configured.redirect_uris,
            )
        if is_document_id(client_id) and self._documents is not None:
            document = await self._documents.find(client_id, client_address=client_address)
            return Client(
                client_id=client_id,
                kind="document",
                name=document.name,
                redirect_uris=document.redirect_uris,
                host=urlsplit(client_id).netloc,
            )
        registered = self._client_ids.open(client_id)
        if registered is None:
            raise OAuthError(
                "invalid_client",
                "This program is not known here, or its registration is over.",
                why="A registration is good for 90 days, at one package, and with the keys that it was made with.",
                hint=_AGAIN,
            )
        return Client(
            client_id=client_id, kind="registered", name=registered.name, redirect_uris=registered.redirect_uris
        )


def _denied() -> OAuthError:
    return OAuthError(
        "invalid_client",
        "This program is not let in here.",
        status=403,
        why="The operator of the gateway has shut it out.",
        hint="Ask the operator.",
    )
