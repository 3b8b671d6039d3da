"""A gateway that stands below a path of its host: every address that it hears, and every one that it tells."""

import re
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluidmcp.config.urls import parse_public_url
from fluidmcp.gateway.front.base_path import BasePath
from tests.front import HAS_FRONT
from tests.gateway.client_login import WEB_REDIRECT, Stage, bearer, client_logins
from tests.gateway.front.wire import count_calls
from tests.providers.fault_making import query_of

BASE = "/tools/mail"
"""Its last segment is also the name of a package."""
WELL_KNOWN = "/.well-known/oauth-protected-resource"


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with client_logins(base_path=BASE) as stage:
        yield stage


def origin_of(stage: Stage) -> httpx2.AsyncClient:
    """Whoever asks the same host, below the base or not."""
    return httpx2.AsyncClient(base_url=stage.url.removesuffix(BASE), trust_env=False, timeout=60)


@pytest.mark.parametrize(
    ("path", "own"),
    [
        ("/tools/mail", "/"),
        ("/tools/mail/", "/"),
        ("/tools/mail/mail/mcp", "/mail/mcp"),
        ("/tools/mail/tools/mail/mcp", "/tools/mail/mcp"),
        ("/tools/mail/health", "/health"),
        ("/health", "/health"),
        ("/.well-known/oauth-protected-resource/tools/mail/x/mcp", "/.well-known/oauth-protected-resource/x/mcp"),
        ("/.well-known/oauth-authorization-server/tools/mail", "/.well-known/oauth-authorization-server"),
        ("/.well-known/openid-configuration/tools/mail/x", "/.well-known/openid-configuration/x"),
        ("/tools/mail/x/.well-known/openid-configuration", "/x/.well-known/openid-configuration"),
        ("", None),
        ("/", None),
        ("*", None),
        ("/tools", None),
        ("/mail/mcp", None),
        ("/tools/mailbox/mcp", None),
        ("//tools/mail/x/mcp", None),
        ("/tools//mail/x/mcp", None),
        ("/tools/../tools/mail/x/mcp", None),
        ("/x/tools/mail/mcp", None),
        ("/TOOLS/mail/x/mcp", None),
        ("/health/", None),
        ("/docs", None),
        ("/.well-known/oauth-protected-resource", None),
        ("/.well-known/oauth-protected-resource/x/mcp", None),
        ("/.well-known/oauth-protected-resource/tools/mailbox/mcp", None),
        ("/.well-known/oauth-protected-resources/tools/mail/x/mcp", None),
        ("/.well-known/other/tools/mail/x", None),
    ],
)
def test_only_paths_below_the_base_are_ours_and_documents_with_the_base_inserted(path: str, own: str | None) -> None:
    assert BasePath(BASE).take_off(path) == own
    assert BasePath("").take_off(path) == path


@given(st.text("/.abh", max_size=12))
def test_a_base_is_taken_off_once_and_nothing_else_changes(path: str) -> None:
    assert BasePath("/a/b").take_off(f"/a/b/{path}") == f"/{path}"
    own = BasePath("/a/b").take_off(path)
    assert own is None or path == f"/a/b{own}" or (path, own) == ("/a/b", "/")


@pytest.mark.parametrize(
    "path", ["//", "/a//b", "/.", "/a/..", "/a/./b", "/%61", "/a;b", "/.well-known", "/a/.well-known/b"]
)
def test_a_base_that_could_be_spelled_in_two_ways_is_refused(path: str) -> None:
    url, fault = parse_public_url(f"https://mcp.example.com{path}")
    assert (url, fault) == ("", "must have a path of plain segments (letters, digits, -, _, . and ~), or none")


async def test_a_client_finds_its_login_from_the_refusal_alone(stage: Stage) -> None:
    origin = stage.url.removesuffix(BASE)
    refused = await stage.running.rpc("mail", "ping")
    found = re.search(r'resource_metadata="([^"]*)"', refused.headers["www-authenticate"])
    assert found is not None
    assert found[1] == f"{origin}{WELL_KNOWN}{BASE}/mail/mcp"
    assert refused.json()["login_url"] == f"{stage.url}/mail/auth/login"
    async with origin_of(stage) as http:
        resource = (await http.get(found[1])).json()
        assert resource["resource"] == f"{stage.url}/mail/mcp"
        (issuer,) = resource["authorization_servers"]
        assert issuer == f"{stage.url}/mail"
        addresses = (
            f"{origin}/.well-known/oauth-authorization-server{BASE}/mail",
            f"{origin}/.well-known/openid-configuration{BASE}/mail",
            f"{issuer}/.well-known/openid-configuration",
        )
        for address in addresses:
            server = (await http.get(address)).json()
            assert server["issuer"] == issuer
            for name in ("authorization", "token", "registration", "revocation"):
                assert server[f"{name}_endpoint"].startswith(f"{issuer}/")
        preflight = await http.options(found[1], headers={"origin": "https://page.example"})
        assert preflight.headers["access-control-allow-origin"] == "*"


async def test_what_is_not_below_the_base_is_not_there(stage: Stage) -> None:
    async with origin_of(stage) as http:
        assert (await http.get("/health")).json() == {"status": "ok"}
        assert (await http.get(f"{BASE}/health")).json() == {"status": "ok"}
        assert (await http.get("/health?detail=1")).json()["status"] == "ok"
        for path in ("/docs", "/openapi.json", "/mail/auth/login", f"{WELL_KNOWN}/mail/mcp", "/", f"{BASE}x/docs"):
            answer = await http.get(path)
            assert (answer.status_code, answer.json()["hint"]) == (404, f"The gateway is at {BASE}.")
        assert (await http.post("/open/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "ping"})).status_code == 404
        assert (await http.get("/docs", headers={"host": "evil.example"})).status_code == 421
        nothing = await http.get(f"{BASE}/nothing/here")
        assert (nothing.status_code, nothing.json()["hint"]) == (
            404,
            f"A package is at {BASE}/PACKAGE/mcp. The endpoints are listed at {BASE}/docs.",
        )


async def test_a_whole_login_stays_below_the_base(stage: Stage) -> None:
    client = await stage.client(redirect_uri=WEB_REDIRECT)
    async with stage.browser() as browser:
        page = await browser.get(client.authorization_url())
        assert f'action="{BASE}/mail/consent"' in page.text
        assert f'href="{BASE}/mail/consent/remembered"' in page.text
        location = await browser.allow(client.authorization_url(), remember="1")
        assert query_of(location)["redirect_uri"] == f"{stage.url}/mail/auth/callback"
        (login,) = [cookie for cookie in browser.cookies.jar if cookie.name.startswith("fmcp_login_")]
        assert login.path == f"{BASE}/mail/auth"
        tokens = await client.redeem(query_of(await browser.come_back(location)))
        assert not [cookie for cookie in browser.cookies.jar if cookie.name.startswith("fmcp_login_")], "it is deleted"
        remembered = await browser.get("/mail/consent/remembered")
        assert f'action="{BASE}/mail/consent/remembered"' in remembered.text
        name = next(cookie for cookie in browser.cookies if cookie.startswith("fmcp_allowed_"))
        origin = {"origin": stage.url.removesuffix(BASE)}
        forgotten = await browser.post("/mail/consent/remembered", data={"forget": name}, headers=origin)
        assert forgotten.headers["location"] == f"{BASE}/mail/consent/remembered"
    assert (await stage.running.rpc("mail", "tools/list", **bearer(tokens))).status_code == 200
    renewed = await client.refresh(tokens["refresh_token"])
    assert (await stage.running.rpc("mail", "tools/list", **bearer(renewed.json()))).status_code == 200


async def test_a_login_for_a_person_begins_and_ends_below_the_base(stage: Stage) -> None:
    async with stage.browser() as browser:
        begun = await browser.get("/mail/auth/login")
        assert query_of(begun.headers["location"])["redirect_uri"] == f"{stage.url}/mail/auth/callback"
        assert f"Path={BASE}/mail/auth;" in begun.headers["set-cookie"]
        state = query_of(begun.headers["location"])["state"]
        done = await browser.get("/mail/auth/callback", params={"code": "the-code", "state": state})
        assert done.status_code == 200, done.text
        assert f"Path={BASE}/mail/auth;" in done.headers["set-cookie"]


async def test_the_documentation_names_addresses_below_the_base(stage: Stage) -> None:
    page = (await stage.running.client.get("/docs")).text
    addresses = re.findall(r'(?:href|src|data-openapi-url)="([^"]+)"', page)
    assert len(addresses) == 6
    async with origin_of(stage) as http:
        for address in addresses:
            assert address.startswith(f"{BASE}/")
            assert (await http.get(address)).status_code == 200
        document = (await http.get(f"{BASE}/openapi.json")).json()
        assert document["servers"] == [{"url": BASE}]
        assert "/{package}/mcp" in document["paths"]
        assert (await http.get(f"{BASE}/schema/config.json")).status_code == 200


async def test_the_stream_of_2024_11_05_names_its_address_below_the_base(stage: Stage) -> None:
    async with stage.running.client.stream("GET", "/open/sse") as response:
        lines = response.aiter_lines()
        assert await anext(lines) == "event: endpoint"
        address = (await anext(lines)).removeprefix("data: ")
        assert urlsplit(address).path == f"{BASE}/open/sse"
        client = {"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
        message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": client}
        async with origin_of(stage) as http:
            assert (await http.post(address, json=message)).status_code == 202
        async for line in lines:
            if line.startswith("data: "):
                assert '"serverInfo"' in line
                break


async def test_common_requests_below_the_base_take_the_front(stage: Stage) -> None:
    assert (await stage.running.rpc("open", "ping")).status_code == 200
    calls = count_calls(stage.running)
    for _ in range(3):
        assert (await stage.running.rpc("open", "ping")).status_code == 200
    assert calls == ([] if HAS_FRONT else [f"POST {BASE}/open/mcp"] * 3)
