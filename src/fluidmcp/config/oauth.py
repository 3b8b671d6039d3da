"""The provider that guards the gateway as a whole: `fluidmcp login`, `logout`, `status`, `token` and `run --oauth`.

Every FMCP_OAUTH_ variable is read here, once, into one frozen value. Addresses are held to the rules of auth blocks,
and no message repeats a value: a secret may stand in the wrong variable.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeVar, cast, get_args
from urllib.parse import parse_qsl, urlsplit

from fluidmcp.config.auth_block import PROTOCOL_PARAMETERS
from fluidmcp.config.secret import Secret
from fluidmcp.config.urls import check_url, is_host_name, is_loopback_host
from fluidmcp.errors import ConfigurationError

Validation = Literal["jwt", "introspection", "userinfo", "google", "github", "operator"]

DEFAULT_REDIRECT_URI: Final = "http://localhost:8088/callback"
DEFAULT_SCOPE: Final = "openid profile email"

AUTH_ENDPOINT: Final = "FMCP_OAUTH_AUTH_ENDPOINT"
TOKEN_ENDPOINT: Final = "FMCP_OAUTH_TOKEN_ENDPOINT"
CLIENT_ID: Final = "FMCP_OAUTH_CLIENT_ID"
REDIRECT_URI: Final = "FMCP_OAUTH_REDIRECT_URI"
SCOPE: Final = "FMCP_OAUTH_SCOPE"
ISSUER: Final = "FMCP_OAUTH_ISSUER"
CLIENT_SECRET: Final = "FMCP_OAUTH_CLIENT_SECRET"
AUDIENCE: Final = "FMCP_OAUTH_AUDIENCE"
EXTRA_AUTH_PARAMS: Final = "FMCP_OAUTH_EXTRA_AUTH_PARAMS"
REVOCATION_ENDPOINT: Final = "FMCP_OAUTH_REVOCATION_ENDPOINT"
DEVICE_ENDPOINT: Final = "FMCP_OAUTH_DEVICE_ENDPOINT"
ACCESS_TOKEN: Final = "FMCP_OAUTH_ACCESS_TOKEN"
VALIDATION: Final = "FMCP_OAUTH_VALIDATION"
JWKS_URI: Final = "FMCP_OAUTH_JWKS_URI"
INTROSPECTION_ENDPOINT: Final = "FMCP_OAUTH_INTROSPECTION_ENDPOINT"
USERINFO_ENDPOINT: Final = "FMCP_OAUTH_USERINFO_ENDPOINT"
REQUIRED_SCOPES: Final = "FMCP_OAUTH_REQUIRED_SCOPES"
ALLOWED_SUBJECTS: Final = "FMCP_OAUTH_ALLOWED_SUBJECTS"
ALLOWED_EMAIL_DOMAINS: Final = "FMCP_OAUTH_ALLOWED_EMAIL_DOMAINS"
ALLOW_ANY_USER: Final = "FMCP_OAUTH_ALLOW_ANY_USER"
ALLOW_UNBOUND_TOKENS: Final = "FMCP_OAUTH_ALLOW_UNBOUND_TOKENS"
REGISTERS_CLIENTS: Final = "FMCP_OAUTH_REGISTERS_CLIENTS"

OAUTH_VARIABLES: Final = (
    *(AUTH_ENDPOINT, TOKEN_ENDPOINT, CLIENT_ID, REDIRECT_URI, SCOPE, ISSUER, CLIENT_SECRET, AUDIENCE),
    *(EXTRA_AUTH_PARAMS, REVOCATION_ENDPOINT, DEVICE_ENDPOINT, ACCESS_TOKEN, VALIDATION, JWKS_URI),
    *(INTROSPECTION_ENDPOINT, USERINFO_ENDPOINT, REQUIRED_SCOPES, ALLOWED_SUBJECTS, ALLOWED_EMAIL_DOMAINS),
    *(ALLOW_ANY_USER, ALLOW_UNBOUND_TOKENS, REGISTERS_CLIENTS),
)
"""Every variable of this module, in the order of the documentation."""

_CLIENT_ID = re.compile(r"[\x21-\x7e]{1,512}", re.ASCII)
_CLIENT_SECRET = re.compile(r"[\x20-\x7e]{1,2048}", re.ASCII)
_TOKEN = re.compile(r"[\x21-\x7e]{1,8192}", re.ASCII)
_AUDIENCE = re.compile(r"[\x21-\x7e]{1,1024}", re.ASCII)
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+", re.ASCII)  # RFC 6749 §3.3, scope-token
_PARAMETER_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_PARAMETER_VALUE = re.compile(r"[\x20-\x7e]{0,1024}", re.ASCII)
# The operator may ask for a token for one API (RFC 8707); a package file may not.
_FORBIDDEN_PARAMETERS = PROTOCOL_PARAMETERS - {"resource"}
_YES = frozenset({"1", "true", "yes", "on"})
_NO = frozenset({"0", "false", "no", "off"})

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuthSettings:
    """What the FMCP_OAUTH_ variables say; absent and empty ones leave the defaults."""

    auth_endpoint: str | None = None
    token_endpoint: str | None = None
    client_id: str | None = None
    redirect_uri: str = DEFAULT_REDIRECT_URI
    """Always plain http to a loopback host: `fluidmcp login` itself answers there."""
    scope: str = DEFAULT_SCOPE
    """Scopes separated by single spaces."""
    issuer: str | None = None
    """Compared as it is written, to the last slash."""
    client_secret: Secret | None = None
    audience: str | None = None
    extra_auth_params: tuple[tuple[str, str], ...] = ()
    """Further parameters of the authorization request, none of them one that the protocol sets."""
    revocation_endpoint: str | None = None
    device_endpoint: str | None = None
    access_token: Secret | None = None
    """The operator's own token, handed over in the environment: used as it is, never stored, printed or refreshed."""
    validation: Validation | None = None
    jwks_uri: str | None = None
    introspection_endpoint: str | None = None
    userinfo_endpoint: str | None = None
    required_scopes: tuple[str, ...] = ()
    allowed_subjects: tuple[str, ...] = ()
    allowed_email_domains: tuple[str, ...] = field(default=())
    """Lower case."""
    allow_any_user: bool = False
    allow_unbound_tokens: bool = False
    registers_clients: bool = False
    """The issuer registers MCP clients itself: they are sent there, and not to the gateway's own login."""

    @property
    def names_who_is_allowed(self) -> bool:
        return bool(self.allowed_subjects or self.allowed_email_domains or self.allow_any_user)


def load_oauth_settings(environ: Mapping[str, str]) -> OAuthSettings:
    """The settings of a snapshot of the environment. Nothing has to be set; what is set has to be right.

    Raises:
        ConfigurationError: names all faults at once, and repeats no value.
    """
    reader = _Reader(environ)
    settings = OAuthSettings(
        auth_endpoint=reader.url(AUTH_ENDPOINT, forbidden_parameters=_FORBIDDEN_PARAMETERS),
        token_endpoint=reader.url(TOKEN_ENDPOINT),
        client_id=reader.matching(CLIENT_ID, _CLIENT_ID, "printable ASCII without spaces, at most 512 characters"),
        redirect_uri=reader.parsed(REDIRECT_URI, _parse_redirect_uri) or DEFAULT_REDIRECT_URI,
        scope=" ".join(reader.parsed(SCOPE, _parse_scopes) or DEFAULT_SCOPE.split()),
        issuer=reader.url(ISSUER, allow_query=False),
        client_secret=reader.secret(CLIENT_SECRET, _CLIENT_SECRET, "printable ASCII, at most 2048 characters"),
        audience=reader.matching(AUDIENCE, _AUDIENCE, "printable ASCII without spaces, at most 1024 characters"),
        extra_auth_params=reader.parsed(EXTRA_AUTH_PARAMS, _parse_params) or (),
        revocation_endpoint=reader.url(REVOCATION_ENDPOINT),
        device_endpoint=reader.url(DEVICE_ENDPOINT),
        access_token=reader.secret(ACCESS_TOKEN, _TOKEN, "printable ASCII without spaces, at most 8192 characters"),
        validation=reader.parsed(VALIDATION, _parse_validation),
        jwks_uri=reader.url(JWKS_URI),
        introspection_endpoint=reader.url(INTROSPECTION_ENDPOINT),
        userinfo_endpoint=reader.url(USERINFO_ENDPOINT),
        required_scopes=reader.parsed(REQUIRED_SCOPES, _parse_scopes) or (),
        allowed_subjects=reader.parsed(ALLOWED_SUBJECTS, _parse_subjects) or (),
        allowed_email_domains=reader.parsed(ALLOWED_EMAIL_DOMAINS, _parse_domains) or (),
        allow_any_user=reader.parsed(ALLOW_ANY_USER, _parse_flag) or False,
        allow_unbound_tokens=reader.parsed(ALLOW_UNBOUND_TOKENS, _parse_flag) or False,
        registers_clients=reader.parsed(REGISTERS_CLIENTS, _parse_flag) or False,
    )
    if settings.registers_clients and settings.issuer is None:
        reader.faults.append(f"{REGISTERS_CLIENTS} is on, but {ISSUER}, which clients are to be sent to, is not set")
    if settings.allow_any_user and (settings.allowed_subjects or settings.allowed_email_domains):
        name = ALLOWED_SUBJECTS if settings.allowed_subjects else ALLOWED_EMAIL_DOMAINS
        reader.faults.append(f"{ALLOW_ANY_USER} is on although {name} is given; keep one of them")
    if reader.faults:
        raise ConfigurationError(
            "The OAuth settings are not valid.",
            why="; ".join(reader.faults) + ".",
            hint="Correct these variables and run the command again.",
        )
    return settings


def missing_for_login(settings: OAuthSettings, *, with_device: bool = False) -> tuple[str, ...]:
    """The names of the variables that a login needs and that are not set; an issuer stands in for the endpoints.

    `with_device` asks for a login without a browser on this machine (RFC 8628).
    """
    missing: list[str] = []
    if settings.issuer is None:
        if with_device and settings.device_endpoint is None:
            missing.append(DEVICE_ENDPOINT)
        if not with_device and settings.auth_endpoint is None:
            missing.append(AUTH_ENDPOINT)
        if settings.token_endpoint is None:
            missing.append(TOKEN_ENDPOINT)
    if settings.client_id is None:
        missing.append(CLIENT_ID)
    return tuple(missing)


def not_configured(missing: tuple[str, ...]) -> ConfigurationError:
    """The one documented message for variables that are not set; the same for every command."""
    hint = "Set them as your provider's page in the documentation says"
    if set(missing) - {CLIENT_ID}:
        hint += f"; {ISSUER} (the provider's issuer address) can stand in for the endpoints"
    return ConfigurationError("OAuth2 is not configured", why=f"Not set: {', '.join(missing)}.", hint=f"{hint}.")


class _Reader:
    """Reads variables and collects one sentence per wrong one."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.faults: list[str] = []

    def text(self, name: str) -> str | None:
        return self._environ.get(name, "").strip() or None

    def matching(self, name: str, pattern: re.Pattern[str], expected: str) -> str | None:
        text = self.text(name)
        if text is not None and not pattern.fullmatch(text):
            self.faults.append(f"{name} must be {expected}")
            return None
        return text

    def secret(self, name: str, pattern: re.Pattern[str], expected: str) -> Secret | None:
        text = self.matching(name, pattern, expected)
        return None if text is None else Secret(text)

    def url(
        self, name: str, *, allow_query: bool = True, forbidden_parameters: frozenset[str] = PROTOCOL_PARAMETERS
    ) -> str | None:
        text = self.text(name)
        if text is None:
            return None
        fault = check_url(text, allow_query=allow_query, forbidden_parameters=forbidden_parameters)
        if fault is not None:
            self.faults.append(f"{name} {fault}")
            return None
        return text

    def parsed(self, name: str, parse: Callable[[str], tuple[T | None, str]]) -> T | None:
        text = self.text(name)
        if text is None:
            return None
        value, fault = parse(text)
        if fault:
            self.faults.append(f"{name} {fault}")
            return None
        return value


def _parse_redirect_uri(text: str) -> tuple[str | None, str]:
    """Loopback and plain http only (RFC 8252 §7.3): nobody else than this machine may receive the code."""
    fault = check_url(text, allow_query=False)
    if fault is not None:
        return None, fault
    parts = urlsplit(text)
    if not is_loopback_host(parts.hostname or ""):
        return None, "must name this machine: http://localhost:PORT/PATH, http://127.0.0.1:PORT/PATH or http://[::1]..."
    if parts.scheme != "http":
        return None, "must begin with http://, because the login itself answers there, on this machine"
    return text, ""


def _parse_scopes(text: str) -> tuple[tuple[str, ...] | None, str]:
    scopes = tuple(dict.fromkeys(text.split()))
    if not all(_SCOPE.fullmatch(scope) for scope in scopes):
        return None, "must be scopes separated by spaces, without quotes and backslashes"
    return scopes, ""


def _parse_params(text: str) -> tuple[tuple[tuple[str, str], ...] | None, str]:
    expected = "must be written as NAME=VALUE&NAME=VALUE, each name once"
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=True, max_num_fields=32, errors="strict")
    except ValueError:
        return None, expected
    if len({name for name, _ in pairs}) != len(pairs) or not all(_PARAMETER_NAME.fullmatch(name) for name, _ in pairs):
        return None, expected
    if any(name.lower() in _FORBIDDEN_PARAMETERS for name, _ in pairs):
        return None, "sets a parameter of the protocol itself, which only the login sets"
    if not all(_PARAMETER_VALUE.fullmatch(value) for _, value in pairs):
        return None, "holds a value that is not printable ASCII or longer than 1024 characters"
    return tuple(pairs), ""


def _parse_validation(text: str) -> tuple[Validation | None, str]:
    if text.lower() not in get_args(Validation):
        return None, f"must be one of {', '.join(get_args(Validation))}"
    return cast("Validation", text.lower()), ""


def _parse_subjects(text: str) -> tuple[tuple[str, ...] | None, str]:
    subjects = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not subjects or not all(subject.isprintable() and len(subject) <= 255 for subject in subjects):
        return None, "must be the provider's identifiers of people (sub), separated by commas"
    return subjects, ""


def _parse_domains(text: str) -> tuple[tuple[str, ...] | None, str]:
    domains = tuple(dict.fromkeys(part.strip().lower() for part in text.split(",") if part.strip()))
    if not domains or not all(is_host_name(domain) and "." in domain and ":" not in domain for domain in domains):
        return None, "must be plain domains such as example.com, without @ or *, separated by commas"
    return domains, ""


def _parse_flag(text: str) -> tuple[bool | None, str]:
    if text.lower() not in _YES | _NO:
        return None, "must be 1 or 0"
    return text.lower() in _YES, ""
