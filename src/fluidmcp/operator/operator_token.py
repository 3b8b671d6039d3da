"""The operator's own token: from the environment as it is, else from the login on this machine, kept fresh.

A refresh happens five minutes early, under a lock that holds between processes, and only after the file was read
again inside the lock: of any number of processes one asks the provider. A refresh token that the provider called dead
is never tried again.
"""

import asyncio
import hmac
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final

from fluidmcp.config.oauth import AUTH_ENDPOINT, OAuthSettings, missing_for_login, not_configured
from fluidmcp.config.secret import Secret
from fluidmcp.errors import (
    ConfigurationError,
    FluidMCPError,
    NotLoggedInError,
    ProviderAnswerError,
    ProviderUnavailableError,
    TokenRefreshError,
)
from fluidmcp.oauth_client.discovery import ProviderMetadata, find_provider
from fluidmcp.oauth_client.fetch import Fetcher
from fluidmcp.oauth_client.token_endpoint import (
    ProviderClient,
    TokenAnswer,
    refresh_token_grant,
    request_token,
)
from fluidmcp.operator.token_file import StoredLogin, TokenFile

EARLY_SECONDS: Final = 300.0
"""How long before its end a token is refreshed; for one that lives less than ten minutes, half of its life."""
REFRESH_LIMIT_SECONDS: Final = 40.0
"""The most that discovery and the token request take together while the lock is held."""
CHECK_SECONDS: Final = 30.0
"""How often a running gateway looks at file and clock: another process may log in, and a machine may have slept."""
FIRST_RETRY_SECONDS: Final = 30.0
MAX_RETRY_SECONDS: Final = 600.0
STOP_SECONDS: Final = 3.0
"""How long a refresh under way may finish when the gateway stops."""
CLOCK_LEEWAY_SECONDS: Final = 60.0

_FOREIGN: Final = "The stored login is for another provider or client than the configured one."

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Failure:
    """The last refresh that failed, and until when this process does not try again."""

    error: FluidMCPError
    retry_at: float
    next_wait_seconds: float


class OperatorToken:
    """The token of whoever runs this command. One per process; `current` and `matches` are cheap unless it expired."""

    def __init__(
        self,
        settings: OAuthSettings,
        *,
        token_file: TokenFile,
        fetcher: Fetcher,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._settings = settings
        self._file = token_file
        self._fetcher = fetcher
        self._now = now
        self._sleep = sleep
        self._refreshing: asyncio.Task[StoredLogin] | None = None
        self._mark: tuple[int, ...] | None = None
        self._login: StoredLogin | None = None
        self._before: StoredLogin | None = None
        self._failure: _Failure | None = None
        self._reported = ""
        self._unusable: ConfigurationError | NotLoggedInError | None = None

    @property
    def is_from_environment(self) -> bool:
        """FMCP_OAUTH_ACCESS_TOKEN is set: it takes precedence and is used as it is."""
        return self._settings.access_token is not None

    def login(self) -> StoredLogin | None:
        """The stored login of the configured provider, expired or not; None also while the environment has a token.

        A file that somebody else could have planted counts as none here: whoever asks `fresh` is told why.
        """
        if self._settings.access_token is not None:
            return None
        mark = self._file.change_mark()
        if mark is not None and mark == self._mark:
            return self._login
        login, self._unusable = (None, None) if mark is None else self._load()
        if login is not None and self._login is not None and not _is_same_token(login, self._login):
            self._before, self._failure = self._login, None
        if login is None:
            self._before = None
        # What is not trusted is looked at again: the fault may be with the directory.
        self._mark, self._login = None if isinstance(self._unusable, ConfigurationError) else mark, login
        return login

    def _load(self) -> tuple[StoredLogin | None, ConfigurationError | NotLoggedInError | None]:
        """The login in the file, or why there is none to use; both None for a file that holds none."""
        try:
            login = self._file.load()
        except ConfigurationError as error:
            self._report(error.why)
            return None, error
        if login is not None and is_foreign(login, self._settings):
            self._report(_FOREIGN)
            return None, NotLoggedInError("Not logged in", why=_FOREIGN, hint="Run `fluidmcp login`")
        return login, None

    def _report(self, why: str) -> None:
        """A warning for a trouble that lasts, once."""
        if self._reported != why:
            self._reported = why
            logger.warning("the login of the operator is not used: %s", why)

    async def current(self) -> Secret | None:
        """The token while it has not expired, else None. The provider is asked only when the token has expired."""
        if self._settings.access_token is not None:
            return self._settings.access_token
        login = self.login()
        if login is None:
            return None
        if self._has_expired(login):
            try:
                login = await self._refresh()
            except (TokenRefreshError, NotLoggedInError, ProviderUnavailableError, ConfigurationError):
                return None
        return None if self._has_expired(login) else login.access_token

    async def matches(self, token: str) -> bool:
        """Whether this is the operator's token, or the one before its last refresh while that has not expired.

        The comparison takes the same time wherever the texts differ.
        """
        current = await self.current()
        candidates = [] if current is None else [current]
        if self._before is not None and self._before.expires_at is not None and not self._has_expired(self._before):
            candidates.append(self._before.access_token)
        given = token.encode("utf-8", "surrogatepass")
        same = [hmac.compare_digest(given, candidate.reveal().encode()) for candidate in candidates]
        return any(same)

    async def fresh(self, *, force: bool = False) -> Secret:
        """A token to use now, refreshed when it ends within five minutes; `force` refreshes whatever the clock says.

        Raises:
            NotLoggedInError: no login, or one that ended and cannot be renewed without a person.
            TokenRefreshError: the provider refused to renew it.
            ProviderUnavailableError: the provider cannot be asked, and the token has expired.
            ConfigurationError: the file could have been planted, or what a refresh needs is not configured.
        """
        if self._settings.access_token is not None:
            return self._settings.access_token
        login = self._require_login()
        if not force and not self._is_due(login):
            return login.access_token
        try:
            return (await self._refresh(seen=login if force else None)).access_token
        except (ProviderUnavailableError, TokenRefreshError, NotLoggedInError, ConfigurationError) as error:
            if force or self._has_expired(login):
                raise
            logger.warning("the token could not be refreshed early: %s", error.what)
            return login.access_token

    async def keep_fresh(self) -> None:
        """Refresh the stored login whenever it is due, until cancelled. Failures are logged and tried again later."""
        try:
            while True:
                await self._refresh_if_due()
                await self._sleep(CHECK_SECONDS)
        finally:
            # A refresh token that was used up and not replaced in the file would end the login.
            if self._refreshing is not None and not self._refreshing.done():
                await asyncio.wait({self._refreshing}, timeout=STOP_SECONDS)

    async def _refresh_if_due(self) -> None:
        try:
            login = self.login()
            if login is not None and login.refresh_token is not None and self._is_due(login):
                await self._refresh()
        except (ProviderUnavailableError, TokenRefreshError, NotLoggedInError):
            return  # Logged where it was tried.
        except ConfigurationError as error:
            self._report(error.why)

    async def _refresh(self, *, seen: StoredLogin | None = None) -> StoredLogin:
        """A login that is not due (or another one than `seen`), from another process or from the provider.

        One refresh at a time in this process: later callers get the same result. A waiting caller may be cancelled; the
        refresh goes on, because the provider may have replaced the refresh token already.
        """
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._refresh_once(seen))
            self._refreshing.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._refreshing)

    async def _refresh_once(self, seen: StoredLogin | None) -> StoredLogin:
        login = self._require_login()
        if not self._needs_refresh(login, seen):
            return login
        self._require_refreshable(login)
        if self._failure is not None and 0 < self._failure.retry_at - self._now() <= MAX_RETRY_SECONDS:
            raise self._failure.error
        try:
            return await self._refresh_under_lock(seen)
        except (ProviderUnavailableError, TokenRefreshError) as error:
            wait = FIRST_RETRY_SECONDS if self._failure is None else self._failure.next_wait_seconds
            self._failure = _Failure(error, self._now() + wait, min(wait * 2, MAX_RETRY_SECONDS))
            logger.warning("%s: %s", error.what, error.why)
            raise

    async def _refresh_under_lock(self, seen: StoredLogin | None) -> StoredLogin:
        try:
            async with self._file.locked():
                self._mark = None
                login = self._require_login()
                if not self._needs_refresh(login, seen):
                    return login
                self._require_refreshable(login)
                async with asyncio.timeout(REFRESH_LIMIT_SECONDS):
                    answer, provider = await self._ask_provider(login)
                # Nothing waits between here and the file, so nothing can be cancelled in between.
                client_id = self._settings.client_id
                self._save(login, _renew(login, answer, provider=provider, client_id=client_id, now=self._now()))
        except TimeoutError as error:
            raise ProviderUnavailableError(
                "Token refresh failed",
                why="It did not finish in time, or another fluidmcp process did not.",
                hint="Try again in a moment.",
            ) from error
        self._failure = None
        return self._require_login()

    async def _ask_provider(self, login: StoredLogin) -> tuple[TokenAnswer, ProviderMetadata]:
        assert login.refresh_token is not None
        try:
            provider = await find_provider(self._settings, self._fetcher, needs=("token_endpoint",))
            if provider.token_endpoint is None:
                raise _refresh_failed("The discovery document names no token endpoint.")
            if login.token_endpoint not in (None, provider.token_endpoint):
                raise _refresh_failed("The stored login is for another token endpoint than the configured one.")
            answer = await request_token(
                self._fetcher,
                token_url=provider.token_endpoint,
                client=build_client(self._settings, provider),
                grant=refresh_token_grant(login.refresh_token.reveal()),
            )
        except ProviderAnswerError as error:
            if error.provider_error == "invalid_grant":
                self._save(login, replace(login, refresh_token=None, is_refresh_refused=True))
            raise _refresh_failed(error.why, provider_error=error.provider_error) from error
        except ProviderUnavailableError as error:
            raise ProviderUnavailableError(
                "Token refresh failed",
                why=f"{error.what}. {error.why}".strip(),
                hint="The login is kept; try again in a moment.",
            ) from error
        return answer, provider

    def _save(self, old: StoredLogin, fresh: StoredLogin) -> None:
        """Save the fresh login, unless somebody logged out (or in) meanwhile, although we hold the lock."""
        stored = self._file.load()
        if stored is None or not _is_same_token(stored, old):
            raise NotLoggedInError("Not logged in", why="The login was removed meanwhile.", hint="Run `fluidmcp login`")
        self._file.save(fresh)
        self._mark = None

    def _require_login(self) -> StoredLogin:
        login = self.login()
        if login is None:
            raise self._unusable or NotLoggedInError("Not logged in", hint="Run `fluidmcp login`")
        return login

    def _require_refreshable(self, login: StoredLogin) -> None:
        if login.is_refresh_refused:
            raise _refresh_failed("The provider no longer accepts the refresh token.", provider_error="invalid_grant")
        if login.refresh_token is None:
            raise NotLoggedInError(
                "Not logged in",
                why="The login has expired, and there is no refresh token to renew it.",
                hint="Run `fluidmcp login`",
            )
        missing = missing_for_refresh(self._settings)
        if missing:
            raise not_configured(missing)

    def _needs_refresh(self, login: StoredLogin, seen: StoredLogin | None) -> bool:
        return self._is_due(login) if seen is None else _is_same_token(login, seen)

    def _is_due(self, login: StoredLogin) -> bool:
        now = self._now()
        if login.obtained_at is not None and now < login.obtained_at - CLOCK_LEEWAY_SECONDS:
            # The clock went back: when the token ends is anybody's guess.
            return login.refresh_token is not None
        if login.expires_at is None:
            return False
        early = EARLY_SECONDS
        if login.obtained_at is not None:
            early = min(early, max(0.0, login.expires_at - login.obtained_at) / 2)
        return now >= login.expires_at - early

    def _has_expired(self, login: StoredLogin) -> bool:
        return login.expires_at is not None and self._now() >= login.expires_at


def is_foreign(login: StoredLogin, settings: OAuthSettings) -> bool:
    """Whether the stored login is not for the configured token endpoint and client. What is not configured matches."""
    pairs = ((login.token_endpoint, settings.token_endpoint), (login.client_id, settings.client_id))
    return any(stored is not None and configured is not None and stored != configured for stored, configured in pairs)


def missing_for_refresh(settings: OAuthSettings) -> tuple[str, ...]:
    """The names of the variables that a refresh needs and that are not set."""
    return tuple(name for name in missing_for_login(settings) if name != AUTH_ENDPOINT)


def build_client(settings: OAuthSettings, provider: ProviderMetadata) -> ProviderClient:
    """Who we are at the configured provider. The secret, if any, goes into the form unless only Basic is offered."""
    methods = provider.token_endpoint_auth_methods_supported
    only_basic = "client_secret_basic" in methods and "client_secret_post" not in methods
    return ProviderClient(
        client_id=settings.client_id or "",
        client_secret=settings.client_secret,
        auth_method="basic" if only_basic else None,
    )


def store_answer(
    answer: TokenAnswer, *, token_endpoint: str | None, client_id: str | None, requested_scope: str | None, now: float
) -> StoredLogin:
    """What the file keeps of a token answer that came at `now` (seconds)."""
    return StoredLogin(
        access_token=Secret(answer.access_token),
        refresh_token=None if answer.refresh_token is None else Secret(answer.refresh_token),
        expires_at=None if answer.expires_in is None else now + answer.expires_in,
        obtained_at=now,
        # RFC 6749 section 5.1: no scope in the answer means the one that was asked for.
        scope=answer.scope if answer.scope is not None else requested_scope,
        token_endpoint=token_endpoint,
        client_id=client_id,
    )


def _renew(
    login: StoredLogin, answer: TokenAnswer, *, provider: ProviderMetadata, client_id: str | None, now: float
) -> StoredLogin:
    """The login with the answer's tokens; one without a refresh token keeps the old one (RFC 6749 section 6)."""
    renewed = store_answer(
        answer, token_endpoint=provider.token_endpoint, client_id=client_id, requested_scope=login.scope, now=now
    )
    return replace(
        renewed,
        refresh_token=renewed.refresh_token if renewed.refresh_token is not None else login.refresh_token,
        issuer=login.issuer,
        subject=login.subject,
        email=login.email,
    )


def _is_same_token(one: StoredLogin, other: StoredLogin) -> bool:
    return hmac.compare_digest(one.access_token.reveal().encode(), other.access_token.reveal().encode())


def _refresh_failed(why: str, *, provider_error: str = "") -> TokenRefreshError:
    return TokenRefreshError(
        "Token refresh failed",
        provider_error=provider_error,
        why=why,
        hint="Run `fluidmcp logout` and then `fluidmcp login`",
    )
