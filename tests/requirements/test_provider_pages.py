"""The pages about providers: what they tell to export, to write and to expect is what the code does with it."""

import json
import re
import shlex
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fluidmcp.config.environment import list_variables
from fluidmcp.config.oauth import DEFAULT_SCOPE, OAUTH_VARIABLES, load_oauth_settings, missing_for_login
from fluidmcp.errors import ConfigurationError
from fluidmcp.guards.gateway_auth import OPERATOR_ISSUER, GatewayAuth
from fluidmcp.oauth_client.discovery import configured_provider, find_provider
from fluidmcp.oauth_client.pkce import code_challenge_s256
from fluidmcp.oauth_client.token_endpoint import authorization_code_grant, request_token
from fluidmcp.operator.browser_flow import build_request, finish_login
from fluidmcp.operator.operator_token import OperatorToken, build_client
from fluidmcp.operator.token_file import TokenFile
from tests.entries import read_entry
from tests.providers.fault_making import query_of
from tests.providers.replayed import DOCUMENTS, ReplayFetcher

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "providers"
PAGES = sorted(path for path in FOLDER.glob("*.md") if path.name not in ("README.md", "presets.md"))
NOW = 1_800_000_000.0
HEADINGS = (
    *("At the provider", "Just you", "Others, too", "Why the defaults alone are not enough", "A package's login"),
    *("When it fails", "Not tried"),
)

# The examples of the guide, letter by letter: three variables and nothing else.
GUIDE = {
    "Auth0": """
export FMCP_OAUTH_AUTH_ENDPOINT="https://your-domain.auth0.com/authorize"
export FMCP_OAUTH_TOKEN_ENDPOINT="https://your-domain.auth0.com/oauth/token"
export FMCP_OAUTH_CLIENT_ID="your_client_id"
""",
    "Okta": """
export FMCP_OAUTH_AUTH_ENDPOINT="https://your-domain.okta.com/oauth2/default/v1/authorize"
export FMCP_OAUTH_TOKEN_ENDPOINT="https://your-domain.okta.com/oauth2/default/v1/token"
export FMCP_OAUTH_CLIENT_ID="your_client_id"
""",
    "Azure AD": """
export FMCP_OAUTH_AUTH_ENDPOINT="https://login.microsoftonline.com/your-tenant-id/oauth2/v2.0/authorize"
export FMCP_OAUTH_TOKEN_ENDPOINT="https://login.microsoftonline.com/your-tenant-id/oauth2/v2.0/token"
export FMCP_OAUTH_CLIENT_ID="your_client_id"
""",
    "Google": """
export FMCP_OAUTH_AUTH_ENDPOINT="https://accounts.google.com/o/oauth2/v2/auth"
export FMCP_OAUTH_TOKEN_ENDPOINT="https://oauth2.googleapis.com/token"
export FMCP_OAUTH_CLIENT_ID="your_client_id"
""",
}
PARAMETERS_OF_THE_PROTOCOL = {
    *("response_type", "client_id", "redirect_uri", "scope", "state", "code_challenge", "code_challenge_method"),
}


def read_exports(block: str) -> dict[str, str]:
    """The variables of a block of `export` lines, as a shell reads them."""
    words = [shlex.split(line) for line in block.splitlines() if line.strip()]
    assert all(len(line) == 2 and line[0] == "export" for line in words), block
    return dict(line[1].split("=", 1) for line in words)


def setups(page: Path) -> list[tuple[str, dict[str, str], str, list[str]]]:
    """Heading, variables, verifier and start output of each set-up of a page."""
    pattern = r"^## ([^\n]+)\n(?:(?!^## )[^\n]*\n)*?```bash\n(export .*?)```\n\nVerifier: `(\w+)`\n\n```text\n(.*?)```"
    found = re.findall(pattern, page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [(title, read_exports(block), verifier, lines.splitlines()) for title, block, verifier, lines in found]


@asynccontextmanager
async def guard_for(environ: dict[str, str], home: Path, *, is_exposed: bool = False) -> AsyncGenerator[GatewayAuth]:
    """The guard of `run --oauth` for these variables, on a machine whose person has a token."""
    settings = load_oauth_settings({**environ, "FMCP_OAUTH_ACCESS_TOKEN": "the-operators-own-token"})
    fetcher = ReplayFetcher()
    operator = OperatorToken(settings, token_file=TokenFile(home), fetcher=fetcher, now=lambda: NOW)
    try:
        yield await GatewayAuth.create(
            settings, operator=operator, fetcher=fetcher, digest_key=b"k" * 32, is_exposed=is_exposed, now=lambda: NOW
        )
    finally:
        await fetcher.aclose()


def test_each_page_stands_in_the_table_and_has_all_parts():
    table = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert len(PAGES) == 6
    for page in PAGES:
        assert f"]({page.name})" in table
        assert tuple(re.findall(r"^## (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)) == HEADINGS
        assert [title for title, *_ in setups(page)] == ["Just you", "Others, too"], page.name


@pytest.mark.parametrize("page", sorted(FOLDER.glob("*.md")), ids=lambda page: page.stem)
def test_each_variable_that_a_page_names_exists(page: Path):
    known = {*OAUTH_VARIABLES, *(variable.name for variable in list_variables().values())}
    assert set(re.findall(r"\bFMCP_[A-Z_]+[A-Z]\b", page.read_text(encoding="utf-8"))) <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_auth_block_of_a_page_is_valid(page: Path):
    blocks = re.findall(r"```json\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        for name, entry in json.loads(block)["mcpServers"].items():
            parsed = read_entry(name, entry, source=page.name)
            assert parsed.auth is not None
            assert f"http://localhost:8099/{name}/auth/callback" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
async def test_a_login_is_possible_with_what_a_page_exports(page: Path):
    for _, environ, _, _ in setups(page):
        settings = load_oauth_settings(environ)
        assert missing_for_login(settings) == ()
        provider = await find_provider(settings, ReplayFetcher())
        assert provider.authorization_endpoint is not None and provider.token_endpoint is not None
        provider.require_s256()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
async def test_the_check_that_a_page_names_is_the_one_that_is_chosen(page: Path, tmp_path: Path):
    for title, environ, verifier, lines in setups(page):
        async with guard_for(environ, tmp_path) as guard:
            explained = [line.partition(":")[0] for line in await guard.explain("a-token-of-somebody")]
            assert explained == ["operator", *([] if verifier == "operator" else [verifier])], title
            assert list(guard.describe()) == lines, title


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
async def test_what_a_page_exports_for_others_says_who_may_come_from_other_machines(page: Path, tmp_path: Path):
    environ = next(environ for title, environ, _, _ in setups(page) if title == "Others, too")
    async with guard_for(environ, tmp_path, is_exposed=True) as guard:
        assert any(line.startswith("Lets in: the operator and ") for line in guard.describe())


@pytest.mark.promise(10, 11, 12, 13)
@pytest.mark.parametrize("name", GUIDE)
def test_the_guides_example_of_a_provider_sends_the_browser_where_it_says(name: str):
    environ = read_exports(GUIDE[name])
    settings = load_oauth_settings(environ)
    assert missing_for_login(settings) == ()
    location = build_request(settings, configured_provider(settings)).location
    address, _, _ = location.partition("?")
    query = query_of(location)
    assert address == environ["FMCP_OAUTH_AUTH_ENDPOINT"]
    assert query["client_id"] == "your_client_id"
    assert query["redirect_uri"] == "http://localhost:8088/callback"
    assert query["scope"] == DEFAULT_SCOPE
    assert (query["response_type"], query["code_challenge_method"]) == ("code", "S256")
    more = {parameter: value for parameter, value in query.items() if parameter not in PARAMETERS_OF_THE_PROTOCOL}
    assert more == ({"access_type": "offline", "prompt": "consent"} if name == "Google" else {})


@pytest.mark.promise(10, 11, 12, 13)
@pytest.mark.parametrize("name", GUIDE)
async def test_the_guides_example_of_a_provider_logs_in_with_a_replayed_answer_and_lets_its_operator_in(
    name: str, tmp_path: Path
):
    """Replayed: the answer is written down from RFC 6749, not recorded at the provider."""
    environ = read_exports(GUIDE[name])
    settings = load_oauth_settings(environ)
    token_url = environ["FMCP_OAUTH_TOKEN_ENDPOINT"]
    answer = {"access_token": "of-the-operator", "refresh_token": "r", "expires_in": 3600, "token_type": "Bearer"}
    fetcher = ReplayFetcher({**DOCUMENTS, token_url: (200, answer)})
    provider = await find_provider(settings, fetcher)
    request = build_request(settings, provider)
    grant = authorization_code_grant(code="c", code_verifier=request.code_verifier, redirect_uri=settings.redirect_uri)
    tokens = await request_token(fetcher, token_url=token_url, client=build_client(settings, provider), grant=grant)
    ((url, form),) = fetcher.forms
    assert url == token_url and "client_secret" not in form
    assert query_of(request.location)["code_challenge"] == code_challenge_s256(form["code_verifier"])
    token_file = TokenFile(tmp_path)
    token_file.save(finish_login(tokens, settings, provider, now=NOW).login)

    operator = OperatorToken(settings, token_file=token_file, fetcher=fetcher, now=lambda: NOW)
    guard = await GatewayAuth.create(
        settings, operator=operator, fetcher=fetcher, digest_key=b"k" * 32, is_exposed=False, now=lambda: NOW
    )
    principal = await guard.authenticate("of-the-operator")
    assert principal.issuer == OPERATOR_ISSUER
    assert any("the operator alone" in line for line in guard.describe())


@pytest.mark.promise(50)
def test_no_page_asks_for_more_than_identity_and_what_its_package_does():
    for page in PAGES:
        for _, environ, _, _ in setups(page):
            scopes = set(load_oauth_settings(environ).scope.split())
            assert scopes <= {"openid", "profile", "email", "offline_access", "read:user"} | {
                scope for scope in scopes if scope.startswith("api://your-app-id/")
            }


@pytest.mark.promise(49)
def test_every_address_of_a_provider_in_the_pages_is_https():
    for page in PAGES:
        addresses = re.findall(r"http://([^\s\"`/:]+)", page.read_text(encoding="utf-8"))
        assert set(addresses) <= {"localhost", "127.0.0.1"}, page.name


@pytest.mark.promise(49)
@pytest.mark.parametrize("name", [name for name in OAUTH_VARIABLES if name.endswith(("_ENDPOINT", "_URI", "_ISSUER"))])
def test_no_endpoint_of_the_provider_can_be_set_to_plain_http(name: str):
    with pytest.raises(ConfigurationError) as caught:
        load_oauth_settings({name: "http://provider.example.com/x"})
    assert name in caught.value.why
