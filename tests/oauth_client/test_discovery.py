"""Discovery: where documents are looked for, whom they may speak for, and which endpoints may stand in them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from fluidmcp.config.oauth import OAuthSettings
from fluidmcp.errors import FluidMCPError, ProviderAnswerError, ProviderUnavailableError
from fluidmcp.oauth_client.discovery import discover, find_provider, guess_issuer, read_metadata, well_known_urls
from fluidmcp.oauth_client.fetch import Fetcher
from tests.providers.oidc import running_oidc_provider
from tests.providers.serving import serve

ISSUER = "https://id.example.com"


def document(issuer: str = ISSUER, **changes: Any) -> dict[str, Any]:
    base = issuer.rstrip("/")
    values = {
        "issuer": issuer,
        "authorization_endpoint": f"{base}/authorize",
        "token_endpoint": f"{base}/token",
        "jwks_uri": f"{base}/keys",
        "userinfo_endpoint": f"{base}/userinfo",
        "code_challenge_methods_supported": ["S256"],
        **changes,
    }
    return {name: value for name, value in values.items() if value is not None}


def refused(changed: dict[str, Any], issuer: str = ISSUER) -> ProviderAnswerError:
    with pytest.raises(ProviderAnswerError) as caught:
        read_metadata(changed, issuer=issuer)
    return caught.value


@pytest.mark.needs("node", "oidc-provider")
async def test_a_real_provider_is_found() -> None:
    with running_oidc_provider() as provider:
        fetcher = Fetcher()
        metadata = await discover(provider.issuer, fetcher)
        await fetcher.aclose()
    assert metadata.authorization_endpoint == provider.authorization_url
    assert metadata.token_endpoint == provider.token_url
    assert metadata.introspection_endpoint == provider.introspection_url
    assert metadata.revocation_endpoint == provider.revocation_url
    assert metadata.device_authorization_endpoint == provider.device_url
    assert metadata.code_challenge_methods_supported == ("S256",)
    assert metadata.iss_parameter_supported
    metadata.require_s256()


def test_the_places_of_an_issuer_with_a_path() -> None:
    assert well_known_urls("https://org.okta.com/oauth2/default") == (
        "https://org.okta.com/oauth2/default/.well-known/openid-configuration",
        "https://org.okta.com/.well-known/oauth-authorization-server/oauth2/default",
        "https://org.okta.com/.well-known/openid-configuration/oauth2/default",
    )
    assert well_known_urls("https://tenant.auth0.com/") == (
        "https://tenant.auth0.com/.well-known/openid-configuration",
        "https://tenant.auth0.com/.well-known/oauth-authorization-server",
    )


@pytest.mark.threat("C17")
@pytest.mark.parametrize(
    "named",
    [
        "https://evil.example",
        ISSUER + "/",
        ISSUER.upper(),
        ISSUER + "/tenant",
        ISSUER.replace("https", "http"),
        None,
        7,
        [ISSUER],
        "https://{tenantid}",
    ],
)
def test_c17_a_document_of_another_issuer_is_refused(named: object) -> None:
    error = refused(document() | {"issuer": named})
    assert error.what == "The discovery document is of another issuer"
    assert "evil" not in error.hint


def test_a_forgotten_slash_is_told() -> None:
    error = refused(document("https://tenant.auth0.com/"), issuer="https://tenant.auth0.com")
    assert "https://tenant.auth0.com/" in error.hint


@pytest.mark.threat("C17")
@pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint", "jwks_uri"])
@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/token",
        "https://id.example.com.evil.example/token",
        "https://id.example.com:444/token",
        "https://id.example.com@evil.example/token",
        "http://id.example.com/token",
        "http://localhost/token",
        "file:///token",
        "javascript:alert(1)",
        "https://id.example.com/$(calc)",
        "",
        7,
    ],
)
def test_c17_an_endpoint_that_is_not_the_issuers_is_refused(name: str, url: Any) -> None:
    error = refused(document(**{name: url}))
    assert error.what == "The discovery document cannot be trusted"
    assert name in error.why


@pytest.mark.threat("C17")
def test_c17_a_further_endpoint_of_somebody_else_is_left_out() -> None:
    metadata = read_metadata(document(userinfo_endpoint="https://evil.example/me"), issuer=ISSUER)
    assert metadata.userinfo_endpoint is None


@pytest.mark.threat("C17")
def test_c17_an_origin_that_the_operator_configured_counts_as_the_issuers() -> None:
    foreign = document(token_endpoint="https://login.example.com/token")
    trusted = ("https://login.example.com/oauth/token",)
    assert read_metadata(foreign, issuer=ISSUER, trusted_endpoints=trusted).token_endpoint is not None


@pytest.mark.threat("C17")
def test_c17_google_with_its_several_origins_is_known_and_nobody_else_may_use_them() -> None:
    endpoints = {
        "authorization_endpoint": "https://accounts.google.com/o/oauth2/v2/auth",
        "token_endpoint": "https://oauth2.googleapis.com/token",
        "jwks_uri": "https://www.googleapis.com/oauth2/v3/certs",
        "userinfo_endpoint": "https://openidconnect.googleapis.com/v1/userinfo",
        "revocation_endpoint": "https://oauth2.googleapis.com/revoke",
    }
    metadata = read_metadata(document("https://accounts.google.com", **endpoints), issuer="https://accounts.google.com")
    assert metadata.revocation_endpoint == endpoints["revocation_endpoint"]
    refused(document(token_endpoint=endpoints["token_endpoint"]))


@pytest.mark.parametrize("alias", ["common", "organizations"])
def test_entras_tenant_template_is_recognised(alias: str) -> None:
    base = "https://login.microsoftonline.com"
    issuer = f"{base}/{alias}/v2.0"
    template = f"{base}/{{tenantid}}/v2.0"
    metadata = read_metadata(document(issuer) | {"issuer": template}, issuer=issuer)
    assert (metadata.issuer, metadata.is_tenant_template) == (template, True)
    refused(document(f"{base}/other/v2.0") | {"issuer": template}, issuer=f"{base}/other/v2.0")


@pytest.mark.threat("B10")
def test_b10_a_provider_that_lists_methods_without_s256_is_refused() -> None:
    plain = read_metadata(document(code_challenge_methods_supported=["plain"]), issuer=ISSUER)
    with pytest.raises(ProviderAnswerError):
        plain.require_s256()
    read_metadata(document(code_challenge_methods_supported=None), issuer=ISSUER).require_s256()


@given(
    st.dictionaries(
        st.sampled_from([*document(), "scopes_supported"]),
        st.none() | st.booleans() | st.integers() | st.text(max_size=30) | st.lists(st.text(max_size=5), max_size=3),
    )
)
def test_no_document_raises_anything_else(changes: dict[str, Any]) -> None:
    try:
        read_metadata(document() | changes, issuer=ISSUER)
    except FluidMCPError:
        pass


async def ask(answer: Response, path: str = "/.well-known/openid-configuration") -> FluidMCPError | None:
    async def respond(request: Request) -> Response:
        return answer if request.url.path == path else Response(status_code=404)

    app = Starlette()
    app.add_route("/{path:path}", respond)
    fetcher = Fetcher()
    try:
        async with serve(app) as url:
            await discover(url, fetcher)
    except FluidMCPError as error:
        return error
    finally:
        await fetcher.aclose()
    return None


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (HTMLResponse("<html>welcome</html>"), ProviderAnswerError),
        (JSONResponse([]), ProviderAnswerError),
        (RedirectResponse("https://evil.example/"), ProviderAnswerError),
        (Response(status_code=503), ProviderUnavailableError),
        (Response(b"x" * 100_000), ProviderAnswerError),
    ],
    ids=["page", "list", "redirect", "broken", "huge"],
)
async def test_an_answer_that_is_no_document_is_a_clear_failure(answer: Response, expected: type[Exception]) -> None:
    assert isinstance(await ask(answer), expected)


async def test_configured_endpoints_win_and_spare_the_call() -> None:
    settings = OAuthSettings(
        issuer="https://nobody.invalid", auth_endpoint="https://a.example/a", token_endpoint="https://a.example/t"
    )
    provider = await find_provider(settings, Fetcher(), needs=("authorization_endpoint", "token_endpoint"))
    assert (provider.issuer, provider.token_endpoint) == ("https://nobody.invalid", "https://a.example/t")


@pytest.mark.parametrize(
    ("token_endpoint", "issuer"),
    [
        ("https://your-domain.auth0.com/oauth/token", "https://your-domain.auth0.com/"),
        ("https://your-domain.okta.com/oauth2/default/v1/token", "https://your-domain.okta.com/oauth2/default"),
        (
            "https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/oauth2/v2.0/token",
            "https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0",
        ),
        ("https://id.example.com/realms/staff/protocol/openid-connect/token", "https://id.example.com/realms/staff"),
        ("https://oauth2.googleapis.com/token", "https://accounts.google.com"),
        ("https://github.com/login/oauth/access_token", None),
        ("https://evil.example/oauth/token", None),
        ("https://auth0.com.evil.example/oauth/token", None),
    ],
)
def test_the_issuer_of_a_known_provider_is_guessed(token_endpoint: str, issuer: str | None) -> None:
    assert guess_issuer(OAuthSettings(token_endpoint=token_endpoint)) == issuer
