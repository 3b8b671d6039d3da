"""The provider's one registered client, with keys that are made anew at every start."""

import hmac
import secrets
from dataclasses import dataclass, field
from typing import Final

from fluidmcp.config.secret import Secret

READ_SCOPE: Final = "https://www.googleapis.com/auth/gmail.readonly"

SCOPES: Final[dict[str, str]] = {
    READ_SCOPE: "Read your messages. It cannot send, change or delete anything.",
}
"""Every scope that can be granted, and what it means in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """Who may ask for logins, and the one address that codes are sent to."""

    port: int
    redirect_uri: str
    client_name: str = "FluidMCP gateway"
    client_id: str = field(default_factory=lambda: f"demo-client-{secrets.token_hex(8)}")
    client_secret: Secret = field(default_factory=lambda: Secret(secrets.token_urlsafe(32)))

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def hosts(self) -> frozenset[str]:
        """The values of the Host header that are answered."""
        return frozenset({f"127.0.0.1:{self.port}", f"localhost:{self.port}"})

    def is_client(self, client_id: str, client_secret: str) -> bool:
        same_id = hmac.compare_digest(client_id.encode(), self.client_id.encode())
        same_secret = hmac.compare_digest(client_secret.encode(), self.client_secret.reveal().encode())
        return same_id and same_secret
