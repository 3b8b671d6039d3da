"""`fluidmcp doctor PACKAGE`: what it finds at a real provider, and at one that stands in for those of presets."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from fluidmcp.cli.doctor.checks import Finding
from fluidmcp.cli.doctor.package import find_package_problems, judge_login_page
from fluidmcp.cli.main import EXIT_USAGE, run_commands
from fluidmcp.oauth_client.fetch import FetchAnswer, Fetcher
from tests.entries import read_entry
from tests.providers.oidc import CLIENT_ID, CLIENT_SECRET, OidcProvider, running_oidc_provider
from tests.providers.replaying import Replay, replaying
from tests.providers.serving import serve
from tests.providers.standing_in import StandInFetcher

LIMIT_SECONDS = 60.0
PUBLIC_URL = "http://localhost:8099"
REDIRECT_URI = f"{PUBLIC_URL}/mail/auth/callback"
LOCAL = {
    "type": "oauth2",
    "flow": "pkce",
    "authorization_url": "http://localhost:1/a",
    "token_url": "http://localhost:1/t",
    "client_id_env": "NOT_SET_CLIENT_ID",
}
NOTION = {"NOTION_CLIENT_ID": "our-client", "NOTION_CLIENT_SECRET": "our-secret"}


@pytest.fixture(autouse=True)
def logging_as_before() -> Generator[None]:
    """The command sets up logging for its own process, which here is that of all other tests too."""
    root = logging.getLogger()
    level = root.level
    yield
    root.setLevel(level)
    for handler in root.handlers[:]:
        if type(handler) is logging.StreamHandler:  # pyright: ignore[reportUnknownArgumentType]
            root.removeHandler(handler)  # pyright: ignore[reportUnknownArgumentType]


@pytest.fixture(scope="module")
def oidc_provider() -> Iterator[OidcProvider]:
    with running_oidc_provider() as provider:
        yield provider


async def examine(
    auth: dict[str, object], environ: dict[str, str], fetcher: Fetcher, *, public_url: str = PUBLIC_URL
) -> dict[str, Finding]:
    entry = read_entry("mail", {"command": "x", "auth": {"env_var_name": "MY_TOKEN", **auth}})
    async with asyncio.timeout(LIMIT_SECONDS):
        found = [f async for f in find_package_problems(entry, environ, public_url=public_url, fetcher=fetcher)]
    assert all(finding.hint for finding in found if finding.level != "ok")
    return {finding.subject: finding for finding in found}


@asynccontextmanager
async def standing_in() -> AsyncGenerator[tuple[Replay, StandInFetcher]]:
    async with replaying() as replay:
        fetcher = StandInFetcher(replay.address)
        try:
            yield replay, fetcher
        finally:
            await fetcher.aclose()


@pytest.mark.needs("node", "oidc-provider")
async def test_a_real_provider_knows_the_client_of_a_package_that_is_set_up(oidc_provider: OidcProvider):
    auth: dict[str, object] = {
        "type": "oauth2",
        "flow": "pkce",
        "authorization_url": oidc_provider.authorization_url,
        "token_url": oidc_provider.token_url,
        "issuer": oidc_provider.issuer,
        "scopes": ["openid", "mail.read"],
        "client_id_env": "MAIL_CLIENT_ID",
        "client_secret_env": "MAIL_CLIENT_SECRET",
    }
    environ = {"MAIL_CLIENT_ID": CLIENT_ID, "MAIL_CLIENT_SECRET": CLIENT_SECRET}
    fetcher = Fetcher()
    try:
        found = await examine(auth, environ, fetcher)
        assert {subject: finding.level for subject, finding in found.items() if finding.level != "ok"} == {}
        assert found["authorization endpoint"].text == "answers, and knows client id, redirect URI and scopes"
        assert found["discovery"].text.endswith("names the same endpoints")
        other = await examine(auth, environ, fetcher, public_url="http://localhost:8123")
        assert other["authorization endpoint"].level == "problem"
        strange = await examine({**auth, "scopes": ["strange"]}, environ, fetcher)
        assert strange["scopes"].level == "warning" and "strange" in strange["scopes"].text
    finally:
        await fetcher.aclose()


async def test_a_package_of_a_preset_is_asked_about_without_any_credential():
    async with standing_in() as (replay, fetcher):
        replay.answers["GET /api.notion.com/v1/oauth/authorize"] = RedirectResponse("https://www.notion.so/login")
        replay.answer("POST /api.notion.com/v1/oauth/token", {"error": "invalid_client"}, 401)
        found = await examine({"provider": "notion"}, NOTION, fetcher)
        assert {finding.level for finding in found.values()} == {"ok"}
        assert found["client"].text == "client id and client secret are set"
        assert REDIRECT_URI in found["redirect URI"].text
        assert found["token answer"].text.startswith("holds access_token, ")
        assert any(detail.startswith("Refresh token: ") for detail in found["token answer"].details)
        assert json.loads(replay.requests[-1][2]) == {"grant_type": "authorization_code"}
        assert all("our-secret" not in f"{request}" for request in replay.requests)
        assert all("authorization" not in headers for _, headers, _ in replay.requests)


async def test_what_is_missing_is_named():
    async with standing_in() as (_, fetcher):
        found = await examine({"provider": "zoom"}, {}, fetcher)
        assert found["client"].text == "not set: ZOOM_CLIENT_ID and ZOOM_CLIENT_SECRET"
        assert "is not https, which Zoom wants" in found["redirect URI"].text
        assert "authorization endpoint" not in found
        found = await examine({"provider": "github"}, {"GITHUB_CLIENT_ID": "c"}, fetcher)
        assert found["client"].text == "not set: GITHUB_CLIENT_SECRET; GitHub wants a client secret"
        found = await examine({"provider": "linear"}, {"LINEAR_CLIENT_ID": "c"}, fetcher)
        assert found["client"].level == "ok"


async def test_an_issuer_that_names_other_endpoints_is_told():
    async with standing_in() as (replay, fetcher):
        issuer = "https://id.example.com/realms/staff"
        document = {
            "issuer": issuer,
            "authorization_endpoint": f"{issuer}/protocol/openid-connect/auth",
            "token_endpoint": f"{issuer}/another",
        }
        replay.answer("GET /id.example.com/realms/staff/.well-known/openid-configuration", document)
        auth: dict[str, object] = {"provider": "keycloak", "host": "id.example.com", "realm": "staff"}
        found = await examine(auth, {"KEYCLOAK_CLIENT_ID": "c"}, fetcher)
        assert found["discovery"].level == "warning"
        assert found["discovery"].text.endswith("names another token_url")
        replay.answer("GET /id.example.com/realms/staff/.well-known/openid-configuration", {"issuer": "https://x"})
        found = await examine(auth, {"KEYCLOAK_CLIENT_ID": "c"}, fetcher)
        assert (found["discovery"].level, found["discovery"].hint) == ("warning", "Check issuer.")


@pytest.mark.parametrize(
    ("status", "location", "level", "text"),
    [
        (302, f"{REDIRECT_URI}?error=login_required", "ok", "knows client id, redirect URI and scopes"),
        (302, f"{REDIRECT_URI}?error=invalid_scope", "problem", "refuses the login request: invalid_scope"),
        (302, f"{REDIRECT_URI}.evil.example?error=x", "ok", "shows at the login"),
        (200, "", "ok", "shows at the login"),
        (400, "", "problem", "HTTP 400"),
        (403, "", "warning", "HTTP 403"),
        (500, "", "problem", "HTTP 500"),
    ],
)
def test_the_answer_to_a_silent_login_is_read(status: int, location: str, level: str, text: str):
    answer = FetchAnswer(status=status, media_type="", body=b"", location=location)
    finding = judge_login_page(answer, REDIRECT_URI)
    assert (finding.level, text in finding.text) == (level, True)


def test_what_is_compared_with_the_provider_is_named():
    answer = FetchAnswer(status=302, media_type="", body=b"", location=f"{REDIRECT_URI}?error=odd")
    assert "fluidmcp providers github" in judge_login_page(answer, REDIRECT_URI, provider="github").hint
    assert "fluidmcp providers" not in judge_login_page(answer, REDIRECT_URI).hint


def test_the_command_reads_files_and_packages(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    servers = {"open": {"command": "sh"}, "bad": {"command": "sh", "auth": {"provider": "githb", "env_var_name": "T"}}}
    file = tmp_path / "servers.json"
    file.write_text(json.dumps({"mcpServers": servers}), encoding="utf-8")
    assert run_commands(["doctor", str(file)]) == 1
    printed = capsys.readouterr()
    assert "open has no auth block" in printed.out
    assert "1 problem found." in printed.out
    assert "provider names no preset" in printed.out
    assert run_commands(["doctor", "no-such-package"]) == EXIT_USAGE
    assert run_commands(["doctor", str(file), "--token"]) == EXIT_USAGE
    assert "leave PACKAGE out" in capsys.readouterr().err


def test_the_command_reads_what_run_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run_commands(["doctor", "npm:not-there"]) == EXIT_USAGE
    assert "fluidmcp install npm:not-there" in capsys.readouterr().err
    assert run_commands(["doctor", "no-such.mcpb"]) == EXIT_USAGE
    assert "is not a package" not in capsys.readouterr().err
    inputs = [{"id": "key", "type": "promptString"}]
    servers = {
        "asks": {"command": "sh", "env": {"KEY": "${input:key}"}},
        "brings": {"package": "npm:not-there", "auth": {"provider": "github", "env_var_name": "T"}},
    }
    file = tmp_path / "servers.json"
    file.write_text(json.dumps({"mcpServers": servers, "inputs": inputs}), encoding="utf-8")
    assert run_commands(["doctor", str(file)]) == 1
    printed = capsys.readouterr().out
    assert "asks has no auth block" in printed
    assert "fluidmcp install npm:not-there" in printed


def test_where_nothing_runs_there_is_nothing_to_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "servers.json"
    file.write_text(json.dumps({"mcpServers": {"off": {"command": "sh", "disabled": True}}}), encoding="utf-8")
    assert run_commands(["doctor", str(file)]) == EXIT_USAGE
    assert "Disabled in the file: off." in capsys.readouterr().err


def test_a_server_that_cannot_be_started_is_a_problem_also_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    servers = {
        "gone": {"command": "no-such-program"},
        "lacks": {"command": "sh", "env": {"KEY": {"value": "", "required": True}}},
        "good": {"command": "sh"},
    }
    file = tmp_path / "servers.json"
    file.write_text(json.dumps({"mcpServers": servers}), encoding="utf-8")
    assert run_commands(["doctor", str(file)]) == 1
    printed = capsys.readouterr().out
    assert "problem  server: The command of gone is not found: no-such-program" in printed
    assert printed.endswith("2 problems found.\n")
    assert run_commands(["doctor", str(file), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert not told["ok"]
    found = {one["package"]: one for one in told["findings"] if one["subject"] == "server"}
    assert {name: one["level"] for name, one in found.items()} == {"gone": "problem", "lacks": "problem", "good": "ok"}
    assert "KEY" in found["lacks"]["cause"] and found["gone"]["remedy"].startswith("Install it, or correct")


def test_the_redirect_uri_is_that_of_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MCP_CLIENT_SERVER_ALL_PORT", "8321")
    auth = LOCAL | {"env_var_name": "T"}
    file = tmp_path / "servers.json"
    file.write_text(json.dumps({"mcpServers": {"mail": {"command": "sh", "auth": auth}}}), encoding="utf-8")
    assert run_commands(["doctor", str(file)]) == 1
    assert "register http://localhost:8321/mail/auth/callback" in capsys.readouterr().out


def test_it_reaches_what_a_gateway_would_reach(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("FMCP_ALLOW_PRIVATE_PROVIDERS", raising=False)
    auth = LOCAL | {"env_var_name": "T", "token_url": "https://10.255.255.1/token"}
    file = tmp_path / "servers.json"
    file.write_text(json.dumps({"mcpServers": {"mail": {"command": "sh", "auth": auth}}}), encoding="utf-8")
    assert run_commands(["doctor", str(file)]) == 1
    assert "FMCP_ALLOW_PRIVATE_PROVIDERS" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("status", "level", "text"),
    [
        (401, "ok", "refuses who has no key"),
        (400, "ok", "refuses who has no key"),
        (200, "problem", "answers 200 without any key, so that every key would be good"),
        (404, "warning", "answers 404 without a key, as if there were no such address: every key would be refused"),
        (503, "warning", "answers 503: keys cannot be checked now"),
        (302, "problem", "The provider answered with a redirect"),
    ],
)
async def test_the_address_that_is_asked_about_keys_has_to_refuse_who_has_none(
    status: int, level: str, text: str
) -> None:
    asked: list[str | None] = []

    def answer(request: Request) -> Response:
        asked.append(request.headers.get("x-key"))
        return Response(status_code=status, headers={"location": "https://elsewhere.example/"})

    fetcher = Fetcher()
    async with serve(Starlette(routes=[Route("/validate", answer)])) as address:
        verify = {"url": f"{address}/validate", "headers": {"X-Key": "${keys.api_key}"}}
        auth: dict[str, object] = {"type": "keys", "keys": {"api_key": {}}, "verify": verify}
        entry = read_entry("mail", {"command": "sh", "env": {"A": "${keys.api_key}"}, "auth": auth})
        found = [one async for one in find_package_problems(entry, {}, public_url=PUBLIC_URL, fetcher=fetcher)]
    await fetcher.aclose()
    finding = found[-1]
    assert (finding.subject, finding.level, asked) == ("verify", level, [None])
    assert text in finding.text and bool(finding.hint) is (level != "ok")
