"""Google, GitHub, GitLab, Slack, Atlassian: replay-tested against answers as their documentation shows them."""

import json
from typing import Any

import pytest
from starlette.responses import JSONResponse, PlainTextResponse, Response

from fluidmcp.authentication.principal import Principal
from fluidmcp.authentication.verifiers.cached import TokenCheck, TokenRefusedError
from fluidmcp.authentication.verifiers.github import GitHubCheck
from fluidmcp.authentication.verifiers.gitlab import GitLabCheck
from fluidmcp.authentication.verifiers.google import GoogleCheck
from fluidmcp.authentication.verifiers.userinfo import UserinfoCheck
from fluidmcp.config.known_providers import UserinfoEndpoint
from fluidmcp.config.secret import Secret
from fluidmcp.errors import ProviderUnavailableError
from tests.providers.login_gateway import Clock
from tests.providers.replaying import Replay, replaying

NOW = Clock().time
GOOGLE_CLIENT = "1234.apps.googleusercontent.com"


def google(replay: Replay, *, wants_domain: bool = False) -> GoogleCheck:
    return GoogleCheck(
        client_id=GOOGLE_CLIENT,
        wants_domain=wants_domain,
        fetcher=replay.fetcher,
        now=Clock(),
        tokeninfo_url=f"{replay.address}/tokeninfo",
        userinfo_url=f"{replay.address}/v1/userinfo",
    )


def github(replay: Replay) -> GitHubCheck:
    secret = Secret("gh-secret")
    return GitHubCheck(
        client_id="Iv1.abc", client_secret=secret, fetcher=replay.fetcher, now=Clock(), api_url=replay.address
    )


def gitlab(replay: Replay) -> GitLabCheck:
    return GitLabCheck(instance_url=replay.address, client_id="lab-app", fetcher=replay.fetcher, now=Clock())


def tokeninfo(**changes: Any) -> dict[str, Any]:
    """Google's answer; numbers and booleans are texts in it."""
    info = {
        "azp": GOOGLE_CLIENT,
        "aud": GOOGLE_CLIENT,
        "sub": "110169484474386276334",
        "scope": "openid https://www.googleapis.com/auth/userinfo.email",
        "exp": str(int(NOW) + 3000),
        "expires_in": "3000",
        "email": "alice@corp.com",
        "email_verified": "true",
        "access_type": "online",
        **changes,
    }
    return {name: value for name, value in info.items() if value is not None}


def github_answer(**changes: Any) -> dict[str, Any]:
    return {
        "id": 1,
        "url": "https://api.github.com/authorizations/1",
        "scopes": ["public_repo", "user"],
        "token": "gho_x",
        "app": {"name": "our app", "url": "https://example.com", "client_id": "Iv1.abc"},
        "expires_at": None,
        "user": {"login": "octocat", "id": 583231, "type": "User"},
        **changes,
    }


def gitlab_answer(**changes: Any) -> dict[str, Any]:
    return {
        "resource_owner_id": 7,
        "scope": ["api", "read_user"],
        "expires_in": 7200,
        "application": {"uid": "lab-app"},
        "created_at": int(NOW),
        **changes,
    }


async def refused(check: TokenCheck) -> str:
    with pytest.raises(TokenRefusedError) as caught:
        await check.check("token", "digest")
    return caught.value.why


async def test_google_vouches_for_tokens_of_our_client_id() -> None:
    async with replaying() as replay:
        replay.answer("GET /tokeninfo", tokeninfo())
        principal = await google(replay).check("ya29.token", "digest")
    assert principal == Principal(
        issuer="https://accounts.google.com",
        subject="110169484474386276334",
        client_id=GOOGLE_CLIENT,
        token_digest="digest",
        scopes=frozenset({"openid", "https://www.googleapis.com/auth/userinfo.email"}),
        expires_at=float(int(NOW) + 3000),
        email="alice@corp.com",
    )
    # The token is in a header, never in an address.
    ((request, headers, _body),) = replay.requests
    assert request == "GET /tokeninfo"
    assert headers["authorization"] == "Bearer ya29.token"


@pytest.mark.threat("V13", "D08")
async def test_v13_a_google_token_of_another_app_is_refused() -> None:
    async with replaying() as replay:
        for changes in (
            {"aud": "other", "azp": "other"},
            {"aud": None, "azp": None},
            {"aud": [GOOGLE_CLIENT], "azp": None},
            {"aud": f"{GOOGLE_CLIENT}2", "azp": None},
            {"exp": str(int(NOW) - 1)},
        ):
            replay.answer("GET /tokeninfo", tokeninfo(**changes))
            await refused(google(replay))
        replay.answer("GET /tokeninfo", tokeninfo(aud="android", azp=GOOGLE_CLIENT))
        assert await google(replay).check("token", "digest")
        replay.answer("GET /tokeninfo", {"error": "invalid_token", "error_description": "Invalid Value"}, 400)
        await refused(google(replay))


@pytest.mark.threat("V18")
async def test_v18_at_google_an_organisation_is_what_userinfo_calls_the_hosted_domain() -> None:
    async with replaying() as replay:
        replay.answer("GET /tokeninfo", tokeninfo())
        person = {"sub": "110169484474386276334", "email": "alice@corp.com", "email_verified": True}
        for document, domain in (
            ({**person, "hd": "corp.com"}, "corp.com"),
            (person, None),
            ({**person, "hd": "corp.com", "email_verified": False}, None),
            ({**person, "hd": "corp.com", "sub": "somebody else"}, None),
        ):
            replay.answer("GET /v1/userinfo", document)
            assert (await google(replay, wants_domain=True).check("token", "digest")).email_domain == domain
        replay.answer("GET /tokeninfo", tokeninfo(email="a@gmail.com"))
        assert (await google(replay).check("token", "digest")).email_domain == "gmail.com"
        replay.answer("GET /tokeninfo", tokeninfo(email="a@gmail.com", email_verified="false"))
        assert (await google(replay).check("token", "digest")).email_domain is None


async def test_github_vouches_for_tokens_of_our_app() -> None:
    async with replaying() as replay:
        replay.answer("POST /applications/Iv1.abc/token", github_answer())
        principal = await github(replay).check("gho_token", "digest")
    # The number of the account, not the login name, which can change hands.
    assert (principal.issuer, principal.subject) == ("https://github.com", "583231")
    assert principal.scopes == {"public_repo", "user"}
    ((_request, headers, body),) = replay.requests
    assert headers["authorization"] == "Basic SXYxLmFiYzpnaC1zZWNyZXQ="
    assert json.loads(body) == {"access_token": "gho_token"}


@pytest.mark.threat("V13", "D08")
async def test_v13_a_github_token_of_another_app_or_a_personal_one_is_refused() -> None:
    async with replaying() as replay:
        for status in (404, 422):
            replay.answer("POST /applications/Iv1.abc/token", {"message": "Not Found"}, status)
            await refused(github(replay))
        replay.answer("POST /applications/Iv1.abc/token", github_answer(app={"client_id": "Iv1.other"}))
        await refused(github(replay))
        replay.answer("POST /applications/Iv1.abc/token", github_answer(expires_at="2020-01-01T00:00:00Z"))
        await refused(github(replay))


async def test_our_own_wrong_secret_at_github_is_no_fault_of_the_token() -> None:
    async with replaying() as replay:
        replay.answer("POST /applications/Iv1.abc/token", {"message": "Bad credentials"}, 401)
        with pytest.raises(ProviderUnavailableError) as caught:
            await github(replay).check("gho_token", "digest")
        assert "client id and secret" in caught.value.why
        assert "gh-secret" not in f"{caught.value.why} {caught.value.hint}"


async def test_gitlab_vouches_for_tokens_of_our_application() -> None:
    async with replaying() as replay:
        replay.answer("GET /oauth/token/info", gitlab_answer())
        principal = await gitlab(replay).check("token", "digest")
        assert (principal.subject, principal.scopes) == ("7", {"api", "read_user"})
        assert principal.expires_at == NOW + 7200
        for changes in ({"application": {"uid": "other"}}, {"application": None}, {"expires_in": 0}):
            replay.answer("GET /oauth/token/info", gitlab_answer(**changes))
            await refused(gitlab(replay))


async def test_slack_names_a_user_of_a_workspace() -> None:
    async with replaying() as replay:
        endpoint = UserinfoEndpoint(url=f"{replay.address}/api/auth.test", dialect="slack")
        check = UserinfoCheck(endpoint=endpoint, issuer="https://slack.com", fetcher=replay.fetcher)
        answer = {"ok": True, "team": "Us", "user": "alice", "team_id": "T1", "user_id": "U1"}
        replay.answer("POST /api/auth.test", answer)
        assert (await check.check("xoxp-1", "digest")).subject == "T1.U1"
        # HTTP 200 says nothing at Slack.
        replay.answer("POST /api/auth.test", {"ok": False, "error": "invalid_auth"})
        await refused(check)
        for broken in ({"ok": False, "error": "ratelimited"}, {"ok": "true"}, {"ok": True, "team_id": "T1"}):
            replay.answer("POST /api/auth.test", broken)
            with pytest.raises(ProviderUnavailableError):
                await check.check("xoxp-1", "digest")


async def test_atlassian_names_an_account() -> None:
    async with replaying() as replay:
        endpoint = UserinfoEndpoint(url=f"{replay.address}/me", dialect="atlassian")
        check = UserinfoCheck(endpoint=endpoint, issuer="https://auth.atlassian.com", fetcher=replay.fetcher)
        replay.answer("GET /me", {"account_id": "557058:1", "email": "alice@corp.com", "account_type": "atlassian"})
        principal = await check.check("token", "digest")
        assert (principal.subject, principal.email_domain) == ("557058:1", None)
        replay.answer("GET /me", {"code": 401}, 401)
        await refused(check)


async def test_userinfo_names_a_person_and_nothing_else() -> None:
    async with replaying() as replay:
        endpoint = UserinfoEndpoint(url=f"{replay.address}/userinfo")
        check = UserinfoCheck(endpoint=endpoint, issuer="https://x.auth0.com/", fetcher=replay.fetcher)
        replay.answer("GET /userinfo", {"sub": "auth0|1", "email": "a@corp.com", "email_verified": True})
        principal = await check.check("token", "digest")
        assert (principal.subject, principal.email_domain) == ("auth0|1", "corp.com")
        assert (principal.client_id, principal.scopes, principal.expires_at) == ("", frozenset(), None)
        for status in (400, 401, 403):
            replay.answer("GET /userinfo", {}, status)
            await refused(check)


@pytest.mark.threat("V14")
@pytest.mark.parametrize(
    "response",
    [
        JSONResponse({}, status_code=500),
        JSONResponse({}, status_code=429),
        PlainTextResponse("<html>"),
        PlainTextResponse("eyJhbGciOiJub25lIn0.e30.", media_type="application/jwt"),
        JSONResponse([]),
        JSONResponse({"sub": "", "aud": GOOGLE_CLIENT, "application": {"uid": "lab-app"}, "expires_in": "soon"}),
    ],
)
async def test_v14_answers_that_make_no_sense_let_nobody_through(response: Response) -> None:
    async with replaying() as replay:
        checks: list[TokenCheck] = [
            google(replay),
            github(replay),
            gitlab(replay),
            UserinfoCheck(
                endpoint=UserinfoEndpoint(url=f"{replay.address}/userinfo"), issuer="i", fetcher=replay.fetcher
            ),
        ]
        names = ["GET /tokeninfo", "POST /applications/Iv1.abc/token", "GET /oauth/token/info", "GET /userinfo"]
        replay.answers = dict.fromkeys(names, response)
        for check in checks:
            with pytest.raises(ProviderUnavailableError):
                await check.check("token", "digest")
