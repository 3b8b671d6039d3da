"""A guard that knows a few tokens by heart, for tests of the endpoints around it."""

import hashlib

from fluidmcp.authentication.principal import Principal
from fluidmcp.errors import ForbiddenError, ProviderUnavailableError, UnauthorizedError

SCOPE_NEEDED = "tools:call tools:list"


class KnownTokens:
    """`gate-NAME-NUMBER` is a token of that person; `stranger`, `narrow` and `down` are refused in their own ways.

    `asked` holds the tokens that came, in order.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def authenticate(self, token: str) -> Principal:
        self.asked.append(token)
        match token.split("-"):
            case ["gate", name, _]:
                digest = hashlib.sha256(token.encode()).hexdigest()
                return Principal(issuer="https://id.example", subject=name, client_id="cli", token_digest=digest)
            case ["stranger"]:
                raise ForbiddenError("Not everybody is let in.")
            case ["narrow"]:
                raise ForbiddenError("A scope is missing.", reason="insufficient_scope", scope=SCOPE_NEEDED)
            case ["down"]:
                raise ProviderUnavailableError("The provider cannot be reached")
            case _:
                raise UnauthorizedError("The access token is not good here", reason="invalid_token")

    def describe(self) -> tuple[str, ...]:
        return ()


def gate_token(name: str, number: int = 1) -> str:
    return f"gate-{name}-{number}"
