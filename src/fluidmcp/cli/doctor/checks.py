"""What `fluidmcp doctor` looks at: each check gives findings, none raises, and none sends a credential.

Endpoints are asked what anybody may ask: the login page with `prompt=none` (OpenID Connect Core 1.0, section 3.1.2.1:
the provider answers at once and shows nothing), the token endpoint for a grant without a code, the others for nothing.
"""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Final, Literal
from urllib.parse import parse_qsl, urlsplit

from fluidmcp.authentication.verifiers.jwks import read_key_set
from fluidmcp.cli.serving.listening.port_holder import find_port_holder
from fluidmcp.config import oauth
from fluidmcp.config.oauth import OAuthSettings, missing_for_login
from fluidmcp.errors import (
    ConfigurationError,
    FluidMCPError,
    PortInUseError,
    ProviderAnswerError,
    ProviderUnavailableError,
)
from fluidmcp.oauth_client.discovery import ProviderMetadata, configured_provider, discover, guess_issuer
from fluidmcp.oauth_client.fetch import FetchAnswer, Fetcher
from fluidmcp.oauth_client.token_endpoint import read_token_answer, sanitise_error_code
from fluidmcp.operator.browser_flow import build_request
from fluidmcp.operator.loopback import open_sockets
from fluidmcp.operator.operator_token import is_foreign
from fluidmcp.operator.token_file import StoredLogin, TokenFile

MAX_CLOCK_SKEW_SECONDS: Final = 60.0
"""The clock error that the checks of tokens allow."""

Level = Literal["ok", "warning", "problem"]

_VARIABLES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "authorization_endpoint": oauth.AUTH_ENDPOINT,
        "token_endpoint": oauth.TOKEN_ENDPOINT,
        "jwks_uri": oauth.JWKS_URI,
        "introspection_endpoint": oauth.INTROSPECTION_ENDPOINT,
        "userinfo_endpoint": oauth.USERINFO_ENDPOINT,
        "revocation_endpoint": oauth.REVOCATION_ENDPOINT,
        "device_authorization_endpoint": oauth.DEVICE_ENDPOINT,
    }
)
# What a provider says to `prompt=none` when nobody is signed in: the request itself was in order.
_NOBODY_SIGNED_IN: Final = frozenset(
    {"login_required", "interaction_required", "consent_required", "account_selection_required"}
)
_HINTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "invalid_scope": f"Correct {oauth.SCOPE}: the provider has to know each scope, and allow it for this client.",
        "unauthorized_client": "Allow the authorization code grant for this client at the provider.",
        "unsupported_response_type": "Allow the authorization code grant for this client at the provider.",
        "invalid_target": f"Correct {oauth.AUDIENCE}: the provider does not know it.",
        "access_denied": "Allow this client, and the API that it asks for, at the provider.",
    }
)
_PAGE_HINT: Final = "Compare the client at the provider with its page in docs/providers."


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check found, in one line; `hint` says what to do about everything that is not ok."""

    level: Level
    subject: str
    text: str
    hint: str = ""
    details: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderFindings:
    """What is known of the provider after its discovery; `pkce_methods` is None where nothing is published."""

    provider: ProviderMetadata
    pkce_methods: tuple[str, ...] | None
    finding: Finding


def ok(subject: str, text: str) -> Finding:
    return Finding(level="ok", subject=subject, text=text)


def warning(subject: str, text: str, hint: str) -> Finding:
    return Finding(level="warning", subject=subject, text=text, hint=hint)


def problem(subject: str, text: str, hint: str) -> Finding:
    return Finding(level="problem", subject=subject, text=text, hint=hint)


def describe_error(subject: str, error: FluidMCPError, *, hint: str = "") -> Finding:
    """The finding of a failure whose parts are made to be shown."""
    text = f"{error.what.rstrip('.')}: {error.why}" if error.why else error.what
    return problem(subject, text.rstrip("."), hint or error.hint)


def check_login_settings(settings: OAuthSettings) -> Finding:
    """Whether `fluidmcp login` has what it needs; with a token in the environment it is not needed."""
    subject = "login settings"
    missing = missing_for_login(settings)
    if not missing:
        return ok(subject, f"complete, {'with' if settings.client_secret else 'without'} a client secret")
    if settings.access_token is not None:
        return ok(subject, f"no login is possible, and none is needed: {oauth.ACCESS_TOKEN} is set")
    return problem(
        subject, f"not set: {', '.join(missing)}", "Export what your provider's page in docs/providers says."
    )


async def check_discovery(settings: OAuthSettings, fetcher: Fetcher) -> ProviderFindings:
    """Whether the provider's own document agrees with the endpoints that are set."""
    subject = "discovery"
    configured = configured_provider(settings)
    issuer = guess_issuer(settings)
    if issuer is None:
        return ProviderFindings(
            provider=configured, pkce_methods=None, finding=ok(subject, f"not used: {oauth.ISSUER} is not set")
        )
    set_endpoints = {name: url for name in _VARIABLES if (url := getattr(configured, name)) is not None}
    try:
        found = await discover(issuer, fetcher, trusted_endpoints=set_endpoints.values())
    except (ProviderAnswerError, ProviderUnavailableError) as error:
        if settings.issuer is None:
            text = f"{issuer} should have a document, but: {error.what}"
            finding = warning(subject, text, f"Set {oauth.ISSUER} if your provider has another issuer.")
        else:
            finding = describe_error(subject, error, hint=_hint_for(oauth.ISSUER, error))
        return ProviderFindings(provider=configured, pkce_methods=None, finding=finding)
    differing = [name for name, url in set_endpoints.items() if getattr(found, name) not in (None, url)]
    known = replace(found, **set_endpoints) if settings.issuer is not None else configured
    return ProviderFindings(
        provider=known,
        pkce_methods=found.code_challenge_methods_supported,
        finding=_judge_agreement(issuer, differing, count=len(set_endpoints)),
    )


def _judge_agreement(issuer: str, differing: list[str], *, count: int) -> Finding:
    subject = "discovery"
    if not differing:
        agrees = "and agrees with the endpoints that are set" if count else "and names the endpoints"
        return ok(subject, f"the document of {issuer} is there {agrees}")
    variables = ", ".join(_VARIABLES[name] for name in differing)
    return problem(
        subject,
        f"the document of {issuer} names other addresses than {variables}",
        f"Take {variables} away, or set {oauth.ISSUER} to the issuer that they belong to.",
    )


def check_pkce(methods: tuple[str, ...] | None) -> Finding:
    """Whether the provider offers S256 (RFC 7636), the only method that is used."""
    if methods and "S256" in methods:
        return ok("PKCE", "S256 is offered")
    if methods:
        return problem(
            "PKCE", "the provider offers it, but not with S256", "Allow S256 for this client at the provider."
        )
    return warning(
        "PKCE",
        "the provider does not publish whether it supports S256; it is sent in any case",
        "Nothing, if your provider's page in docs/providers says that it does; otherwise ask your provider.",
    )


def check_redirect_uri(settings: OAuthSettings) -> Finding:
    """Whether `fluidmcp login` could listen where the provider sends the browser."""
    subject = "redirect URI"
    port = urlsplit(settings.redirect_uri).port or 80
    try:
        for opened in open_sockets(settings.redirect_uri):
            opened.close()
    except PortInUseError as error:
        holder = find_port_holder(port)
        by = f" by {holder}" if holder is not None else ""
        return problem(subject, f"port {port} of {settings.redirect_uri} is in use{by}", error.hint)
    except ConfigurationError as error:
        return describe_error(subject, error)
    return ok(subject, f"{settings.redirect_uri} is on this machine, and port {port} is free")


async def check_login_page(settings: OAuthSettings, provider: ProviderMetadata, fetcher: Fetcher) -> Finding:
    """Whether the authorization endpoint answers, and accepts client id, redirect URI and scopes."""
    subject = "authorization endpoint"
    silent = replace(settings, extra_auth_params=(*settings.extra_auth_params, ("prompt", "none")))
    try:
        answer = await fetcher.look(build_request(silent, provider).location)
    except (ProviderAnswerError, ProviderUnavailableError) as error:
        return describe_error(subject, error, hint=_hint_for(oauth.AUTH_ENDPOINT, error))
    return read_login_page(
        answer,
        settings.redirect_uri,
        address=oauth.AUTH_ENDPOINT,
        client_id=oauth.CLIENT_ID,
        hints=_HINTS,
        other_hint=_PAGE_HINT,
    )


def read_login_page(
    answer: FetchAnswer, redirect_uri: str, *, address: str, client_id: str, hints: Mapping[str, str], other_hint: str
) -> Finding:
    """What the answer to a login request with `prompt=none` says. Pure.

    `address` and `client_id` are what they are called where they are set, `hints` what to do about an OAuth error by
    its code, `other_hint` about every other one.
    """
    subject = "authorization endpoint"
    if answer.status < 400:
        if not answer.location.startswith(f"{redirect_uri}?"):
            return ok(subject, "answers; whether it knows client id and redirect URI shows at the login")
        error = sanitise_error_code(dict(parse_qsl(urlsplit(answer.location).query)).get("error"))
        if not error or error in _NOBODY_SIGNED_IN:
            return ok(subject, "answers, and knows client id, redirect URI and scopes")
        return problem(subject, f"refuses the login request: {error}", hints.get(error, other_hint))
    text = f"answers the login request with HTTP {answer.status}"
    if answer.status >= 500:
        return problem(subject, text, f"Try again later; if it stays, check {address}.")
    hint = f"Register the redirect URI letter by letter; check {client_id} and {address}."
    # Some refuse programs that are no browsers, or those that ask too often.
    return (warning if answer.status in (403, 405, 429) else problem)(subject, text, hint)


async def check_token_endpoint(url: str, fetcher: Fetcher) -> tuple[Finding, str]:
    """Whether an OAuth token endpoint answers, and its `Date` header. It is asked for a grant without a code."""
    subject = "token endpoint"
    try:
        answer = await fetcher.post_form(url, {"grant_type": "authorization_code"})
    except (ProviderAnswerError, ProviderUnavailableError) as error:
        return describe_error(subject, error, hint=_hint_for(oauth.TOKEN_ENDPOINT, error)), ""
    return read_token_page(answer), answer.date


def read_token_page(answer: FetchAnswer) -> Finding:
    """What the answer to a grant without a code says. Pure."""
    subject = "token endpoint"
    text = f"answers with HTTP {answer.status} and no OAuth error, which a token endpoint would send"
    try:
        read_token_answer(answer)
    except ProviderUnavailableError as error:
        return describe_error(subject, error)
    except ProviderAnswerError as error:
        if error.provider_error:
            return ok(subject, "answers as a token endpoint does")
    return problem(subject, text, f"Check {oauth.TOKEN_ENDPOINT}: it is not the address of the login page.")


def check_clock(date: str, *, before: float, after: float) -> Finding:
    """Our clock against the `Date` (RFC 9110 section 6.6.1) of an answer that was made between two of our times."""
    try:
        told = parsedate_to_datetime(date)
    except (ValueError, IndexError):
        return warning(
            "clock", "not checked: the provider tells no time", "Compare the clock of this machine yourself."
        )
    theirs = (told if told.tzinfo is not None else told.replace(tzinfo=UTC)).timestamp()
    skew = before - theirs if theirs < before else min(0.0, after - theirs)
    if abs(skew) <= MAX_CLOCK_SKEW_SECONDS:
        return ok("clock", f"within {MAX_CLOCK_SKEW_SECONDS:.0f} seconds of the provider's")
    return problem(
        "clock",
        f"{abs(skew):.0f} seconds {'ahead of' if skew > 0 else 'behind'} the provider's",
        "Set the clock of this machine (NTP): tokens are good for a time only.",
    )


async def check_other_endpoints(provider: ProviderMetadata, fetcher: Fetcher) -> list[Finding]:
    """Whether the endpoints that can check tokens answer."""
    findings: list[Finding] = []
    for name in ("jwks_uri", "introspection_endpoint", "userinfo_endpoint"):
        url = getattr(provider, name)
        if url is not None:
            findings.append(await _check_endpoint(name, url, fetcher))
    return findings


async def _check_endpoint(name: str, url: str, fetcher: Fetcher) -> Finding:
    subject = "keys (JWKS)" if name == "jwks_uri" else name.replace("_", " ")
    variable = _VARIABLES[name]
    try:
        if name == "introspection_endpoint":
            answer = await fetcher.post_form(url, {})
        else:
            answer = await fetcher.get(url)
        if name == "jwks_uri" and answer.status == 200:
            count = len(read_key_set(answer.body))
            if not count:
                return problem(subject, "there is no usable key", f"Check {variable}.")
            return ok(subject, "1 key" if count == 1 else f"{count} keys")
    except (ProviderAnswerError, ProviderUnavailableError) as error:
        return describe_error(subject, error, hint=_hint_for(variable, error))
    # We send neither a token nor credentials, so a good endpoint refuses.
    if name == "jwks_uri" or answer.status == 404 or answer.status >= 500:
        return problem(subject, f"answers with HTTP {answer.status}", f"Check {variable}.")
    return ok(subject, "answers")


def check_token_file(token_file: TokenFile, settings: OAuthSettings, *, now: float) -> list[Finding]:
    """The stored login: who could read it, whether it is good, and whether it can be renewed."""
    if settings.access_token is not None:
        return [ok("login", f"{oauth.ACCESS_TOKEN} is set: that token is used as it is, and no stored login")]
    exposed = [name for name, path in _private_paths(token_file) if _is_open_to_others(path)]
    try:
        login = token_file.load()
    except FluidMCPError as error:
        return [describe_error("login", error)]
    findings: list[Finding] = []
    if exposed and login is not None:
        text = f"other users of this machine could look into {' and '.join(exposed)} until now"
        findings.append(warning("token file", text, "It is private now; to be safe: fluidmcp logout, fluidmcp login."))
    elif login is not None:
        findings.append(ok("token file", f"{token_file.path} is readable by you alone"))
    return [*findings, _judge_login(login, settings, now=now)]


def _judge_login(login: StoredLogin | None, settings: OAuthSettings, *, now: float) -> Finding:
    subject = "login"
    again = "Run: fluidmcp login"
    if login is None:
        return warning(subject, "nobody is logged in on this machine", again)
    if is_foreign(login, settings):
        return problem(subject, "the stored login belongs to another provider or client", again)
    if login.is_refresh_refused:
        return problem(subject, "the provider no longer accepts the refresh token", again)
    can_renew = login.refresh_token is not None
    renewal = "with a refresh token" if can_renew else "without a refresh token"
    hint = "Ask for offline access, as your provider's page in docs/providers says, and log in again."
    if login.expires_at is None:
        text = f"its end is not known, {renewal}"
        return ok(subject, text) if can_renew else warning(subject, text, hint)
    ends = datetime.fromtimestamp(login.expires_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    if now >= login.expires_at:
        if can_renew:
            return ok(subject, f"expired at {ends}; the refresh token renews it at the next use")
        return problem(subject, f"expired at {ends}, and there is no refresh token", again)
    if can_renew:
        return ok(subject, f"good until {ends}, {renewal}")
    return warning(subject, f"good until {ends}, {renewal}: after that, nobody renews it", hint)


def _private_paths(token_file: TokenFile) -> list[tuple[str, str]]:
    return [("its directory", str(token_file.path.parent)), ("the token file", str(token_file.path))]


def _is_open_to_others(path: str) -> bool:
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return not stat.S_ISLNK(status.st_mode) and bool(status.st_mode & 0o077)


def _hint_for(variable: str, error: FluidMCPError) -> str:
    """What to do about an address that fails: the error speaks of auth blocks, the doctor of variables."""
    if isinstance(error, ProviderUnavailableError):
        return f"Check {variable}, and whether this machine reaches the provider."
    return error.hint or f"Check {variable}."
