"""The authorization-code login at one provider: begin, take once, redeem, refresh.

A pending login is bound to its package, its kind, the browser that began it (a cookie) and ten minutes. It is
compared first and taken out of the store before the code is redeemed, so of several callbacks at once one redeems.
What a login carries for whoever began it is encrypted under the browser's cookie, which is not kept here.
"""

import hashlib
import hmac
import ipaddress
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec

from fluidmcp.crypto.digest import PackageDigest
from fluidmcp.crypto.sealing import open_under, seal_under
from fluidmcp.errors import LoginError
from fluidmcp.oauth_client.fetch import Fetcher
from fluidmcp.oauth_client.pkce import code_challenge_s256, create_code_verifier
from fluidmcp.oauth_client.presets import preset_params, scope_separator
from fluidmcp.oauth_client.token_endpoint import (
    ProviderClient,
    TokenAnswer,
    authorization_code_grant,
    refresh_token_grant,
    request_token,
    sanitise_error_code,
)
from fluidmcp.store.memory import Store, StoreFullError

PENDING_LOGIN_SECONDS = 600
MAX_PENDING_LOGINS = 1000
"""How many pending logins the store named `pending_auth_states` may hold, for all packages together."""
MAX_LOGINS_PER_ADDRESS = 200
"""Logins that one address may begin within the life of a pending login: it cannot fill the store alone."""
RETRY_WHEN_FULL_SECONDS = 60
MAX_CODE_CHARACTERS = 8 * 1024

LoginKind = Literal["json", "client"]
"""Who gets the outcome: whoever opened the login, as JSON, or an MCP client that waits for its authorization code."""

_STATE = re.compile(r"[A-Za-z0-9_-]{43}")
_CODE = re.compile(r"[\x20-\x7e]+")
_PROTOCOL_PARAMS = frozenset(
    {"response_type", "client_id", "redirect_uri", "scope", "state", "code_challenge", "code_challenge_method"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginEndpoints:
    """A provider as its OAuth client needs to know it."""

    authorization_url: str
    token_url: str
    refresh_url: str | None = None
    """Where refresh tokens go, where that is not the token_url."""
    refresh_with_redirect_uri: bool = False
    send_pkce: bool = True
    issuer: str | None = None
    """What a callback that names its issuer (RFC 9207) has to name."""
    names_issuer: bool = False
    """The provider names its issuer in every callback: one that does not comes from somebody else."""
    scopes: tuple[str, ...] = ()
    scope_separator: str = " "
    extra_params: tuple[tuple[str, str], ...] = ()


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
    carried: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginStart:
    """A begun login: where to send the browser, and the cookie that it must bring back."""

    location: str = field(repr=False)
    cookie_name: str
    cookie_value: str = field(repr=False)
    max_age_seconds: int = PENDING_LOGIN_SECONDS


class LoginFlow:
    """We are the OAuth client of one provider. `package` is the one that it belongs to, "" for the whole gateway's."""

    def __init__(
        self,
        *,
        package: str,
        endpoints: LoginEndpoints,
        client: ProviderClient,
        redirect_uri: str,
        login_url: str,
        digest: PackageDigest,
        pending_auth_states: Store,
        fetcher: Fetcher,
        now: Callable[[], float],
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._package = package
        self._endpoints = endpoints
        self._client = client
        self._redirect_uri = redirect_uri
        self._login_url = login_url
        self._digest = digest
        self._pending_auth_states = pending_auth_states
        self._fetcher = fetcher
        self._now = now
        self._random_bytes = random_bytes

    async def begin(
        self,
        *,
        client_address: str,
        kind: LoginKind = "json",
        scopes: Sequence[str] | None = None,
        carried: bytes = b"",
    ) -> LoginStart:
        """Remember a new pending login; `scopes` asks for these instead of all.

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
            issuer=self._endpoints.issuer,
            created_at=self._now(),
            carried=seal_under(cookie_value, "login", [self._package], carried) if carried else b"",
        )
        try:
            await self._pending_auth_states.put(
                self._digest.of("pending_login", state), msgspec.json.encode(pending), ttl_seconds=PENDING_LOGIN_SECONDS
            )
        except StoreFullError as error:
            raise _too_many_pending() from error
        return LoginStart(
            location=self._authorization_location(
                state, code_challenge_s256(code_verifier), self._endpoints.scopes if scopes is None else scopes
            ),
            cookie_name=cookie_name(state, is_secure=self._redirect_uri.startswith("https:")),
            cookie_value=cookie_value,
        )

    async def take(self, query: Sequence[tuple[str, str]], cookies: Mapping[str, str]) -> TakenLogin:
        """The login that a callback belongs to, no longer pending.

        Raises:
            LoginError: 400: a malformed callback, a state that is unknown, used, expired, of another package or of
                another browser, or another issuer.
        """
        parameters = dict(query)
        if len(parameters) != len(query):
            raise self._refused("The callback has a parameter twice")
        cookie = self._find_cookie(parameters.get("state", ""), cookies)
        pending = await self._take(parameters.get("state", ""), cookie)
        # RFC 9207: an answer, an error too, of another issuer than the one asked is not even looked at.
        issuer = parameters.get("iss")
        is_missing = issuer is None and self._endpoints.names_issuer
        if is_missing or (issuer is not None and pending.issuer is not None and issuer != pending.issuer):
            raise self._refused("The callback comes from another issuer")
        carried = open_under(cookie, "login", [self._package], pending.carried) if pending.carried else b""
        if carried is None:
            raise self._expired()
        return TakenLogin(kind=pending.kind, code_verifier=pending.code_verifier, carried=carried)

    async def redeem(self, taken: TakenLogin, query: Sequence[tuple[str, str]]) -> TokenAnswer:
        """Redeem the code of a callback whose login was taken.

        Raises:
            LoginError: 400: the provider said no, or sent no code.
            ProviderAnswerError, ProviderUnavailableError: as `request_token`.
        """
        parameters = dict(query)
        code, error = parameters.get("code"), parameters.get("error")
        if error is not None and code is None:
            shown = sanitise_error_code(error)
            raise self._refused("The provider did not complete the login", why=f"It said {shown}." if shown else "")
        if error is not None or not code or len(code) > MAX_CODE_CHARACTERS or not _CODE.fullmatch(code):
            raise self._refused("The callback has no usable code")
        grant = authorization_code_grant(
            code=code,
            code_verifier=taken.code_verifier if self._endpoints.send_pkce else None,
            redirect_uri=self._redirect_uri,
        )
        return await request_token(self._fetcher, token_url=self._endpoints.token_url, client=self._client, grant=grant)

    async def refresh(self, refresh_token: str) -> TokenAnswer:
        """A new token answer for a refresh token; the provider decides whether it is good. Raises as `request_token`.

        The answer carries the old refresh token where the provider sent no new one (RFC 6749 section 6).
        """
        answer = await request_token(
            self._fetcher,
            token_url=self._endpoints.refresh_url or self._endpoints.token_url,
            client=self._client,
            grant=refresh_token_grant(
                refresh_token,
                redirect_uri=self._redirect_uri if self._endpoints.refresh_with_redirect_uri else None,
            ),
        )
        if answer.refresh_token is None:
            return replace(answer, refresh_token=refresh_token)
        return answer

    def _find_cookie(self, state: str, cookies: Mapping[str, str]) -> str:
        return cookies.get(cookie_name(state, is_secure=self._redirect_uri.startswith("https:")), "")

    async def _take(self, state: str, cookie: str) -> PendingLogin:
        """The pending login of this state and this browser, no longer pending."""
        if not _STATE.fullmatch(state):
            raise self._expired()
        key = self._digest.of("pending_login", state)
        pending = self._read(await self._pending_auth_states.get(key))
        # Compared before it is taken: nobody without the cookie may end the login of the browser that has it.
        if not hmac.compare_digest(self._digest.of("cookie", cookie), pending.cookie_digest):
            raise self._expired()
        return self._read(await self._pending_auth_states.take(key))

    def _read(self, value: bytes | None) -> PendingLogin:
        if value is None:
            raise self._expired()
        pending = msgspec.json.decode(value, type=PendingLogin)
        if pending.package != self._package or self._now() - pending.created_at > PENDING_LOGIN_SECONDS:
            raise self._expired()
        return pending

    def _authorization_location(self, state: str, code_challenge: str, scopes: Sequence[str]) -> str:
        parts = urlsplit(self._endpoints.authorization_url)
        parameters = {
            **dict(parse_qsl(parts.query, keep_blank_values=True)),
            **preset_params(self._endpoints.authorization_url),
            **dict(self._endpoints.extra_params),
        }
        for name in _PROTOCOL_PARAMS:
            parameters.pop(name, None)
        parameters["response_type"] = "code"
        parameters["client_id"] = self._client.client_id
        parameters["redirect_uri"] = self._redirect_uri
        if scopes:
            separator = scope_separator(self._endpoints.authorization_url, self._endpoints.scope_separator)
            parameters["scope"] = separator.join(scopes)
        parameters["state"] = state
        if self._endpoints.send_pkce:
            parameters["code_challenge"] = code_challenge
            parameters["code_challenge_method"] = "S256"
        return urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode(parameters), ""))

    async def _count_login(self, client_address: str) -> None:
        try:
            begun = await self._pending_auth_states.count(
                address_key("login", client_address), window_seconds=PENDING_LOGIN_SECONDS
            )
        except StoreFullError as error:
            raise _too_many_pending() from error
        if begun > MAX_LOGINS_PER_ADDRESS:
            raise LoginError(
                "Too many logins from this address",
                status=429,
                why=f"One address may begin {MAX_LOGINS_PER_ADDRESS} logins in {PENDING_LOGIN_SECONDS // 60} minutes.",
                hint="Wait, then open the login page again.",
                retry_after_seconds=PENDING_LOGIN_SECONDS,
            )

    def _refused(self, what: str, *, why: str = "") -> LoginError:
        return LoginError(what, why=why, hint=f"Open {self._login_url} to start again.")

    def _expired(self) -> LoginError:
        return self._refused(
            "Invalid or expired state parameter",
            why="A login can be finished once, within 10 minutes, in the browser that began it.",
        )


def cookie_name(state: str, *, is_secure: bool) -> str:
    """The name of the cookie of one login: several can be under way in one browser."""
    # `__Host-` would need Path=/, and the cookie is for one package only.
    return ("__Secure-" if is_secure else "") + "fmcp_login_" + hashlib.sha256(state.encode()).hexdigest()[:16]


def address_key(purpose: str, client_address: str) -> str:
    """The key under which an address is counted; an IPv6 network of one subscriber (/64) counts as one address."""
    try:
        address = ipaddress.ip_address(client_address.split("%")[0])
    except ValueError:
        counted = client_address
    else:
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
            counted = str(ipaddress.ip_network((address, 64), strict=False))
        else:
            counted = str(getattr(address, "ipv4_mapped", None) or address)
    return hashlib.sha256(f"{purpose} {counted}".encode()).hexdigest()


def _too_many_pending() -> LoginError:
    return LoginError(
        "Too many logins are under way",
        status=503,
        why="The gateway remembers a limited number of logins for 10 minutes each.",
        hint="Try again in a minute.",
        retry_after_seconds=RETRY_WHEN_FULL_SECONDS,
    )
