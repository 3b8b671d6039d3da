"""Each preset logs in and refreshes against answers in the shape that its provider documents.

What has to be sent stands here as the documentation has it, and not in the table that is tested.
"""

import base64
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from fluidmcp.config.entries import AuthBlock
from fluidmcp.config.providers.preset import Preset
from fluidmcp.config.providers.table import PRESETS
from fluidmcp.config.secret import Secret
from fluidmcp.oauth_client.revocation import give_tokens_back
from fluidmcp.oauth_client.token_endpoint import ProviderClient
from tests.entries import read_entry
from tests.providers.fault_making import query_of, unsigned_id_token
from tests.providers.login_gateway import Clock, LoginGateway
from tests.providers.replaying import Replay, replaying
from tests.providers.standing_in import StandInFetcher

CLIENT_ID = "our-client"
CLIENT_SECRET = "our-secret"
REDIRECT_URI = "http://localhost:8099/mine/auth/callback"
AS_JSON = {"Accept": "application/json"}
TENANT = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, kw_only=True)
class Wants:
    """What a provider documents of its requests; addresses without https://."""

    authorize: str
    token: str
    scope: str | None = None
    """The scopes of the preset, joined as the provider wants it; None: it takes none."""
    more: Mapping[str, str] = field(default_factory=dict[str, str])
    """Further parameters of the authorization request."""
    basic: bool = False
    json: bool = False
    pkce: bool = True
    refresh: str = ""
    """Where a refresh goes, where that is another address."""
    refresh_more: Mapping[str, str] = field(default_factory=dict[str, str])
    values: Mapping[str, str] = field(default_factory=dict[str, str])
    """What the operator gives."""


_OFFLINE = "openid profile email offline_access"
WANTS: Mapping[str, Wants] = {
    "airtable": Wants(
        authorize="airtable.com/oauth2/v1/authorize",
        token="airtable.com/oauth2/v1/token",
        scope="data.records:read schema.bases:read",
        basic=True,
    ),
    "asana": Wants(
        authorize="app.asana.com/-/oauth_authorize",
        token="app.asana.com/-/oauth_token",
        scope="users:read workspaces:read projects:read tasks:read",
    ),
    "atlassian": Wants(
        authorize="auth.atlassian.com/authorize",
        token="auth.atlassian.com/oauth/token",
        scope="read:me read:jira-work offline_access",
        more={"audience": "api.atlassian.com", "prompt": "consent"},
        json=True,
    ),
    "auth0": Wants(
        authorize="your-domain.auth0.com/authorize",
        token="your-domain.auth0.com/oauth/token",
        scope=_OFFLINE,
        values={"domain": "your-domain.auth0.com"},
    ),
    "authentik": Wants(
        authorize="auth.example.com/application/o/authorize/",
        token="auth.example.com/application/o/token/",
        scope=_OFFLINE,
        values={"host": "auth.example.com", "application": "fluidmcp"},
    ),
    "box": Wants(authorize="account.box.com/api/oauth2/authorize", token="api.box.com/oauth2/token"),
    "cognito": Wants(
        authorize="mine.auth.eu-west-1.amazoncognito.com/oauth2/authorize",
        token="mine.auth.eu-west-1.amazoncognito.com/oauth2/token",
        scope="openid email profile",
        basic=True,
        values={"domain": "mine.auth.eu-west-1.amazoncognito.com", "region": "eu-west-1", "pool": "eu-west-1_AbC"},
    ),
    "discord": Wants(authorize="discord.com/oauth2/authorize", token="discord.com/api/oauth2/token", scope="identify"),
    "dropbox": Wants(
        authorize="www.dropbox.com/oauth2/authorize",
        token="api.dropboxapi.com/oauth2/token",
        scope="account_info.read files.metadata.read files.content.read",
        more={"token_access_type": "offline"},
    ),
    "figma": Wants(
        authorize="www.figma.com/oauth",
        token="api.figma.com/v1/oauth/token",
        scope="current_user:read file_content:read",
        basic=True,
        refresh="api.figma.com/v1/oauth/refresh",
    ),
    "github": Wants(
        authorize="github.com/login/oauth/authorize", token="github.com/login/oauth/access_token", scope="read:user"
    ),
    "gitlab": Wants(
        authorize="gitlab.com/oauth/authorize",
        token="gitlab.com/oauth/token",
        scope="read_user",
        refresh_more={"redirect_uri": REDIRECT_URI},
    ),
    "google": Wants(
        authorize="accounts.google.com/o/oauth2/v2/auth",
        token="oauth2.googleapis.com/token",
        scope="openid email profile",
        more={"access_type": "offline", "prompt": "consent"},
    ),
    "hubspot": Wants(
        authorize="app.hubspot.com/oauth/authorize",
        token="api.hubapi.com/oauth/2026-03/token",
        scope="oauth crm.objects.contacts.read",
    ),
    "intercom": Wants(authorize="app.intercom.com/oauth", token="api.intercom.io/auth/eagle/token"),
    "keycloak": Wants(
        authorize="id.example.com/realms/staff/protocol/openid-connect/auth",
        token="id.example.com/realms/staff/protocol/openid-connect/token",
        scope="openid profile email",
        values={"host": "id.example.com", "realm": "staff"},
    ),
    "linear": Wants(authorize="linear.app/oauth/authorize", token="api.linear.app/oauth/token", scope="read"),
    "microsoft": Wants(
        authorize=f"login.microsoftonline.com/{TENANT}/oauth2/v2.0/authorize",
        token=f"login.microsoftonline.com/{TENANT}/oauth2/v2.0/token",
        scope="openid profile offline_access",
        values={"tenant": TENANT},
    ),
    "miro": Wants(authorize="miro.com/oauth/authorize", token="api.miro.com/v1/oauth/token"),
    "monday": Wants(
        authorize="auth.monday.com/oauth2/authorize",
        token="auth.monday.com/oauth_ms/oauth/token",
        scope="me:read boards:read",
        json=True,
    ),
    "notion": Wants(
        authorize="api.notion.com/v1/oauth/authorize",
        token="api.notion.com/v1/oauth/token",
        more={"owner": "user"},
        basic=True,
        json=True,
        pkce=False,
    ),
    "okta": Wants(
        authorize="your-domain.okta.com/oauth2/default/v1/authorize",
        token="your-domain.okta.com/oauth2/default/v1/token",
        scope=_OFFLINE,
        values={"domain": "your-domain.okta.com"},
    ),
    "salesforce": Wants(
        authorize="login.salesforce.com/services/oauth2/authorize",
        token="login.salesforce.com/services/oauth2/token",
        scope="api refresh_token openid",
    ),
    "sentry": Wants(
        authorize="sentry.io/oauth/authorize/",
        token="sentry.io/oauth/token/",
        scope="org:read project:read event:read",
    ),
    "slack": Wants(
        authorize="slack.com/oauth/v2_user/authorize",
        token="slack.com/api/oauth.v2.user.access",
        scope="channels:read,channels:history,users:read",
    ),
    "spotify": Wants(
        authorize="accounts.spotify.com/authorize",
        token="accounts.spotify.com/api/token",
        scope="user-read-private",
        basic=True,
    ),
    "stripe": Wants(
        authorize="connect.stripe.com/oauth/authorize", token="connect.stripe.com/oauth/token", scope="read_write"
    ),
    "todoist": Wants(
        authorize="app.todoist.com/oauth/authorize", token="api.todoist.com/oauth/access_token", scope="data:read"
    ),
    "zendesk": Wants(
        authorize="mine.zendesk.com/oauth/authorizations/new",
        token="mine.zendesk.com/oauth/tokens",
        scope="read",
        json=True,
        values={"subdomain": "mine"},
    ),
    "zitadel": Wants(
        authorize="id.example.com/oauth/v2/authorize",
        token="id.example.com/oauth/v2/token",
        scope=_OFFLINE,
        values={"host": "id.example.com"},
    ),
    "zoom": Wants(authorize="zoom.us/oauth/authorize", token="zoom.us/oauth/token", basic=True),
}


PERSONS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "atlassian": ("GET /api.atlassian.com/me", {"account_id": "person-1"}),
    "github": (
        f"POST /api.github.com/applications/{CLIENT_ID}/token",
        {"id": 1, "app": {"client_id": CLIENT_ID}, "user": {"id": 9}, "scopes": ["read:user"]},
    ),
    "gitlab": (
        "GET /gitlab.com/oauth/token/info",
        {"application": {"uid": CLIENT_ID}, "resource_owner_id": 7, "scope": ["read_user"], "expires_in": 7200},
    ),
    "slack": ("POST /slack.com/api/auth.test", {"ok": True, "team_id": "T", "user_id": "U"}),
}
"""Where a provider that sends no ID token says whose its token is, and what it says."""


def read_block(provider: str, **more: object) -> AuthBlock:
    auth = {"provider": provider, "env_var_name": "MY_TOKEN", **more}
    entry = read_entry("mine", {"command": "x", "auth": auth})
    assert isinstance(entry.auth, AuthBlock)
    return entry.auth


@asynccontextmanager
async def gateway_before(replay: Replay, block: AuthBlock) -> AsyncGenerator[LoginGateway]:
    environ = {name: CLIENT_ID for name in [block.client_id_env] if name}
    environ |= {name: CLIENT_SECRET for name in [block.client_secret_env] if name}
    fetcher = StandInFetcher(replay.address)
    try:
        yield LoginGateway({"mine": block}, fetcher=fetcher, environ=environ)
    finally:
        await fetcher.aclose()


def documented_answer(preset: Preset, members: tuple[tuple[str, object], ...], block: AuthBlock) -> dict[str, Any]:
    """The documented answer, with an ID token of the person in place of the one of the example."""
    answer = dict(members)
    if "id_token" in answer:
        issuer = block.issuer or f"https://{preset.name}.example"
        answer["id_token"] = unsigned_id_token(iss=issuer, sub="person-1", aud=CLIENT_ID, exp=Clock().time + 600)
    return answer


def read_request(request: tuple[str, dict[str, str], str], wants: Wants) -> dict[str, str]:
    """What a client sent to a token endpoint, after the checks of its form and of our authentication."""
    _, headers, body = request
    if wants.json:
        assert headers["content-type"] == "application/json"
        sent: dict[str, str] = json.loads(body)
    else:
        assert headers["content-type"] == "application/x-www-form-urlencoded"
        sent = {name: values[0] for name, values in parse_qs(body, strict_parsing=True).items()}
    assert headers["accept"] == "application/json"
    if wants.basic:
        pair = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        assert headers["authorization"] == f"Basic {pair}"
        assert not {"client_id", "client_secret"} & sent.keys()
    else:
        assert "authorization" not in headers
        assert (sent.pop("client_id"), sent.pop("client_secret")) == (CLIENT_ID, CLIENT_SECRET)
    return sent


def requests_to(replay: Replay, address: str) -> list[tuple[str, dict[str, str], str]]:
    return [request for request in replay.requests if request[0] == f"POST /{address}"]


def test_each_preset_is_replayed():
    assert WANTS.keys() == PRESETS.keys()
    assert len(PRESETS) >= 25


@pytest.mark.parametrize("name", sorted(PRESETS))
async def test_a_login_and_a_refresh_send_what_the_provider_documents(name: str):
    preset, wants = PRESETS[name], WANTS[name]
    block = read_block(name, **wants.values)
    async with replaying() as replay, gateway_before(replay, block) as gateway, gateway.browser() as browser:
        replay.answer(f"POST /{wants.token}", documented_answer(preset, preset.answer, block))
        if name in PERSONS:
            replay.answer(*PERSONS[name])
        opened = await browser.get("/mine/auth/login")
        location = urlsplit(opened.headers["location"])
        assert (location.scheme, location.netloc + location.path) == ("https", wants.authorize)
        asked = query_of(opened.headers["location"])
        challenge = {"code_challenge", "code_challenge_method"} if wants.pkce else set[str]()
        assert asked.keys() - {"scope"} == {
            *("response_type", "client_id", "redirect_uri", "state"),
            *challenge,
            *wants.more,
        }
        assert asked.items() >= wants.more.items()
        assert (asked["client_id"], asked["redirect_uri"]) == (CLIENT_ID, REDIRECT_URI)
        assert asked.get("scope") == wants.scope

        came_back = await browser.get(
            "/mine/auth/callback", params={"code": "the-code", "state": asked["state"]}, headers=AS_JSON
        )
        assert came_back.status_code == 200, came_back.text
        (request,) = requests_to(replay, wants.token)
        sent = read_request(request, wants)
        assert (sent.pop("code_verifier", None) is not None) is wants.pkce
        assert sent == {"grant_type": "authorization_code", "code": "the-code", "redirect_uri": REDIRECT_URI}
        data = came_back.json()["token_data"]
        documented = dict(preset.answer)
        assert data["access_token"] == "AT"
        assert data["token_type"] == "Bearer"
        assert data["expires_in"] == documented.get("expires_in")
        assert data["refresh_token"] == documented.get("refresh_token")

        if preset.renewed:
            replay.requests.clear()
            address = wants.refresh or wants.token
            replay.answer(f"POST /{address}", documented_answer(preset, preset.renewed, block))
            renewed = await browser.post("/mine/auth/refresh", json={"refresh_token": "RT"})
            assert renewed.status_code == 200, renewed.text
            (request,) = requests_to(replay, address)
            assert read_request(request, wants) == {
                "grant_type": "refresh_token",
                "refresh_token": "RT",
                **wants.refresh_more,
            }
            data = renewed.json()["token_data"]
            assert data["access_token"] == "AT2"
            assert data["refresh_token"] == dict(preset.renewed).get("refresh_token", "RT")


async def test_tokens_of_a_self_managed_gitlab_are_checked_there():
    block = read_block("gitlab", host="git.example.com")
    async with replaying() as replay, gateway_before(replay, block) as gateway:
        info = {"application": {"uid": CLIENT_ID}, "resource_owner_id": 7, "scope": ["read_user"], "expires_in": 7200}
        replay.answer("GET /git.example.com/oauth/token/info", info)
        principal = await gateway.auths["mine"].authenticate("AT")
        assert (principal.issuer, principal.subject) == ("https://git.example.com", "7")


async def test_tokens_of_a_github_enterprise_are_checked_there():
    block = read_block("github", host="git.example.com")
    async with replaying() as replay, gateway_before(replay, block) as gateway:
        document = {"id": 1, "app": {"client_id": CLIENT_ID}, "user": {"id": 9}, "scopes": ["repo"]}
        replay.answer(f"POST /git.example.com/api/v3/applications/{CLIENT_ID}/token", document)
        principal = await gateway.auths["mine"].authenticate("AT")
        assert (principal.issuer, principal.subject) == ("https://git.example.com", "9")


async def test_two_scopes_are_joined_by_a_comma_where_the_provider_wants_it():
    for name in ("linear", "slack", "todoist"):
        block = read_block(name, scopes=["one:read", "two:read"])
        async with replaying() as replay, gateway_before(replay, block) as gateway, gateway.browser() as browser:
            opened = await browser.get("/mine/auth/login")
            assert query_of(opened.headers["location"])["scope"] == "one:read,two:read", name


async def test_a_token_goes_back_to_a_provider_that_wants_json_as_json_and_without_what_it_does_not_know():
    async with replaying() as replay:
        replay.answer("POST /api.notion.com/v1/oauth/revoke", {"request_id": "r"})
        block = read_block("notion")
        assert block.revocation_url is not None
        client = ProviderClient(
            client_id=CLIENT_ID, client_secret=Secret(CLIENT_SECRET), auth_method="basic", sends_json=True
        )
        fetcher = StandInFetcher(replay.address)
        await give_tokens_back(block.revocation_url, client, access_token="AT", refresh_token=None, fetcher=fetcher)
        await fetcher.aclose()
        ((_, headers, body),) = replay.requests
        assert json.loads(body) == {"token": "AT"}
        assert headers["authorization"].startswith("Basic ")
