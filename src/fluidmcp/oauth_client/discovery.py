"""Finding a provider's endpoints by its issuer (RFC 8414, OpenID Connect Discovery 1.0), without trusting too much.

The document must name exactly the issuer that was asked for. What it names must stand on the issuer's own origin: a
document that sends the browser to one provider and the code to another is how codes are stolen. Real providers that
use several origins are known by name, and an origin that the operator configured counts as the issuer's.
"""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, cast
from urllib.parse import urlsplit

import msgspec

from fluidmcp.config.known_providers import find_known_provider
from fluidmcp.config.oauth import AUTH_ENDPOINT, ISSUER, JWKS_URI, TOKEN_ENDPOINT, OAuthSettings
from fluidmcp.config.urls import check_url
from fluidmcp.errors import ProviderAnswerError, ProviderUnavailableError
from fluidmcp.oauth_client.fetch import FetchAnswer, Fetcher
from fluidmcp.oauth_client.issuer import TENANT_TEMPLATE

MAX_LISTED_VALUES: Final = 200

_TENANT_ALIASES: Final = frozenset({"common", "organizations"})
_ENDPOINTS: Final = (
    "authorization_endpoint",
    "token_endpoint",
    "jwks_uri",
    "introspection_endpoint",
    "userinfo_endpoint",
    "revocation_endpoint",
    "device_authorization_endpoint",
    "registration_endpoint",
)
# With these a poisoned document could take codes and tokens, or have forged ones accepted.
_DECISIVE: Final = MappingProxyType(
    {"authorization_endpoint": AUTH_ENDPOINT, "token_endpoint": TOKEN_ENDPOINT, "jwks_uri": JWKS_URI}
)
# Issuers whose own documents name endpoints on other origins of the same company.
_SISTER_ORIGINS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "https://accounts.google.com": frozenset(
            {"https://oauth2.googleapis.com", "https://www.googleapis.com", "https://openidconnect.googleapis.com"}
        ),
        "https://login.microsoftonline.com": frozenset({"https://graph.microsoft.com"}),
        "https://login.microsoftonline.us": frozenset({"https://graph.microsoft.us"}),
    }
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderMetadata:
    """What is known of a provider. None and () stand for what is not known."""

    issuer: str | None
    """As configured, except for a tenant template: then as in the document, with `{tenantid}`."""
    is_tenant_template: bool = False
    """The issuer of tokens is `issuer` with `{tenantid}` replaced by the token's own `tid` (Entra's `common`)."""
    authorization_endpoint: str | None = None
    token_endpoint: str | None = None
    jwks_uri: str | None = None
    introspection_endpoint: str | None = None
    userinfo_endpoint: str | None = None
    revocation_endpoint: str | None = None
    device_authorization_endpoint: str | None = None
    registration_endpoint: str | None = None
    code_challenge_methods_supported: tuple[str, ...] = ()
    scopes_supported: tuple[str, ...] = ()
    token_endpoint_auth_methods_supported: tuple[str, ...] = ()
    iss_parameter_supported: bool = False
    """RFC 9207: every answer of the authorization endpoint carries `iss`; one without is not from this provider."""

    def require_s256(self) -> None:
        """Refuse a provider that lists PKCE methods without S256. One that lists none may well support it (Entra).

        Raises:
            ProviderAnswerError: S256 is not offered.
        """
        methods = self.code_challenge_methods_supported
        if methods and "S256" not in methods:
            raise ProviderAnswerError(
                "The provider does not offer PKCE with S256",
                why="Its metadata lists code_challenge_methods_supported without S256.",
                hint="Allow S256 for this client at the provider.",
            )


async def discover(issuer: str, fetcher: Fetcher, *, trusted_endpoints: Collection[str] = ()) -> ProviderMetadata:
    """The metadata of an issuer: OpenID Connect's place first, then those of RFC 8414 section 3.1.

    `trusted_endpoints` are addresses that the operator configured: their origins count as the issuer's own.

    Raises:
        ProviderAnswerError: there is no such document, it names another issuer (RFC 8414 section 3.3), or it names
            endpoints that are no addresses for tokens or belong to somebody else.
        ProviderUnavailableError: the provider cannot be reached, or is broken.
    """
    for url in well_known_urls(issuer):
        document = _read_document(await fetcher.get(url))
        if document is not None:
            return read_metadata(document, issuer=issuer, trusted_endpoints=trusted_endpoints)
    raise ProviderAnswerError(
        "The provider has no discovery document",
        why=f"None of the well-known addresses below {_origin(issuer)} answered with one.",
        hint=f"Check {ISSUER}, or set the endpoints one by one.",
    )


async def find_provider(
    settings: OAuthSettings, fetcher: Fetcher, *, needs: Collection[str] | None = None
) -> ProviderMetadata:
    """What is configured, and what discovery says about the rest when an issuer is configured.

    `needs` names the fields that matter: when all of them are configured, nothing is fetched. (With a client secret
    there is always one more: how to send it.) Raises as `discover`.
    """
    configured = _configured_endpoints(settings)
    is_enough = needs is not None and set(needs) <= set(configured) and settings.client_secret is None
    if settings.issuer is None or is_enough:
        return configured_provider(settings)
    return replace(await discover(settings.issuer, fetcher, trusted_endpoints=configured.values()), **configured)


def configured_provider(settings: OAuthSettings) -> ProviderMetadata:
    """What the settings alone say about the provider; nothing is fetched."""
    return replace(ProviderMetadata(issuer=settings.issuer), **_configured_endpoints(settings))


def guess_issuer(settings: OAuthSettings) -> str | None:
    """The issuer of a well-known provider, by its token endpoint; the configured one wins. None when unknown.

    A guess may be used to look for further endpoints, never to accept a token.
    """
    if settings.issuer is not None or settings.token_endpoint is None:
        return settings.issuer
    known = find_known_provider(settings.token_endpoint)
    return "https://accounts.google.com" if known.check == "google" else known.issuer


def well_known_urls(issuer: str) -> tuple[str, ...]:
    """Where the metadata of an issuer may be, in the order in which we look."""
    parts = urlsplit(issuer)
    origin, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    return (
        f"{origin}{path}/.well-known/openid-configuration",
        f"{origin}/.well-known/oauth-authorization-server{path}",
        *((f"{origin}/.well-known/openid-configuration{path}",) if path else ()),
    )


def read_metadata(
    document: Mapping[str, object], *, issuer: str, trusted_endpoints: Collection[str] = ()
) -> ProviderMetadata:
    """The metadata in a document that came for `issuer`. Pure.

    Raises:
        ProviderAnswerError: as `discover`.
    """
    named, is_template = _read_issuer(document, issuer)
    origin = _origin(issuer)
    origins = {origin, *_SISTER_ORIGINS.get(origin, ()), *(_origin(url) for url in trusted_endpoints)}
    endpoints = {name: _read_endpoint(document, name, origins) for name in _ENDPOINTS}
    metadata = ProviderMetadata(
        issuer=named,
        is_tenant_template=is_template,
        code_challenge_methods_supported=_read_texts(document, "code_challenge_methods_supported"),
        scopes_supported=_read_texts(document, "scopes_supported"),
        token_endpoint_auth_methods_supported=_read_texts(document, "token_endpoint_auth_methods_supported"),
        iss_parameter_supported=document.get("authorization_response_iss_parameter_supported") is True,
    )
    return replace(metadata, **endpoints)


def _configured_endpoints(settings: OAuthSettings) -> dict[str, str]:
    configured = {
        "authorization_endpoint": settings.auth_endpoint,
        "token_endpoint": settings.token_endpoint,
        "jwks_uri": settings.jwks_uri,
        "introspection_endpoint": settings.introspection_endpoint,
        "userinfo_endpoint": settings.userinfo_endpoint,
        "revocation_endpoint": settings.revocation_endpoint,
        "device_authorization_endpoint": settings.device_endpoint,
    }
    return {name: url for name, url in configured.items() if url is not None}


def _read_document(answer: FetchAnswer) -> Mapping[str, object] | None:
    """The JSON object of an answer; None where there is none at this address (many hosts answer a page for that)."""
    if answer.status >= 500 or answer.status == 429:
        raise ProviderUnavailableError(
            "The provider is not able to answer",
            why=f"Its discovery document answered with HTTP {answer.status}.",
            hint="Try again later.",
        )
    if answer.status != 200:
        return None
    try:
        document = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return cast("dict[str, object]", document) if isinstance(document, dict) else None


def _read_issuer(document: Mapping[str, object], issuer: str) -> tuple[str, bool]:
    """The issuer as it counts from now on, and whether it is a template. Nothing is normalised (RFC 8414 §3.3)."""
    named = document.get("issuer")
    if named == issuer:
        return issuer, False
    if isinstance(named, str) and named.count(TENANT_TEMPLATE) == 1:
        if issuer in {named.replace(TENANT_TEMPLATE, alias) for alias in _TENANT_ALIASES}:
            return named, True
    # An address of that very host is what a person mistyped; anything else is not worth showing.
    is_near = (
        isinstance(named, str) and check_url(named, allow_query=False) is None and _origin(named) == _origin(issuer)
    )
    raise ProviderAnswerError(
        "The discovery document is of another issuer",
        why="The issuer that it names is not, letter by letter, the one that was asked for.",
        hint=f"Check {ISSUER}" + (f"; the document says {named}" if is_near else "") + ".",
    )


def _read_endpoint(document: Mapping[str, object], name: str, origins: Collection[str]) -> str | None:
    url = document.get(name)
    if url is None:
        return None
    if not isinstance(url, str) or check_url(url) is not None:
        fault = "is not an https address"
    elif _origin(url) not in origins:
        fault = "is on another host than the issuer"
    else:
        return url
    variable = _DECISIVE.get(name)
    if variable is None:
        logger.warning("the %s of the discovery document %s; it is not used", name, fault)
        return None
    raise ProviderAnswerError(
        "The discovery document cannot be trusted",
        why=f"Its {name} {fault}.",
        hint=f"If that is how your provider works, set {variable} yourself.",
    )


def _read_texts(document: Mapping[str, object], name: str) -> tuple[str, ...]:
    values = document.get(name)
    if not isinstance(values, list):
        return ()
    return tuple(value for value in cast("list[object]", values)[:MAX_LISTED_VALUES] if isinstance(value, str))


def _origin(url: str) -> str:
    """Scheme, host and port in one spelling."""
    parts = urlsplit(url)
    default_port = 443 if parts.scheme == "https" else 80
    host = parts.hostname or ""
    port = "" if parts.port in (None, default_port) else f":{parts.port}"
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}"
