"""The authorization-code login at one provider: begin, take once, redeem, refresh.

A login that waits for its callback (`waiting_logins`) is compared first and taken out of the store before the code is
redeemed, so of several callbacks at once one redeems.
"""

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from fluidmcp.crypto.digest import PackageDigest
from fluidmcp.oauth_client.fetch import Fetcher
from fluidmcp.oauth_client.pkce import code_challenge_s256
from fluidmcp.oauth_client.presets import preset_params, scope_separator
from fluidmcp.oauth_client.token_endpoint import (
    ProviderClient,
    TokenAnswer,
    authorization_code_grant,
    refresh_token_grant,
    request_token,
    sanitise_error_code,
)
from fluidmcp.oauth_client.waiting_logins import (
    PENDING_LOGIN_SECONDS,
    LoginKind,
    TakenLogin,
    WaitingLogins,
)
from fluidmcp.store.memory import Store

MAX_CODE_CHARACTERS = 8 * 1024

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
        max_per_address: int,
        fetcher: Fetcher,
        now: Callable[[], float],
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._endpoints = endpoints
        self._client = client
        self._redirect_uri = redirect_uri
        self._fetcher = fetcher
        self._waiting = WaitingLogins(
            package=package,
            login_url=login_url,
            is_secure=redirect_uri.startswith("https:"),
            digest=digest,
            store=pending_auth_states,
            max_per_address=max_per_address,
            now=now,
            random_bytes=random_bytes,
        )

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
        begun = await self._waiting.begin(
            client_address=client_address, kind=kind, issuer=self._endpoints.issuer, carried=carried
        )
        return LoginStart(
            location=self._authorization_location(
                begun.state,
                code_challenge_s256(begun.code_verifier),
                self._endpoints.scopes if scopes is None else scopes,
            ),
            cookie_name=begun.cookie_name,
            cookie_value=begun.cookie_value,
        )

    async def take(self, query: Sequence[tuple[str, str]], cookies: Mapping[str, str]) -> TakenLogin:
        """The login that a callback belongs to, no longer pending.

        Raises:
            LoginError: 400: a malformed callback, a state that is unknown, used, expired, of another package or of
                another browser, or another issuer.
        """
        parameters = dict(query)
        if len(parameters) != len(query):
            raise self._waiting.refused("The callback has a parameter twice")
        taken = await self._waiting.take(parameters.get("state", ""), cookies)
        # RFC 9207: an answer, an error too, of another issuer than the one asked is not even looked at.
        issuer = parameters.get("iss")
        is_missing = issuer is None and self._endpoints.names_issuer
        if is_missing or (issuer is not None and taken.issuer is not None and issuer != taken.issuer):
            raise self._waiting.refused("The callback comes from another issuer")
        return taken

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
            raise self._waiting.refused(
                "The provider did not complete the login", why=f"It said {shown}." if shown else ""
            )
        if error is not None or not code or len(code) > MAX_CODE_CHARACTERS or not _CODE.fullmatch(code):
            raise self._waiting.refused("The callback has no usable code")
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
