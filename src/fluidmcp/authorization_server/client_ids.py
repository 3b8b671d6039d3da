"""Client ids that hold the registration, sealed: it survives a restart without a database.

Bound to one package and the public URL, good for 90 days. A client id is no secret; the seal keeps others from making
one up for a redirect URI that nobody registered.
"""

from collections.abc import Callable
from typing import Final, Literal

import msgspec

from fluidmcp.crypto.sealing import Sealer
from fluidmcp.errors import OAuthError

CLIENT_ID_SECONDS: Final = 90 * 24 * 3600
MAX_CLIENT_ID_CHARACTERS: Final = 1500
"""A client id is part of an address that a browser opens."""

_PURPOSE: Final = "client id"

ApplicationType = Literal["web", "native"]


class RegisteredClient(msgspec.Struct, frozen=True, array_like=True):
    """What a client said when it registered, as far as it counts. `issued_at` is in seconds since the epoch."""

    name: str
    redirect_uris: tuple[str, ...]
    application_type: ApplicationType
    issued_at: int


class ClientIds:
    """Makes and reads the client ids of one package."""

    def __init__(self, sealer: Sealer, *, package: str, public_url: str, now: Callable[[], float]) -> None:
        self._sealer = sealer
        self._context = (package, public_url)
        self.now = now

    def seal(self, client: RegisteredClient) -> str:
        """The id of a client. Raises OAuthError, `invalid_client_metadata`: it would be too long."""
        client_id = self._sealer.seal(_PURPOSE, self._context, msgspec.msgpack.encode(client))
        if len(client_id) > MAX_CLIENT_ID_CHARACTERS:
            raise OAuthError(
                "invalid_client_metadata",
                "The registration is too long.",
                why=f"The client id would have more than {MAX_CLIENT_ID_CHARACTERS} characters.",
                hint="Register fewer or shorter redirect_uris.",
            )
        return client_id

    def open(self, client_id: str, *, ignore_age: bool = False) -> RegisteredClient | None:
        """The registration behind an id; None for a text that is none, of another package, or too old."""
        if len(client_id) > MAX_CLIENT_ID_CHARACTERS:
            return None
        opened = self._sealer.open(_PURPOSE, self._context, client_id)
        if opened is None:
            return None
        try:
            client = msgspec.msgpack.decode(opened, type=RegisteredClient)
        except msgspec.DecodeError:
            return None
        return client if ignore_age or self.now() < client.issued_at + CLIENT_ID_SECONDS else None
