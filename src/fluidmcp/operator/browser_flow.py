"""The authorization-code login of the person at this machine (RFC 6749 section 4.1, RFC 7636, RFC 8252, RFC 9207).

Ask with state and an S256 challenge, wait for the answer at the listener or from the keyboard, compare, redeem the
code once. What the provider says in words is shown without control characters, and never believed.
"""

import asyncio
import logging
import re
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from fluidmcp.authentication.identity import read_id_token, read_mail_address
from fluidmcp.config.oauth import CLIENT_ID, CLIENT_SECRET, REDIRECT_URI, SCOPE, TOKEN_ENDPOINT, OAuthSettings
from fluidmcp.errors import LoginError, ProviderAnswerError, ProviderUnavailableError
from fluidmcp.oauth_client.discovery import ProviderMetadata
from fluidmcp.oauth_client.fetch import Fetcher
from fluidmcp.oauth_client.issuer import TENANT_TEMPLATE
from fluidmcp.oauth_client.pkce import code_challenge_s256, create_code_verifier
from fluidmcp.oauth_client.presets import preset_params, refresh_token_advice, scope_separator
from fluidmcp.oauth_client.token_endpoint import (
    TokenAnswer,
    authorization_code_grant,
    request_token,
    sanitise_error_code,
)
from fluidmcp.operator.loopback import CallbackListener, NotTheCallbackError, Parameters, listen, read_pasted
from fluidmcp.operator.operator_token import build_client, store_answer
from fluidmcp.operator.token_file import StoredLogin

LOGIN_TIMEOUT_SECONDS: Final = 300.0
MAX_CODE_CHARACTERS: Final = 8 * 1024
MAX_SHOWN_CHARACTERS: Final = 300

_CODE: Final = re.compile(r"[\x20-\x7e]+")
_TENANT: Final = re.compile(r"[A-Za-z0-9.-]{1,64}")
_TERMINAL_SEQUENCE: Final = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?|\x1b.?"
)
# In the order in which they are tried; the first that is known for an error is shown.
_ERROR_HINTS: Final[Mapping[str, str]] = {
    "access_denied": "Run fluidmcp login again and allow the access.",
    "invalid_scope": f"Check {SCOPE}.",
    "invalid_client": f"Check {CLIENT_ID} and {CLIENT_SECRET}.",
    "unauthorized_client": f"Check {CLIENT_ID}, and which kind of application it is at the provider.",
    "redirect_uri_mismatch": f"Register {REDIRECT_URI} at the provider, letter by letter.",
}

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationRequest:
    """What the browser is sent to ask, and what stays here to compare and to redeem with."""

    location: str = field(repr=False)
    state: str = field(repr=False)
    code_verifier: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedLogin:
    """What to store, and what to tell the person besides success."""

    login: StoredLogin
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """The person's side of a login: where the address is shown, and what comes back from the keyboard."""

    show_address: Callable[[str], None]
    """Called with the address once the listener is bound; may open a browser."""
    say: Callable[[str], None]
    pasted_lines: asyncio.Queue[str] = field(default_factory=lambda: asyncio.Queue[str]())
    """Lines that the person typed or pasted."""


async def log_in_with_browser(
    settings: OAuthSettings,
    provider: ProviderMetadata,
    *,
    fetcher: Fetcher,
    person: Person,
    store: Callable[[StoredLogin], Awaitable[None]],
    now: Callable[[], float],
    timeout_seconds: float = LOGIN_TIMEOUT_SECONDS,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> FinishedLogin:
    """Log in by way of a browser, which is told that it worked when `store` has stored it.

    `provider` has both endpoints.

    Raises:
        PortInUseError, ConfigurationError: as `loopback.open_sockets`; no address was shown.
        LoginError: no answer in time, or the provider or the person said no, or the answer is not from this provider.
        ProviderAnswerError, ProviderUnavailableError: the code could not be redeemed.
        And whatever `store` raises.
    """
    provider.require_s256()
    request = build_request(settings, provider, random_bytes=random_bytes)
    async with listen(settings.redirect_uri, state=request.state) as listener:
        person.show_address(request.location)
        parameters = await wait_with_limit(
            listener, person, settings.redirect_uri, request.state, timeout_seconds=timeout_seconds
        )
        code = read_code(parameters, provider)
        answer = await _redeem(code, request, settings, provider, fetcher)
        finished = finish_login(answer, settings, provider, now=now())
        await store(finished.login)
        listener.report(is_logged_in=True)
        return finished


async def wait_with_limit(
    listener: CallbackListener,
    person: Person,
    redirect_uri: str,
    state: str,
    *,
    timeout_seconds: float = LOGIN_TIMEOUT_SECONDS,
) -> Parameters:
    """What comes first: the answer at the listener, or the address that the person pastes.

    Raises:
        LoginError: neither came in time.
    """
    try:
        async with asyncio.timeout(timeout_seconds):
            return await _first_of([listener.wait(), _wait_for_pasted(person, redirect_uri, state)])
    except TimeoutError as error:
        raise _timed_out(timeout_seconds) from error


def build_request(
    settings: OAuthSettings, provider: ProviderMetadata, *, random_bytes: Callable[[int], bytes] = secrets.token_bytes
) -> AuthorizationRequest:
    """A fresh authorization request. Pure but for the randomness: state and verifier are 32 random bytes each."""
    assert provider.authorization_endpoint is not None
    state, code_verifier = create_code_verifier(random_bytes), create_code_verifier(random_bytes)
    parts = urlsplit(provider.authorization_endpoint)
    parameters = {
        **dict(parse_qsl(parts.query, keep_blank_values=True)),
        **preset_params(provider.authorization_endpoint),
        **({} if settings.audience is None else {"audience": settings.audience}),
        **dict(settings.extra_auth_params),
        "response_type": "code",
        "client_id": settings.client_id or "",
        "redirect_uri": settings.redirect_uri,
        "scope": scope_separator(provider.authorization_endpoint, " ").join(settings.scope.split()),
        "state": state,
        "code_challenge": code_challenge_s256(code_verifier),
        "code_challenge_method": "S256",
    }
    location = urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode(parameters), ""))
    return AuthorizationRequest(location=location, state=state, code_verifier=code_verifier)


def read_code(parameters: Parameters, provider: ProviderMetadata) -> str:
    """The code of an answer whose state was compared. Pure.

    Raises:
        LoginError: the answer is of another issuer (RFC 9207 section 2.4; its words are not even read then), the
            provider did not complete the login, or the code is none.
    """
    issuer = parameters.get("iss")
    is_foreign = issuer is not None and provider.issuer is not None and not is_issued_by(issuer, provider)
    if is_foreign or (issuer is None and provider.iss_parameter_supported):
        raise LoginError(
            "The answer comes from another issuer",
            why="Somebody may have tried to mix up two logins.",
            hint="Run fluidmcp login again; if it happens again, check FMCP_OAUTH_ISSUER.",
        )
    if "error" in parameters:
        raise _refused_by_provider(parameters)
    code = parameters["code"]
    if len(code) > MAX_CODE_CHARACTERS or not _CODE.fullmatch(code):
        raise LoginError("The provider's answer has no usable code", hint="Run fluidmcp login again.")
    return code


def is_issued_by(issuer: str, provider: ProviderMetadata) -> bool:
    """Whether an `iss` is the provider's, letter by letter; a tenant template stands for each of its tenants."""
    if not provider.is_tenant_template or provider.issuer is None:
        return issuer == provider.issuer
    before, _, after = provider.issuer.partition(TENANT_TEMPLATE)
    tenant = issuer.removeprefix(before).removesuffix(after)
    return _TENANT.fullmatch(tenant) is not None and issuer == f"{before}{tenant}{after}"


def finish_login(
    answer: TokenAnswer, settings: OAuthSettings, provider: ProviderMetadata, *, now: float
) -> FinishedLogin:
    """What is kept of a token answer, and the warnings that it deserves. Pure."""
    login = store_answer(
        answer,
        token_endpoint=provider.token_endpoint,
        client_id=settings.client_id,
        requested_scope=settings.scope,
        now=now,
    )
    if answer.id_token is not None:
        try:
            expected = None if provider.is_tenant_template else provider.issuer
            identity = read_id_token(answer.id_token, client_id=settings.client_id or "", issuer=expected, now=now)
        except ProviderAnswerError as error:
            # The access token is good without it; only who logged in is not known then.
            logger.warning("the ID token of the login is not used: %s", error.why)
        else:
            email = read_mail_address(answer.id_token)
            login = replace(login, issuer=identity.issuer, subject=identity.subject, email=email)
    warnings: tuple[str, ...] = ()
    if answer.refresh_token is None and answer.expires_in is not None:
        minutes = max(1, answer.expires_in // 60)
        advice = refresh_token_advice(provider.authorization_endpoint or provider.token_endpoint or "")
        warnings = (f"the provider gave no refresh token, so this login ends in {minutes} minutes; {advice}.",)
    return FinishedLogin(login=login, warnings=warnings)


def clean_text(text: str) -> str:
    """Words of the provider, fit for a terminal: no escape sequences, no control characters, not too many."""
    plain = _TERMINAL_SEQUENCE.sub("", text[: 4 * MAX_SHOWN_CHARACTERS])
    shown = "".join(char if char.isprintable() else " " for char in plain)
    shown = " ".join(shown.split())
    return shown if len(shown) <= MAX_SHOWN_CHARACTERS else shown[:MAX_SHOWN_CHARACTERS] + "..."


def explain_refusal(error: ProviderAnswerError, settings: OAuthSettings) -> ProviderAnswerError:
    """The same failure with what the person at the command line can do about it."""
    wants_secret = error.provider_error in ("invalid_client", "invalid_request", "unauthorized_client")
    if wants_secret and settings.client_secret is None:
        hint = f"Some providers (Google, GitHub) want a client secret even with PKCE: set {CLIENT_SECRET}."
    elif error.provider_error == "invalid_grant":
        hint = "Run fluidmcp login again."
    else:
        hint = _ERROR_HINTS.get(error.provider_error, f"Check {TOKEN_ENDPOINT} and {CLIENT_ID}.")
    return ProviderAnswerError(error.what, provider_error=error.provider_error, why=error.why, hint=hint)


def explain_outage(error: ProviderUnavailableError) -> ProviderUnavailableError:
    """The same failure, said to the person at the command line."""
    hint = f"Check {TOKEN_ENDPOINT} (or FMCP_OAUTH_ISSUER) and the network, and run fluidmcp login again."
    return ProviderUnavailableError(error.what, why=error.why, hint=hint)


async def _redeem(
    code: str, request: AuthorizationRequest, settings: OAuthSettings, provider: ProviderMetadata, fetcher: Fetcher
) -> TokenAnswer:
    assert provider.token_endpoint is not None
    grant = authorization_code_grant(code=code, code_verifier=request.code_verifier, redirect_uri=settings.redirect_uri)
    client = build_client(settings, provider)
    try:
        return await request_token(fetcher, token_url=provider.token_endpoint, client=client, grant=grant)
    except ProviderAnswerError as error:
        raise explain_refusal(error, settings) from error
    except ProviderUnavailableError as error:
        raise explain_outage(error) from error


async def _wait_for_pasted(person: Person, redirect_uri: str, state: str) -> Parameters:
    while True:
        line = (await person.pasted_lines.get()).strip()
        if not line:
            continue
        try:
            return read_pasted(line, redirect_uri=redirect_uri, state=state)
        except NotTheCallbackError:
            person.say(f"That is not the answer to this login; it begins {redirect_uri}? - paste the whole address.")


async def _first_of(waits: list[Coroutine[Any, Any, T]]) -> T:
    tasks = [asyncio.create_task(wait) for wait in waits]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _refused_by_provider(parameters: Parameters) -> LoginError:
    code = sanitise_error_code(parameters["error"])
    description = clean_text(parameters.get("error_description", ""))
    said = f"It said {code or 'an error without a readable code'}"
    return LoginError(
        "The provider did not complete the login",
        why=f"{said}: {description}" if description else f"{said}.",
        hint=_ERROR_HINTS.get(code, "Run fluidmcp login again."),
    )


def _timed_out(seconds: float) -> LoginError:
    return LoginError(
        "Authentication timeout",
        why=f"No answer came within {seconds / 60:g} minutes.",
        hint="Run fluidmcp login again and finish it in the browser.",
    )
