"""Logins that wait for the browser: begun once, looked at, taken once.

A waiting login is bound to its package, its kind, the browser that began it (a cookie) and ten minutes. What it carries
for whoever began it is encrypted under the browser's cookie, which is not kept here.
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from fluidmcp.crypto.digest import PackageDigest
from fluidmcp.crypto.sealing import open_under, seal_under
from fluidmcp.errors import LoginError
from fluidmcp.oauth_client.pkce import create_code_verifier
from fluidmcp.protocol.forwarded import group_address
from fluidmcp.store.memory import Store, StoreFullError

PENDING_LOGIN_SECONDS = 600
RETRY_WHEN_FULL_SECONDS = 60

LoginKind = Literal["json", "client"]
"""Who gets the outcome: whoever opened the login, as JSON, or an MCP client that waits for its authorization code."""

_STATE = re.compile(r"[A-Za-z0-9_-]{43}")


class PendingLogin(msgspec.Struct, frozen=True, kw_only=True):
    """What waits for its callback. Lives in `pending_auth_states` only."""

    package: str
    kind: LoginKind
    code_verifier: str
    cookie_digest: str
    issuer: str | None
    created_at: float
    carried: bytes = b""
    """Encrypted under the browser's cookie."""

    def __repr__(self) -> str:
        return f"PendingLogin(package={self.package!r}, kind={self.kind!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenLogin:
    """A login whose callback has come; a second callback is refused."""

    kind: LoginKind
    code_verifier: str = field(repr=False)
    issuer: str | None = None
    carried: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class BegunLogin:
    """Three secrets of a login that waits: for the address, for the cookie, and for the provider's token endpoint."""

    state: str = field(repr=False)
    cookie_name: str
    cookie_value: str = field(repr=False)
    code_verifier: str = field(repr=False)


class WaitingLogins:
    """The waiting logins of one package, or of the whole gateway (`package` is "" then).

    `login_url` is where somebody starts again, `is_secure` whether cookies go over https only, `max_per_address`
    how many logins one address may begin within the life of one.
    """

    def __init__(
        self,
        *,
        package: str,
        login_url: str,
        is_secure: bool,
        digest: PackageDigest,
        store: Store,
        max_per_address: int,
        now: Callable[[], float],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._package = package
        self._login_url = login_url
        self._is_secure = is_secure
        self._digest = digest
        self._store = store
        self._max_per_address = max_per_address
        self._now = now
        self._random_bytes = random_bytes

    async def begin(
        self, *, client_address: str, kind: LoginKind, issuer: str | None = None, carried: bytes = b""
    ) -> BegunLogin:
        """Remember a new one.

        Raises:
            LoginError: 429 when this address began too many logins, 503 when too many are pending altogether.
        """
        await self._count_login(client_address)
        # Three secrets of one kind: 32 random bytes as 43 characters.
        state, cookie_value, code_verifier = (create_code_verifier(self._random_bytes) for _ in range(3))
        pending = PendingLogin(
            package=self._package,
            kind=kind,
            code_verifier=code_verifier,
            cookie_digest=self._digest.of("cookie", cookie_value),
            issuer=issuer,
            created_at=self._now(),
            carried=seal_under(cookie_value, "login", [self._package], carried) if carried else b"",
        )
        try:
            await self._store.put(
                self._digest.of("pending_login", state), msgspec.json.encode(pending), ttl_seconds=PENDING_LOGIN_SECONDS
            )
        except StoreFullError as error:
            raise _too_many_pending() from error
        return BegunLogin(
            state=state,
            cookie_name=cookie_name(state, is_secure=self._is_secure),
            cookie_value=cookie_value,
            code_verifier=code_verifier,
        )

    async def look(self, state: str, cookies: Mapping[str, str]) -> TakenLogin:
        """The login of this state and this browser, which goes on waiting. Raises LoginError: there is none."""
        key = self._key(state)
        cookie = self._find_cookie(state, cookies)
        return self._open(self._compare(await self._store.get(key), cookie), cookie)

    async def take(self, state: str, cookies: Mapping[str, str]) -> TakenLogin:
        """The login of this state and this browser, no longer pending. Raises LoginError: there is none."""
        key = self._key(state)
        cookie = self._find_cookie(state, cookies)
        # Compared before it is taken: nobody without the cookie may end the login of the browser that has it.
        self._compare(await self._store.get(key), cookie)
        return self._open(self._read(await self._store.take(key)), cookie)

    def refused(self, what: str, *, why: str = "") -> LoginError:
        return LoginError(what, why=why, hint=f"Open {self._login_url} to start again.")

    def _key(self, state: str) -> str:
        if not _STATE.fullmatch(state):
            raise self._expired()
        return self._digest.of("pending_login", state)

    def _find_cookie(self, state: str, cookies: Mapping[str, str]) -> str:
        return cookies.get(cookie_name(state, is_secure=self._is_secure), "")

    def _compare(self, value: bytes | None, cookie: str) -> PendingLogin:
        pending = self._read(value)
        if not hmac.compare_digest(self._digest.of("cookie", cookie), pending.cookie_digest):
            raise self._expired()
        return pending

    def _open(self, pending: PendingLogin, cookie: str) -> TakenLogin:
        carried = open_under(cookie, "login", [self._package], pending.carried) if pending.carried else b""
        if carried is None:
            raise self._expired()
        return TakenLogin(
            kind=pending.kind, code_verifier=pending.code_verifier, issuer=pending.issuer, carried=carried
        )

    def _read(self, value: bytes | None) -> PendingLogin:
        if value is None:
            raise self._expired()
        pending = msgspec.json.decode(value, type=PendingLogin)
        if pending.package != self._package or self._now() - pending.created_at > PENDING_LOGIN_SECONDS:
            raise self._expired()
        return pending

    async def _count_login(self, client_address: str) -> None:
        try:
            begun = await self._store.count(address_key("login", client_address), window_seconds=PENDING_LOGIN_SECONDS)
        except StoreFullError as error:
            raise _too_many_pending() from error
        if begun > self._max_per_address:
            raise LoginError(
                "Too many logins from this address",
                status=429,
                why=f"One address may begin {self._max_per_address} logins in {PENDING_LOGIN_SECONDS // 60} minutes.",
                hint="Wait, then open the login page again.",
                retry_after_seconds=PENDING_LOGIN_SECONDS,
            )

    def _expired(self) -> LoginError:
        return self.refused(
            "Invalid or expired state parameter",
            why="A login can be finished once, within 10 minutes, in the browser that began it.",
        )


def cookie_name(state: str, *, is_secure: bool) -> str:
    """The name of the cookie of one login: several can be under way in one browser."""
    # `__Host-` would need Path=/, and the cookie is for one package only.
    return ("__Secure-" if is_secure else "") + "fmcp_login_" + hashlib.sha256(state.encode()).hexdigest()[:16]


async def asks_too_often(store: Store, purpose: str, client_address: str, *, most: int) -> bool:
    """Count a request of an address; whether it has sent more than `most` in a minute. A full store says so as well."""
    try:
        return await store.count(address_key(purpose, client_address), window_seconds=60) > most
    except StoreFullError:
        return True


def address_key(purpose: str, client_address: str) -> str:
    """The key under which an address is counted; an IPv6 network of one subscriber (/64) counts as one address."""
    return hashlib.sha256(f"{purpose} {group_address(client_address)}".encode()).hexdigest()


def _too_many_pending() -> LoginError:
    return LoginError(
        "Too many logins are under way",
        status=503,
        why="The gateway remembers a limited number of logins for 10 minutes each.",
        hint="Try again in a minute.",
        retry_after_seconds=RETRY_WHEN_FULL_SECONDS,
    )
