"""What known providers want in the authorization request beyond RFC 6749, by the host of their endpoint."""

from urllib.parse import urlsplit

from fluidmcp.config.providers.table import find_by_authorization_host


def preset_params(authorization_url: str) -> dict[str, str]:
    """Parameters that the provider behind this endpoint needs; empty for providers that need none."""
    preset = find_by_authorization_host(urlsplit(authorization_url).hostname or "")
    return {} if preset is None else dict(preset.extra_params)


def scope_separator(authorization_url: str, configured: str) -> str:
    """What joins the scopes: the configured separator, or the provider's own where the default was left."""
    preset = find_by_authorization_host(urlsplit(authorization_url).hostname or "")
    return configured if configured != " " or preset is None else preset.scope_separator


def refresh_token_advice(authorization_url: str) -> str:
    """What a person can do to get a refresh token from the provider behind this endpoint."""
    host = urlsplit(authorization_url).hostname or ""
    if host == "accounts.google.com":
        return (
            "Google gives one to who asks with FMCP_OAUTH_EXTRA_AUTH_PARAMS='access_type=offline&prompt=consent' "
            "(the default here; check whether you replaced it)"
        )
    if host == "github.com":
        return "a GitHub App gives one when its user tokens expire; the tokens of an OAuth App do not expire"
    if host.endswith(".auth0.com"):
        return "add offline_access to FMCP_OAUTH_SCOPE, and allow offline access for the API (FMCP_OAUTH_AUDIENCE)"
    return "most providers give one for the scope offline_access: add it to FMCP_OAUTH_SCOPE"
