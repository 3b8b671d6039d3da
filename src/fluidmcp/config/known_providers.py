"""What is known of well-known providers by the address of their token endpoint. Pure module: nothing is looked up.

This holds only what the provider's own documentation states. Unknown hosts, other ports and other paths get nothing;
everything can be set by hand instead.
"""

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from fluidmcp.config.providers.preset import Check as TokenCheckKind
from fluidmcp.config.providers.preset import Dialect as UserinfoDialect
from fluidmcp.config.providers.table import find_by_token_host, find_preset

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
    instance_url: str | None = None
    """Where to ask that, where the provider is one's own: the origin of its pages."""
    issuer: str | None = None
    """The issuer of access tokens that are JWTs."""
    introspection_url: str | None = None
    userinfo: UserinfoEndpoint | None = None


UNKNOWN = KnownProvider()


def find_known_provider(token_url: str, *, provider: str = "") -> KnownProvider:
    """What is known of the provider whose token endpoint this is; `provider` is the preset that the operator named."""
    parts = urlsplit(token_url)
    host = parts.hostname or ""
    named = find_preset(provider)
    if named is not None and named.check is not None and named.values and host not in named.token_hosts:
        return KnownProvider(check=named.check, instance_url=f"{parts.scheme}://{parts.netloc}")
    realm = _KEYCLOAK_REALM.fullmatch(parts.path)
    if realm is not None:
        issuer = f"{parts.scheme}://{parts.netloc}{realm[1]}"
        return KnownProvider(issuer=issuer, introspection_url=f"{issuer}/protocol/openid-connect/token/introspect")
    if parts.scheme != "https" or parts.port not in (None, 443):
        return UNKNOWN
    preset = find_by_token_host(host)
    if preset is not None:
        userinfo = None
        if preset.userinfo_url is not None:
            userinfo = UserinfoEndpoint(url=preset.userinfo_url, dialect=preset.dialect)
        return KnownProvider(check=preset.check, userinfo=userinfo)
    if host in ("login.microsoftonline.com", "login.microsoftonline.us"):
        return _find_entra(host, parts)
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
