"""The FMCP_OAUTH_ variables: defaults, every rule, and the one message for what is missing."""

import pytest

from fluidmcp.config.oauth import (
    DEFAULT_REDIRECT_URI,
    OAUTH_VARIABLES,
    load_oauth_settings,
    missing_for_login,
    not_configured,
)
from fluidmcp.errors import ConfigurationError

COMPLETE = {
    "FMCP_OAUTH_AUTH_ENDPOINT": "https://your-provider.com/oauth/authorize",
    "FMCP_OAUTH_TOKEN_ENDPOINT": "https://your-provider.com/oauth/token",
    "FMCP_OAUTH_CLIENT_ID": "your_client_id",
}


def fault_of(**environ: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_oauth_settings(environ)
    return caught.value.why


@pytest.mark.promise(8, 9)
def test_the_documented_defaults_hold() -> None:
    settings = load_oauth_settings(COMPLETE)
    assert settings.redirect_uri == DEFAULT_REDIRECT_URI == "http://localhost:8088/callback"
    assert settings.scope == "openid profile email"
    assert missing_for_login(settings) == ()


@pytest.mark.promise(5, 6, 7, 52)
@pytest.mark.parametrize("name", sorted(COMPLETE))
def test_each_required_variable_that_is_missing_is_named_and_no_other(name: str) -> None:
    settings = load_oauth_settings({other: value for other, value in COMPLETE.items() if other != name} | {name: "  "})
    assert missing_for_login(settings) == (name,)
    error = not_configured(missing_for_login(settings))
    assert error.what == "OAuth2 is not configured"
    assert error.why == f"Not set: {name}."


def test_an_issuer_stands_in_for_the_endpoints_but_not_for_the_client() -> None:
    settings = load_oauth_settings({"FMCP_OAUTH_ISSUER": "https://your-domain.auth0.com/"})
    assert missing_for_login(settings) == ("FMCP_OAUTH_CLIENT_ID",)
    assert missing_for_login(settings, with_device=True) == ("FMCP_OAUTH_CLIENT_ID",)


def test_a_device_login_needs_its_own_endpoint() -> None:
    settings = load_oauth_settings(COMPLETE)
    assert missing_for_login(settings, with_device=True) == ("FMCP_OAUTH_DEVICE_ENDPOINT",)


def test_nothing_at_all_is_fine_and_everything_is_off() -> None:
    settings = load_oauth_settings({})
    assert settings.access_token is None
    assert not settings.names_who_is_allowed
    assert len(missing_for_login(settings)) == 3


@pytest.mark.threat("C06")
@pytest.mark.parametrize(
    "url",
    [
        "$(calc)",
        "https://evil.example/$(calc)",
        "https://evil.example/`calc`",
        "--flag",
        "-https://evil.example",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http://provider.example/token",
        "https://user:password@provider.example/token",
        "https://provider.example/token#fragment",
        "https://provider.example/ token",
        "https://",
    ],
)
@pytest.mark.parametrize("name", ["FMCP_OAUTH_AUTH_ENDPOINT", "FMCP_OAUTH_TOKEN_ENDPOINT", "FMCP_OAUTH_ISSUER"])
def test_c06_an_address_that_is_no_endpoint_is_refused_and_not_repeated(name: str, url: str) -> None:
    why = fault_of(**{name: url})
    assert why.startswith(name)
    assert url not in why


@pytest.mark.threat("C06")
@pytest.mark.parametrize(
    "url",
    [
        "http://0.0.0.0:8088/callback",
        "http://192.168.1.5:8088/callback",
        "https://app.example.com/callback",
        "https://localhost:8088/callback",
        "http://localhost.evil.example:8088/callback",
        "http://localhost:99999/callback",
        "http://localhost:8088/callback?a=b",
        "http://localhost:8088/callback#x",
        "fluidmcp://callback",
    ],
)
def test_c06_a_redirect_uri_that_is_not_this_machine_is_refused(url: str) -> None:
    assert fault_of(FMCP_OAUTH_REDIRECT_URI=url).startswith("FMCP_OAUTH_REDIRECT_URI")


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/cb", "http://[::1]:8088/", "http://localhost:18088/callback"])
def test_other_addresses_of_this_machine_are_fine(url: str) -> None:
    assert load_oauth_settings({"FMCP_OAUTH_REDIRECT_URI": url}).redirect_uri == url


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FMCP_OAUTH_EXTRA_AUTH_PARAMS", "state=1"),
        ("FMCP_OAUTH_EXTRA_AUTH_PARAMS", "Client_Id=1"),
        ("FMCP_OAUTH_EXTRA_AUTH_PARAMS", "a=1&a=2"),
        ("FMCP_OAUTH_EXTRA_AUTH_PARAMS", "nonsense"),
        ("FMCP_OAUTH_EXTRA_AUTH_PARAMS", "a=%00"),
        ("FMCP_OAUTH_ACCESS_TOKEN", "two words"),
        ("FMCP_OAUTH_ACCESS_TOKEN", "a\r\nX: 1"),
        ("FMCP_OAUTH_ACCESS_TOKEN", "é"),
        ("FMCP_OAUTH_ACCESS_TOKEN", "a" * 8193),
        ("FMCP_OAUTH_CLIENT_ID", "a b"),
        ("FMCP_OAUTH_SCOPE", 'openid "quoted"'),
        ("FMCP_OAUTH_VALIDATION", "none"),
        ("FMCP_OAUTH_ALLOWED_EMAIL_DOMAINS", "@example.com"),
        ("FMCP_OAUTH_ALLOWED_EMAIL_DOMAINS", "*.example.com"),
        ("FMCP_OAUTH_ALLOWED_EMAIL_DOMAINS", "exämple.com"),
        ("FMCP_OAUTH_ALLOWED_EMAIL_DOMAINS", ", ,,"),
        ("FMCP_OAUTH_ALLOWED_SUBJECTS", " , "),
        ("FMCP_OAUTH_ALLOW_ANY_USER", "maybe"),
    ],
)
def test_a_wrong_value_is_named_but_not_shown(name: str, value: str) -> None:
    why = fault_of(**{name: value})
    assert why.startswith(name)
    assert value not in why


def test_all_faults_are_told_at_once() -> None:
    why = fault_of(FMCP_OAUTH_ISSUER="no", FMCP_OAUTH_VALIDATION="no", FMCP_OAUTH_ALLOW_ANY_USER="no idea")
    assert why.count(";") == 2


def test_a_list_of_people_and_everybody_contradict() -> None:
    assert "FMCP_OAUTH_ALLOWED_SUBJECTS" in fault_of(FMCP_OAUTH_ALLOWED_SUBJECTS="a", FMCP_OAUTH_ALLOW_ANY_USER="1")


def test_lists_flags_and_parameters_are_read() -> None:
    settings = load_oauth_settings(
        {
            "FMCP_OAUTH_ALLOWED_EMAIL_DOMAINS": "Example.com, example.org",
            "FMCP_OAUTH_ALLOWED_SUBJECTS": "auth0|1, 2",
            "FMCP_OAUTH_REQUIRED_SCOPES": "read  write",
            "FMCP_OAUTH_EXTRA_AUTH_PARAMS": "access_type=offline&prompt=consent&resource=https%3A%2F%2Fapi.example",
            "FMCP_OAUTH_ALLOW_UNBOUND_TOKENS": "true",
            "FMCP_OAUTH_VALIDATION": "JWT",
        }
    )
    assert settings.allowed_email_domains == ("example.com", "example.org")
    assert settings.allowed_subjects == ("auth0|1", "2")
    assert settings.required_scopes == ("read", "write")
    assert dict(settings.extra_auth_params)["resource"] == "https://api.example"
    assert settings.allow_unbound_tokens
    assert settings.validation == "jwt"


@pytest.mark.threat("C15")
def test_c15_the_token_of_the_environment_is_a_secret_and_an_empty_one_is_none() -> None:
    settings = load_oauth_settings({"FMCP_OAUTH_ACCESS_TOKEN": "canary", "FMCP_OAUTH_CLIENT_SECRET": "canary"})
    assert settings.access_token is not None and settings.access_token.reveal() == "canary"
    assert "canary" not in repr(settings)
    assert load_oauth_settings({"FMCP_OAUTH_ACCESS_TOKEN": ""}).access_token is None


def test_each_variable_is_read() -> None:
    """A wrong value of each is noticed, so none is forgotten."""
    wrong = dict.fromkeys(OAUTH_VARIABLES, "é\x01")
    why = fault_of(**wrong)
    assert [name for name in OAUTH_VARIABLES if f"{name} " not in why] == []
