"""The page at `/` over HTTP: who is shown what, and that MCP clients notice nothing of it."""

import json
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from fluidmcp.authentication.principal import Principal
from fluidmcp.authorization_server.page_client import build_page_client
from fluidmcp.config.entries import ServerEntry
from fluidmcp.config.secret import Secret
from fluidmcp.errors import OAuthError
from fluidmcp.gateway.mcp.messages import Caller
from fluidmcp.gateway.page.access import PageAccess, Visitor
from fluidmcp.gateway.page.me import describe_caller
from fluidmcp.gateway.page.views import PageViews
from fluidmcp.guards.gateway_auth import StaticTokenAuth
from fluidmcp.pages.names import PAGE_FILES
from tests.gateway.guards import KnownTokens, gate_token
from tests.gateway.running import RunningGateway, running_gateway, stdlib_entry
from tests.gateway.test_guarded_client_logins import guarded as guarded_by_company
from tests.gateway.test_routes import BLOCK

HTML = {"accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}
EXPOSED: Mapping[str, Any] = {"public_url": "https://gateway.example", "allowed_hosts": frozenset({"127.0.0.1"})}
SERVERS = Path(__file__).parent.parent / "servers"
PAGE_SERVER = SERVERS / "page_server.py"
MAIL = {"MAIL_CLIENT_ID": "id-1"}


def page_entry(name: str = "try", **changes: Any) -> ServerEntry:
    """A package with tools for people who try them on the page."""
    return replace(stdlib_entry(name), args=("-I", str(PAGE_SERVER)), **changes)


@pytest.fixture
async def guarded() -> AsyncIterator[RunningGateway]:
    entries = [stdlib_entry("echo"), stdlib_entry("mail", auth=BLOCK)]
    async with running_gateway(entries, MAIL, guard=KnownTokens()) as running:
        yield running


async def test_a_gateway_that_nothing_guards_shows_its_packages_and_what_runs_here() -> None:
    async with running_gateway([stdlib_entry("echo"), stdlib_entry("mail", auth=BLOCK)], MAIL) as running:
        before = await running.client.get("/", headers=HTML)
        assert running.gateway.process_count == 0, "looking starts nothing"
        assert await running.call("echo", "echo", {"text": "hi"}) == "hi"
        page = await running.client.get("/", headers=HTML)

    assert before.status_code == page.status_code == 200
    assert "Starts when it is called" in before.text and "has not said what it offers" in before.text
    for words in (f"{running.url}/echo/mcp", f"{running.url}/mail/mcp", "Running", "Log in to see what it offers"):
        assert words in page.text
    assert re.search(r"<dt><bdi>progress</bdi></dt>", page.text), "the tools of what runs"
    assert "For the operator" in page.text and "1 of at most" in page.text
    assert "whoever has the operator's credential" in page.text.replace("&#39;", "'")


@pytest.mark.threat("E18")
async def test_e18_a_guarded_gateway_shows_strangers_a_login_and_no_names(guarded: RunningGateway) -> None:
    answers = [await guarded.client.get(path, headers=HTML) for path in ("/", "/echo/mcp", "/mail/mcp", "/nothing/mcp")]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert len({answer.text for answer in answers}) == 1, "what is there looks like what is not"
    assert "Log in to this gateway" in answers[0].text
    assert not re.search(r"\b(echo|mail)\b", re.sub(r"https?://\S+", "", answers[0].text))
    assert guarded.gateway.process_count == 0


async def test_a_person_sees_the_packages_and_the_operators_part_is_for_the_operator(guarded: RunningGateway) -> None:
    token = {"authorization": f"Bearer {gate_token('ada')}"}
    page = await guarded.client.get("/", headers={**HTML, **token})
    part = await guarded.client.get("/echo/mcp", headers={**HTML, **token})
    wrong = await guarded.client.get("/", headers={**HTML, "authorization": "Bearer wrong"})
    narrow = await guarded.client.get("/", headers={**HTML, "authorization": "Bearer stranger"})

    assert page.status_code == 200
    assert 'id="package-echo"' in page.text and 'id="package-mail"' in page.text
    assert 'data-who="ada"' in page.text
    assert "For the operator" not in page.text
    assert 'id="package-echo"' in part.text and 'id="package-mail"' not in part.text
    assert (wrong.status_code, narrow.status_code) == (401, 403)
    assert "package-" not in wrong.text + narrow.text


@pytest.mark.parametrize(("has_login", "names"), [(False, True), (True, False)])
async def test_off_this_machine_names_are_told_where_nobody_logs_in_to_anything(has_login: bool, names: bool) -> None:
    entries = [stdlib_entry("echo"), *([stdlib_entry("mail", auth=BLOCK)] if has_login else [])]
    async with running_gateway(entries, MAIL, **EXPOSED) as running:
        page = await running.client.get("/", headers=HTML)
        part = await running.client.get("/echo/mcp", headers=HTML)

    assert ('id="package-echo"' in page.text) is names
    assert ("does not list its packages" in page.text) is not names
    assert "For the operator" not in page.text + part.text
    assert 'id="package-echo"' in part.text, "whoever knows the address is told what the endpoint tells"


async def test_an_address_of_no_package_says_so_in_words() -> None:
    async with running_gateway([stdlib_entry("echo")]) as running:
        page = await running.client.get("/nothing/mcp", headers=HTML)

    assert page.status_code == 404
    assert "There is no such package" in page.text
    assert '<a href="/">What is here</a>' in page.text


async def test_the_page_of_the_api_says_of_every_endpoint_what_it_is_for() -> None:
    """Without words, FastAPI makes them of the path: `/.Well-Known/Oauth-Authorization-Server/Mail`."""
    async with running_gateway([stdlib_entry("mail", auth=BLOCK)], MAIL) as running:
        paths = (await running.client.get("/openapi.json")).json()["paths"]
    summaries = {(path, name): endpoint["summary"] for path, each in paths.items() for name, endpoint in each.items()}
    assert len(summaries) > 20
    assert [place for place, summary in summaries.items() if summary.startswith("/")] == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"accept": "text/event-stream"}, 405),
        ({"accept": "application/json, text/event-stream, text/html"}, 405),
        ({"accept": "*/*"}, 405),
        ({**HTML, "mcp-session-id": "x"}, 404),
        ({**HTML, "mcp-protocol-version": "2025-11-25"}, 405),
        ({**HTML, "last-event-id": "1-1"}, 405),
    ],
)
async def test_a_get_of_an_mcp_client_is_answered_as_ever(headers: dict[str, str], status: int) -> None:
    async with running_gateway([stdlib_entry("echo")]) as running:
        response = await running.client.get("/echo/mcp", headers=headers)

    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"


async def test_other_endpoints_are_no_pages(guarded: RunningGateway) -> None:
    for path in ("/echo/sse", "/echo/me", "/a/b/mcp"):
        response = await guarded.client.get(path, headers=HTML)
        assert (response.status_code, response.headers["content-type"]) == (401, "application/json"), path


@pytest.mark.threat("E18", "E19")
async def test_nothing_on_the_page_is_inline_and_nothing_comes_from_elsewhere() -> None:
    async with running_gateway([stdlib_entry("echo")]) as running:
        page = await running.client.get("/", headers=HTML)

    policy = page.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "require-trusted-types-for 'script'; trusted-types 'none'" in policy
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["x-frame-options"] == "DENY"
    assert not re.search(r"<style|<script>|\son\w+=|\sstyle=|javascript:", page.text)
    loaded = re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="([^"]+)"', page.text)
    assert len(loaded) == 4
    assert all(address.startswith("/") and not address.startswith("//") for address in loaded)


async def test_its_files_are_kept_by_browsers_until_they_change() -> None:
    async with running_gateway([stdlib_entry("echo")], base_path="/tools") as running:
        page = await running.client.get("", headers=HTML)
        for name, media_type in PAGE_FILES.items():
            answer = await running.client.get(f"/-/assets/{name}")
            assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)
            assert answer.headers["x-content-type-options"] == "nosniff"
            again = await running.client.get(f"/-/assets/{name}", headers={"if-none-match": answer.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")
        other = await running.client.get("/-/assets/page.py")

    assert other.status_code == 404
    assert 'src="/tools/-/assets/page.js"' in page.text
    assert 'data-path="/tools/echo"' in page.text


@pytest.mark.threat("E18")
async def test_e18_names_and_descriptions_of_tools_are_text_and_are_cut() -> None:
    async with running_gateway([page_entry()]) as running:
        assert (await running.rpc("try", "tools/list")).status_code == 200
        page = await running.client.get("/", headers=HTML)

    assert "<img" not in page.text and "&lt;img src=x onerror=alert(1)&gt;" in page.text
    assert len(page.text) < 50_000, "a description of a megabyte"


@pytest.mark.threat("E19")
async def test_e19_a_tool_that_is_nonsense_is_left_out_and_the_others_are_listed() -> None:
    async with running_gateway([replace(stdlib_entry("odd"), args=("-I", str(SERVERS / "odd_server.py")))]) as running:
        assert (await running.rpc("odd", "tools/list")).status_code == 200
        page = await running.client.get("/", headers=HTML)

    assert re.findall(r"<dt><bdi>(\w+)</bdi></dt>", page.text) == ["good", "repeated"]


@pytest.mark.threat("E18")
async def test_e18_a_browser_that_leaves_out_mcp_is_sent_to_the_page_of_that_name_whether_it_is_there_or_not(
    guarded: RunningGateway,
) -> None:
    answers = {name: await guarded.client.get(f"/{name}", headers=HTML) for name in ("echo", "mail", "nothing")}
    for name, answer in answers.items():
        assert (answer.status_code, answer.headers["location"], answer.content) == (302, f"/{name}/mcp", b"")
    assert (await guarded.client.get("/echo/", headers=HTML)).headers["location"] == "/echo/mcp"
    shown = [await guarded.client.get(answer.headers["location"], headers=HTML) for answer in answers.values()]
    assert len({page.text for page in shown}) == 1 and "Log in to this gateway" in shown[0].text
    for path in ("/docs", "/deny-list", "/auth", "/a/b", "/.well-known", "/-", "/%5cevil.example"):
        assert (await guarded.client.get(path, headers=HTML)).status_code == 401, path


async def test_below_a_path_the_short_address_leads_to_the_page_and_programs_have_their_404() -> None:
    async with running_gateway([stdlib_entry("echo")], base_path="/tools") as running:
        short = await running.client.get("/echo", headers=HTML)
        page = await running.client.get(short.headers["location"].removeprefix("/tools"), headers=HTML)
        typo = await running.client.get("/eco", headers=HTML, follow_redirects=True)
        programs = [
            await running.client.get("/echo"),
            await running.client.get("/echo", headers={"accept": "text/html, text/event-stream"}),
            await running.client.post("/echo", headers=HTML, json={}),
        ]

    assert (short.status_code, short.headers["location"]) == (302, "/tools/echo/mcp")
    assert page.status_code == 200 and 'id="package-echo"' in page.text
    assert typo.status_code == 404 and "There is no such package" in typo.text
    for answer in programs:
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/json")


async def test_a_page_under_another_name_of_this_machine_goes_to_the_gateways_own() -> None:
    async with running_gateway([stdlib_entry("echo")]) as running:
        port = httpx2.URL(running.url).port
        headers = {**HTML, "host": f"localhost:{port}"}
        opened = await running.client.get("/echo/mcp", headers={**headers, "sec-fetch-mode": "navigate"})
        script = await running.client.get("/", headers={**headers, "sec-fetch-mode": "cors"})

    assert (opened.status_code, opened.headers["location"]) == (302, f"{running.url}/echo/mcp?canonical=1")
    assert script.status_code == 200


async def test_somebody_who_is_known_nowhere_is_told_so() -> None:
    async with running_gateway([stdlib_entry("echo")]) as running:
        me = await running.client.get("/echo/me")
        posted = await running.client.post("/echo/me", json={})

    assert (me.status_code, me.json()) == (200, {"person": None})
    assert (posted.status_code, posted.headers["allow"]) == (405, "GET")


async def test_a_person_is_told_who_they_are(guarded: RunningGateway) -> None:
    stranger = await guarded.client.get("/echo/me")
    me = await guarded.client.get("/echo/me", headers={"authorization": f"Bearer {gate_token('ada')}"})

    assert stranger.status_code == 401
    assert me.json() == {
        "person": {"issuer": "https://id.example", "subject": "ada"},
        "scopes": [],
        "expires_at": None,
    }


def test_the_best_name_that_is_known_is_the_one_that_is_shown() -> None:
    principal = Principal(issuer="https://id.example", subject="1742", client_id="", token_digest="x")
    assert "name" not in json.loads(describe_caller(Caller(principal)).body)["person"]
    named = replace(principal, name="Ada", email="ada@corp.example")
    assert json.loads(describe_caller(Caller(named)).body)["person"] == {
        "issuer": "https://id.example",
        "subject": "1742",
        "name": "Ada",
        "email": "ada@corp.example",
    }
    assert "Ada" not in repr(named)


OWN = "the-one-token-of-this-gateway"


@pytest.mark.threat("E18")
async def test_the_operator_reads_why_a_start_failed_with_what_the_server_wrote() -> None:
    entry = stdlib_entry("bad", "--die-at-start", API_KEY="sk-a-secret-of-the-entry")
    async with running_gateway([entry]) as running:
        assert (await running.rpc("bad", "tools/list")).status_code == 502
        page = await running.client.get("/", headers=HTML)

    assert "Its last start failed" in page.text
    assert "What it wrote last" in page.text
    assert "sk-a-secret" not in page.text


async def test_what_a_process_of_one_person_wrote_is_for_the_operators_credential_alone() -> None:
    guard = StaticTokenAuth(Secret(OWN), digest_key=b"k" * 32)
    operator = {**HTML, "authorization": f"Bearer {OWN}"}
    async with running_gateway([stdlib_entry("echo")], guard=guard) as running:
        await running.call("echo", "stderr", {"text": "a line <b>of hers</b>"}, authorization=f"Bearer {OWN}")
        page = await running.client.get("/", headers=operator)
        stranger = await running.client.get("/", headers=HTML)
        views = PageViews(running.gateway.parts, PageAccess(running.gateway.parts))
        nobody = await views.build(Visitor(sees_names=True, is_operator=True), {}, now=0.0)

    assert "a line &lt;b&gt;of hers&lt;/b&gt;" in page.text
    assert "a line" not in stranger.text
    assert nobody.operator is not None and nobody.operator.people is None
    assert [(process.whose, process.stderr) for process in nobody.operator.processes] == [("one person", ())]


async def test_what_is_not_listed_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fluidmcp.gateway.page.views.MAX_ROWS", 1)
    async with running_gateway([stdlib_entry("echo"), stdlib_entry("mail")]) as running:
        await running.call("echo", "echo", {"text": "x"})
        one = await running.client.get("/", headers=HTML)
        await running.call("mail", "echo", {"text": "x"})
        two = await running.client.get("/", headers=HTML)

    assert "not shown" not in one.text and "Server processes of each package" not in one.text
    assert "1 more is not shown." in two.text
    for name in ("echo", "mail"):
        assert f"<bdi>{name}</bdi></th><td>1</td><td>1 idle</td>" in two.text


async def test_the_pages_own_client_gets_its_answer_at_its_own_address_only() -> None:
    client = build_page_client("http://localhost:8099")
    assert client.find_redirect("http://localhost:8099/-/callback") == client.redirect_uris[0]
    for other in ("http://localhost:8100/-/callback", "http://127.0.0.1:8099/-/callback", "http://localhost:8099/-/"):
        with pytest.raises(OAuthError):
            client.find_redirect(other)


async def test_nobody_but_the_page_logs_in_to_the_gateway_itself(tmp_path: Path) -> None:
    async with guarded_by_company(tmp_path) as stage:
        query = {"response_type": "code", "redirect_uri": "https://client.example/cb", "code_challenge": "x" * 43}
        for client_id in ("https://client.example/client.json", "x"):
            asked = await stage.running.client.get("/-/authorize", params={**query, "client_id": client_id})
            assert asked.status_code == 400 or asked.status_code == 401, asked.text
            assert "not known here" in asked.text
        registered = await stage.running.client.post("/-/register", json={"redirect_uris": ["https://a.example/cb"]})
        assert registered.status_code == 401
        document = await stage.running.client.get("/.well-known/oauth-authorization-server/-")
        assert document.status_code == 401


@pytest.mark.threat("E21")
async def test_e21_somebody_who_is_shut_out_sees_nothing_of_the_page(guarded: RunningGateway) -> None:
    token = {**HTML, "authorization": f"Bearer {gate_token('ada')}"}
    before = await guarded.client.get("/", headers=token)
    await guarded.gateway.parts.logins.services.deny_list.revoke("https://id.example|ada", None)
    after = await guarded.client.get("/", headers=token)

    assert (before.status_code, after.status_code) == (200, 403)
    assert "package-" not in after.text
