"""What the tests of sealed tokens share: grants of made-up people, and a clock."""

import asyncio
import base64
import hashlib

from fluidmcp.authentication.person import Person
from fluidmcp.authorization_server.grant import Grants, UpstreamGrant
from fluidmcp.authorization_server.sealed_tokens import TokenSealer
from fluidmcp.config.secret import Secret
from fluidmcp.crypto.sealing import Sealer
from fluidmcp.store.memory import Fence, MemoryStore
from tests.providers.login_gateway import Clock

CONTEXT = ("mail", "https://gateway.example", "", "fingerprint")
CLIENT = "https://client.example/client.json"
GRANT_ID = b"g" * 16
# Long enough that no random text holds it: tests look for it in sealed and encoded bytes.
PERSON = "ada-lovelace-1815"
DAY = 24 * 3600


class YieldingStore:
    """A store that lets others run at each call, as one on another machine does."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.lock = store.lock

    async def put(self, key: str, value: bytes, *, ttl_seconds: float, fence: Fence | None = None) -> None:
        await asyncio.sleep(0)
        await self._store.put(key, value, ttl_seconds=ttl_seconds, fence=fence)
        await asyncio.sleep(0)

    async def get(self, key: str) -> bytes | None:
        await asyncio.sleep(0)
        return await self._store.get(key)

    async def take(self, key: str) -> bytes | None:
        await asyncio.sleep(0)
        return await self._store.take(key)

    async def count(self, key: str, *, window_seconds: float) -> int:
        await asyncio.sleep(0)
        return await self._store.count(key, window_seconds=window_seconds)


def seal_key(name: str) -> Secret:
    return Secret(base64.b64encode(hashlib.sha256(name.encode()).digest()).decode())


def sealer(*names: str) -> Sealer:
    return Sealer([seal_key(name) for name in names or ("one",)])


def token_sealer(clock: Clock, *names: str, context: tuple[str, ...] = CONTEXT) -> TokenSealer:
    return TokenSealer(sealer(*names), context, now=clock)


def person(name: str = PERSON, *, scopes: tuple[str, ...] = ("mail.read",)) -> Person:
    return Person(issuer="https://id.example", subject=name, email_domain="example.org", scopes=scopes)


def upstream_grant(
    clock: Clock,
    *,
    access_token: str = "provider-access",
    refresh_token: str | None = "provider-refresh",
    expires_in: int | None = 3600,
) -> UpstreamGrant:
    expires_at = None if expires_in is None else int(clock.time) + expires_in
    return UpstreamGrant(person(), access_token, refresh_token, expires_at)


def package_grants(clock: Clock, **changes: object) -> Grants:
    return Grants(None, {"": upstream_grant(clock, **changes)})  # type: ignore[arg-type]
