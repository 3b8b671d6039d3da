"""What is known of well-known providers by the address of their token endpoint. Pure module: nothing is looked up.

This holds only what the provider's own documentation states. Unknown hosts, other ports and other paths get nothing;
everything can be set by hand instead.
"""

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import SplitResult, urlsplit

TokenCheckKind = Literal["google", "github", "gitlab"]
UserinfoDialect = Literal["oidc", "slack", "atlassian"]

_TENANT = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|common|organizations", re.ASCII)
_OKTA_SERVER = re.compile(r"(/oauth2/[A-Za-z0-9_-]+)/v1/token", re.ASCII)
_KEYCLOAK_REALM = re.compile(
    r"(/(?:[A-Za-z0-9._~-]+/)*realms/[A-Za-z0-9._~%-]+)/protocol/openid-connect/token", re.ASCII
)


@dataclass(frozen=True, slots=True, kw_only=True)
class UserinfoEndpoint:
    """Where to ask whose a token is, and in which words the answer comes."""

    url: str
    dialect: UserinfoDialect = "oidc"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownProvider:
    """What follows from a token endpoint; None for each fact that does not."""

    check: TokenCheckKind | None = None
    """The provider's own way to tell whether a token was made for our client."""
    issuer: str | None = None
    """The issuer of access tokens that are JWTs."""
    introspection_url: str | None = None
    userinfo: UserinfoEndpoint | None = None


UNKNOWN = KnownProvider()


def find_known_provider(token_url: str) -> KnownProvider:
    """What is known of the provider whose token endpoint this is."""
    parts = urlsplit(token_url)
    host = parts.hostname or ""
    realm = _KEYCLOAK_REALM.fullmatch(parts.path)
    if realm is not None:
        issuer = f"{parts.scheme}://{parts.netloc}{realm[1]}"
        return KnownProvider(issuer=issuer, introspection_url=f"{issuer}/protocol/openid-connect/token/introspect")
    if parts.scheme != "https" or parts.port not in (None, 443):
        return UNKNOWN
    match host:
        case "oauth2.googleapis.com" | "accounts.google.com":
            return KnownProvider(check="google")
        case "github.com":
            return KnownProvider(check="github")
        case "gitlab.com":
            return KnownProvider(check="gitlab")
        case "slack.com":
            return KnownProvider(userinfo=UserinfoEndpoint(url="https://slack.com/api/auth.test", dialect="slack"))
        case "auth.atlassian.com":
            return KnownProvider(userinfo=UserinfoEndpoint(url="https://api.atlassian.com/me", dialect="atlassian"))
        case "login.microsoftonline.com" | "login.microsoftonline.us":
            return _find_entra(host, parts)
        case _:
            return _find_by_suffix(host, parts)


def _find_entra(host: str, parts: SplitResult) -> KnownProvider:
    tenant = parts.path.removesuffix("/oauth2/v2.0/token").removeprefix("/")
    # The issuer holds the tenant's id, which does not follow from the tenant's domain name.
    return KnownProvider(issuer=f"https://{host}/{tenant}/v2.0") if _TENANT.fullmatch(tenant) else UNKNOWN


def _find_by_suffix(host: str, parts: SplitResult) -> KnownProvider:
    if host.endswith(".auth0.com") and parts.path == "/oauth/token":
        return KnownProvider(issuer=f"https://{host}/", userinfo=UserinfoEndpoint(url=f"https://{host}/userinfo"))
    if host.endswith((".okta.com", ".oktapreview.com", ".okta-emea.com")):
        if parts.path == "/oauth2/v1/token":
            # Tokens of the organisation's own server are opaque to everybody else, whatever they look like.
            return KnownProvider(introspection_url=f"https://{host}/oauth2/v1/introspect")
        server = _OKTA_SERVER.fullmatch(parts.path)
        if server is not None:
            issuer = f"https://{host}{server[1]}"
            return KnownProvider(issuer=issuer, introspection_url=f"{issuer}/v1/introspect")
    return UNKNOWN
