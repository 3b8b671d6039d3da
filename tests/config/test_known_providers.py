"""What follows from the address of a token endpoint, and what does not."""

import pytest

from fluidmcp.config.known_providers import UNKNOWN, KnownProvider, UserinfoEndpoint, find_known_provider

TENANT = "11111111-2222-3333-4444-555555555555"


@pytest.mark.parametrize(
    ("token_url", "known"),
    [
        ("https://oauth2.googleapis.com/token", KnownProvider(check="google")),
        ("https://github.com/login/oauth/access_token", KnownProvider(check="github")),
        ("https://gitlab.com/oauth/token", KnownProvider(check="gitlab")),
        (
            "https://slack.com/api/oauth.v2.access",
            KnownProvider(userinfo=UserinfoEndpoint(url="https://slack.com/api/auth.test", dialect="slack")),
        ),
        (
            "https://auth.atlassian.com/oauth/token",
            KnownProvider(userinfo=UserinfoEndpoint(url="https://api.atlassian.com/me", dialect="atlassian")),
        ),
        (
            f"https://login.microsoftonline.com/{TENANT}/oauth2/v2.0/token",
            KnownProvider(issuer=f"https://login.microsoftonline.com/{TENANT}/v2.0"),
        ),
        (
            "https://login.microsoftonline.com/common/oauth2/v2.0/token",
            KnownProvider(issuer="https://login.microsoftonline.com/common/v2.0"),
        ),
        (
            "https://us.auth0.com.example.auth0.com/oauth/token",
            KnownProvider(
                issuer="https://us.auth0.com.example.auth0.com/",
                userinfo=UserinfoEndpoint(url="https://us.auth0.com.example.auth0.com/userinfo"),
            ),
        ),
        (
            "https://dev-1.okta.com/oauth2/default/v1/token",
            KnownProvider(
                issuer="https://dev-1.okta.com/oauth2/default",
                introspection_url="https://dev-1.okta.com/oauth2/default/v1/introspect",
            ),
        ),
        # Tokens of the organisation's own server are opaque, whatever they look like: no issuer of JWTs.
        (
            "https://dev-1.okta.com/oauth2/v1/token",
            KnownProvider(introspection_url="https://dev-1.okta.com/oauth2/v1/introspect"),
        ),
        (
            "https://id.corp.example/auth/realms/staff/protocol/openid-connect/token",
            KnownProvider(
                issuer="https://id.corp.example/auth/realms/staff",
                introspection_url="https://id.corp.example/auth/realms/staff/protocol/openid-connect/token/introspect",
            ),
        ),
    ],
)
def test_a_well_known_provider_is_recognised(token_url: str, known: KnownProvider) -> None:
    assert find_known_provider(token_url) == known


@pytest.mark.parametrize(
    "token_url",
    [
        "https://as.example/token",
        "http://oauth2.googleapis.com/token",
        "https://oauth2.googleapis.com:8443/token",
        "https://oauth2.googleapis.com.evil.example/token",
        "https://evilgithub.com/login/oauth/access_token",
        "https://evilauth0.com/oauth/token",
        "https://login.microsoftonline.com/contoso.com/oauth2/v2.0/token",
        "https://login.microsoftonline.com/consumers/oauth2/v2.0/token",
        "https://dev-1.okta.com/oauth2/a/b/v1/token",
        "https://dev-1.okta.com/token",
    ],
)
def test_nothing_is_known_of_addresses_that_only_look_like_it(token_url: str) -> None:
    assert find_known_provider(token_url) == UNKNOWN
