"""The authorization-code login on this machine, piece by piece; the whole of it is in tests/cli/test_login.py."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import JSONResponse, Response

from fluidai_mcp.services import oauth2_pkce
from fluidmcp.config.oauth import OAuthSettings, load_oauth_settings
from fluidmcp.config.secret import Secret
from fluidmcp.errors import LoginError, ProviderAnswerError
from fluidmcp.oauth_client import pkce
from fluidmcp.oauth_client.discovery import ProviderMetadata, configured_provider
from fluidmcp.oauth_client.fetch import Fetcher
from fluidmcp.operator import browser_flow as flow
from fluidmcp.operator.browser_flow import (
    FinishedLogin,
    Person,
    build_request,
    clean_text,
    log_in_with_browser,
    read_code,
)
from fluidmcp.operator.token_file import StoredLogin
from tests.acceptance.harness import free_port
from tests.providers.fault_making import Answer, FaultMakingProvider, query_of, token_document, unsigned_id_token
from tests.providers.serving import serve

NOW = 1_800_000_000.0

D1_EXAMPLES = {
    "Auth0": ("https://your-domain.auth0.com/authorize", "https://your-domain.auth0.com/oauth/token"),
    "Okta": (
        "https://your-domain.okta.com/oauth2/default/v1/authorize",
        "https://your-domain.okta.com/oauth2/default/v1/token",
    ),
    "Azure AD": (
        "https://login.microsoftonline.com/your-tenant-id/oauth2/v2.0/authorize",
        "https://login.microsoftonline.com/your-tenant-id/oauth2/v2.0/token",
    ),
    "Google": ("https://accounts.google.com/o/oauth2/v2/auth", "https://oauth2.googleapis.com/token"),
}


def settings_of(name: str, **more: str) -> OAuthSettings:
    auth_endpoint, token_endpoint = D1_EXAMPLES[name]
    return load_oauth_settings(
        {
            "FMCP_OAUTH_AUTH_ENDPOINT": auth_endpoint,
            "FMCP_OAUTH_TOKEN_ENDPOINT": token_endpoint,
            "FMCP_OAUTH_CLIENT_ID": "your_client_id",
            **more,
        }
    )


def parameters_of(settings: OAuthSettings) -> dict[str, str]:
    return query_of(build_request(settings, configured_provider(settings)).location)


@pytest.mark.promise(10, 11, 12, 13, 50, 58, 59, 61)
@pytest.mark.parametrize("name", sorted(D1_EXAMPLES))
def test_each_documented_example_asks_its_provider_with_pkce(name: str) -> None:
    """Replayed: what is asked is compared with the providers' documentation; none of them was reached."""
    settings = settings_of(name)
    request = build_request(settings, configured_provider(settings))
    assert request.location.startswith(D1_EXAMPLES[name][0] + "?")
    parameters = query_of(request.location)
    expected = {
        "response_type": "code",
        "client_id": "your_client_id",
        "redirect_uri": "http://localhost:8088/callback",
        "scope": "openid profile email",
        "state": request.state,
        "code_challenge": pkce.code_challenge_s256(request.code_verifier),
        "code_challenge_method": "S256",
    }
    if name == "Google":
        expected |= {"access_type": "offline", "prompt": "consent"}
    assert parameters == expected
    assert len(request.code_verifier) == 43
    assert request.code_verifier not in request.location
    assert request.code_verifier not in repr(request) and request.state not in repr(request)


@pytest.mark.promise(62)
def test_the_documented_module_holds_the_code_that_the_login_runs() -> None:
    assert oauth2_pkce.create_code_verifier is pkce.create_code_verifier
    assert flow.create_code_verifier is oauth2_pkce.create_code_verifier
    assert flow.code_challenge_s256 is oauth2_pkce.code_challenge_s256


@pytest.mark.promise(58, 63)
def test_state_and_verifier_are_fresh_each_time() -> None:
    settings = settings_of("Auth0")
    made = [build_request(settings, configured_provider(settings)) for _ in range(50)]
    assert len({request.state for request in made} | {request.code_verifier for request in made}) == 100


def test_what_the_operator_sets_wins_over_presets_and_loses_to_the_protocol() -> None:
    extra = "prompt=select_account&access_type=online&custom=1"
    parameters = parameters_of(settings_of("Google", FMCP_OAUTH_EXTRA_AUTH_PARAMS=extra, FMCP_OAUTH_AUDIENCE="api"))
    assert parameters["prompt"] == "select_account"
    assert parameters["access_type"] == "online"
    assert (parameters["custom"], parameters["audience"]) == ("1", "api")
    assert parameters["response_type"] == "code"


def provider_of(**changes: Any) -> ProviderMetadata:
    return ProviderMetadata(issuer="https://id.example.com", **changes)


@pytest.mark.threat("B08")
@pytest.mark.parametrize("issuer", ["https://evil.example", "https://id.example.com/", "", "HTTPS://id.example.com"])
@pytest.mark.parametrize("more", [{"code": "c"}, {"error": "x", "error_description": "canary"}])
def test_an_answer_of_another_issuer_is_refused_unread(issuer: str, more: dict[str, str]) -> None:
    with pytest.raises(LoginError) as caught:
        read_code({"iss": issuer, **more}, provider_of())
    assert caught.value.what == "The answer comes from another issuer"
    assert "canary" not in caught.value.why


@pytest.mark.threat("B08")
def test_a_missing_issuer_is_refused_where_the_provider_always_sends_it() -> None:
    with pytest.raises(LoginError):
        read_code({"code": "c"}, provider_of(iss_parameter_supported=True))
    assert read_code({"code": "c", "iss": "https://id.example.com"}, provider_of(iss_parameter_supported=True)) == "c"
    assert read_code({"code": "c"}, provider_of()) == "c"
    assert read_code({"code": "c", "iss": "https://anybody.example"}, ProviderMetadata(issuer=None)) == "c"


@pytest.mark.parametrize(
    ("issuer", "good"),
    [
        ("https://login.example/11111111-2222-3333-4444-555555555555/v2.0", True),
        ("https://login.example//v2.0", False),
        ("https://login.example/a/b/v2.0", False),
        ("https://evil.example/a/v2.0", False),
        ("https://login.example/{tenantid}/v2.0", False),
    ],
)
def test_a_tenant_template_stands_for_each_tenant(issuer: str, good: bool) -> None:
    template = ProviderMetadata(issuer="https://login.example/{tenantid}/v2.0", is_tenant_template=True)
    assert flow.is_issued_by(issuer, template) is good


@pytest.mark.threat("C16")
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("a\x1b]0;title\x07b", "ab"),
        ("a\x1b]8;;https://evil.example\x1b\\link\x1b]8;;\x1b\\b", "alinkb"),
        ("a\x9b31mb", "ab"),
        ("one\r\ntwo\x00\x08", "one two"),
        ("right\u202eleft", "right left"),
        ("x" * 5000, "x" * 300 + "..."),
        ("\x1b", ""),
    ],
)
def test_c16_words_of_the_provider_lose_what_steers_a_terminal(text: str, shown: str) -> None:
    assert clean_text(text) == shown


@pytest.mark.threat("C16")
@given(st.text())
def test_c16_nothing_that_is_not_printable_remains(text: str) -> None:
    assert clean_text(text).isprintable()


@pytest.mark.threat("C16")
def test_c16_the_refusal_of_the_provider_is_shown_cleaned() -> None:
    with pytest.raises(LoginError) as caught:
        read_code({"error": "access_denied", "error_description": "\x1b[2JNo, \x07thanks"}, provider_of())
    assert caught.value.why == "It said access_denied: No, thanks"
    with pytest.raises(LoginError) as caught:
        read_code({"error": "\x1b[31m"}, provider_of())
    assert caught.value.why == "It said an error without a readable code."


@pytest.mark.parametrize("code", ["", "a\nb", "é", "x" * 9000])
def test_a_code_that_is_none_is_refused(code: str) -> None:
    with pytest.raises(LoginError):
        read_code({"code": code}, provider_of())


@dataclass
class Run:
    """A login against the fault-making provider; the address it shows, and what it stores."""

    settings: OAuthSettings
    provider: FaultMakingProvider
    person: Person
    address: asyncio.Future[str]
    said: list[str] = field(default_factory=list[str])
    stored: list[StoredLogin] = field(default_factory=list[StoredLogin])

    async def store(self, login: StoredLogin) -> None:
        self.stored.append(login)

    async def callback(self, **changes: str | None) -> str:
        """The address at which the provider would send the browser."""
        asked = query_of(await self.address)
        values = {"code": "the-code", "state": asked["state"], **changes}
        query = urlencode({name: value for name, value in values.items() if value is not None})
        return f"{self.settings.redirect_uri}?{query}"

    async def open(self, **changes: str | None) -> httpx2.Response:
        async with httpx2.AsyncClient(trust_env=False, timeout=60) as browser:
            return await browser.get(await self.callback(**changes))


def answering(answer: Response) -> Answer:
    return lambda _form: answer


async def log_in(
    act: Callable[[Run], Any], *, timeout_seconds: float = 60.0, **changes: Any
) -> tuple[FinishedLogin | None, Run, Exception | None]:
    provider = FaultMakingProvider()
    provider.answer_token = changes.pop("answer", provider.answer_token)
    async with serve(provider.app) as url:
        settings = OAuthSettings(
            auth_endpoint=f"{url}/authorize",
            token_endpoint=f"{url}/token",
            client_id="cli",
            redirect_uri=f"http://localhost:{free_port()}/callback",
            **changes,
        )
        address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        said: list[str] = []
        person = Person(show_address=address.set_result, say=said.append)
        run = Run(settings, provider, person, address, said)
        fetcher = Fetcher()
        acting = asyncio.ensure_future(act(run))
        try:
            async with asyncio.timeout(90):
                finished = await log_in_with_browser(
                    settings,
                    configured_provider(settings),
                    fetcher=fetcher,
                    person=person,
                    store=run.store,
                    now=lambda: NOW,
                    timeout_seconds=timeout_seconds,
                )
                await acting
                return finished, run, None
        except (LoginError, ProviderAnswerError) as error:
            await asyncio.gather(acting, return_exceptions=True)
            return None, run, error
        finally:
            await fetcher.aclose()


@pytest.mark.promise(2, 61)
async def test_a_public_client_redeems_the_code_with_the_verifier_and_no_secret() -> None:
    finished, run, _ = await log_in(lambda run: run.open())
    assert finished is not None
    (form,) = run.provider.token_requests
    assert form.keys() == {"grant_type", "code", "code_verifier", "redirect_uri", "client_id"}
    asked = query_of(run.address.result())
    assert pkce.code_challenge_s256(form["code_verifier"]) == asked["code_challenge"]
    assert form["redirect_uri"] == asked["redirect_uri"] == run.settings.redirect_uri
    assert run.provider.authorizations == [None]
    assert run.stored == [finished.login]
    assert finished.warnings == ()


async def test_a_configured_secret_goes_into_the_form() -> None:
    _, run, _ = await log_in(lambda run: run.open(), client_secret=Secret("s3cret"))
    assert run.provider.token_requests[0]["client_secret"] == "s3cret"


async def test_who_logged_in_comes_from_the_id_token() -> None:
    claims = {"iss": "https://id", "aud": "cli", "exp": NOW + 60, "sub": "alice", "email": "alice@example.org"}
    document = token_document(id_token=unsigned_id_token(**claims))
    finished, _, _ = await log_in(lambda run: run.open(), answer=answering(JSONResponse(document)))
    assert finished is not None
    login = finished.login
    assert (login.issuer, login.subject, login.email) == ("https://id", "alice", "alice@example.org")
    other = token_document(id_token=unsigned_id_token(**claims | {"aud": "another client"}))
    finished, _, _ = await log_in(lambda run: run.open(), answer=answering(JSONResponse(other)))
    assert finished is not None
    assert finished.login.subject is None


@pytest.mark.threat("C18")
@pytest.mark.parametrize(
    ("auth_endpoint", "named"),
    [
        ("https://your-domain.okta.com/oauth2/default/v1/authorize", "offline_access"),
        ("https://your-domain.auth0.com/authorize", "FMCP_OAUTH_AUDIENCE"),
        ("https://accounts.google.com/o/oauth2/v2/auth", "access_type=offline"),
        ("https://github.com/login/oauth/authorize", "GitHub App"),
    ],
)
async def test_c18_no_refresh_token_is_success_with_a_warning_that_says_what_to_do(
    auth_endpoint: str, named: str
) -> None:
    document = token_document(refresh_token=None)
    finished, run, _ = await log_in(lambda run: run.open(), answer=answering(JSONResponse(document)))
    assert finished is not None and len(finished.warnings) == 1
    assert run.stored[0].refresh_token is None
    answer = flow.TokenAnswer(access_token="a", expires_in=3600)
    provider = ProviderMetadata(issuer=None, authorization_endpoint=auth_endpoint)
    (warning,) = flow.finish_login(answer, run.settings, provider, now=NOW).warnings
    assert named in warning and "60 minutes" in warning


@pytest.mark.promise(56, 57)
async def test_no_answer_in_time_is_an_authentication_timeout() -> None:
    async def nothing(_run: Run) -> None:
        pass

    _, run, error = await log_in(nothing, timeout_seconds=0.1)
    assert error is not None
    assert isinstance(error, LoginError)
    assert error.what == "Authentication timeout"
    assert run.stored == []
    assert flow.LOGIN_TIMEOUT_SECONDS == 300


@pytest.mark.promise(63)
@pytest.mark.threat("C03")
async def test_c03_a_wrong_state_redeems_nothing_and_the_login_goes_on() -> None:
    async def act(run: Run) -> None:
        assert (await run.open(state="x" * 43)).status_code == 400
        assert (await run.open(state=None)).status_code == 400
        assert run.provider.token_requests == []
        assert (await run.open()).status_code == 200

    finished, run, _ = await log_in(act)
    assert finished is not None
    assert len(run.provider.token_requests) == 1


async def test_the_browser_is_told_when_the_provider_said_no() -> None:
    pages: list[httpx2.Response] = []

    async def act(run: Run) -> None:
        pages.append(await run.open(code=None, error="access_denied", error_description="<script>"))

    _, run, error = await log_in(act)
    assert isinstance(error, LoginError)
    assert pages[0].status_code == 400 and "access_denied" not in pages[0].text
    assert run.provider.token_requests == [] and run.stored == []


@pytest.mark.parametrize(
    ("error", "named"),
    [("invalid_client", "FMCP_OAUTH_CLIENT_SECRET"), ("invalid_request", "FMCP_OAUTH_CLIENT_SECRET")]
    + [("invalid_grant", "fluidmcp login"), ("server_error", "FMCP_OAUTH_TOKEN_ENDPOINT")],
)
async def test_a_refused_code_says_what_can_be_done(error: str, named: str) -> None:
    answer = JSONResponse({"error": error}, status_code=400)
    _, run, raised = await log_in(lambda run: run.open(), answer=answering(answer))
    assert isinstance(raised, ProviderAnswerError)
    assert named in raised.hint
    assert run.stored == []


@pytest.mark.promise(22)
async def test_the_address_can_be_pasted_instead() -> None:
    async def act(run: Run) -> None:
        good = await run.callback()
        for line in ("", "hello", "https://evil.example/?code=x", good.replace("state=", "state=x"), good):
            run.person.pasted_lines.put_nowait(line + "\n")

    finished, run, _ = await log_in(act)
    assert finished is not None
    assert len(run.said) == 3
    assert run.provider.token_requests[0]["code"] == "the-code"
