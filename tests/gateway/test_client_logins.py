"""MCP clients log in by themselves: what they find, what they get, and what it is good for."""

import asyncio
import hashlib
import html
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.responses import JSONResponse

from tests.authorization_server.test_clients import REAL_REGISTRATIONS
from tests.gateway.client_login import (
    KEYS,
    LOOPBACK_REDIRECT,
    PRIVATE_REDIRECT,
    WEB_REDIRECT,
    McpClient,
    Stage,
    bearer,
    client_logins,
)
from tests.gateway.running import running_gateway
from tests.providers.fault_making import query_of, token_document, unsigned_id_token


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with client_logins() as stage:
        yield stage


def whoami(provider_token: str) -> str:
    """What the tool of that name answers in a process that has this token."""
    return hashlib.sha256(provider_token.encode()).hexdigest()


async def test_a_client_with_only_the_url_finds_the_login_and_calls_a_tool(stage: Stage) -> None:
    http, url = stage.running.client, stage.url
    refused = await http.post("/mail/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
    assert refused.status_code == 401
    document_url = f"{url}/.well-known/oauth-protected-resource/mail/mcp"
    assert refused.headers["www-authenticate"] == (
        f'Bearer realm="fluidmcp", resource_metadata="{document_url}", scope="mail.read"'
    )
    resource = (await http.get(document_url)).json()
    assert resource["resource"] == f"{url}/mail/mcp"
    assert resource["authorization_servers"] == [f"{url}/mail"]
    server = (await http.get(f"{url}/.well-known/oauth-authorization-server/mail")).json()
    assert server["issuer"] == f"{url}/mail"
    assert server["code_challenge_methods_supported"] == ["S256"]
    client = await stage.client()
    async with stage.browser() as browser:
        location = await browser.allow(client.authorization_url())
        asked = query_of(location)
        assert (asked["scope"], asked["code_challenge_method"]) == ("mail.read", "S256")
        assert "resource" not in asked, "Entra ID refuses it"
        answer = query_of(await browser.come_back(location))
    assert answer["iss"] == f"{url}/mail"
    tokens = await client.redeem(answer)
    assert tokens["token_type"] == "Bearer"
    assert tokens["scope"] == "mail.read"
    assert 0 < tokens["expires_in"] <= 3300, "the provider's ends after 3600 seconds"
    assert tokens["access_token"].startswith("fmcp1.")
    assert await stage.running.call("mail", "echo", {"text": "hello"}, **bearer(tokens)) == "hello"


async def test_a_person_is_told_their_name_and_still_after_a_renewal(stage: Stage) -> None:
    claims = {"iss": "https://id.example", "aud": "gateway", "exp": 4_000_000_000}

    def answer(form: dict[str, str]) -> JSONResponse:
        if form["grant_type"] == "refresh_token":
            return JSONResponse(token_document())
        return JSONResponse(
            token_document(id_token=unsigned_id_token(**claims, sub="1742", name="Ada <b>Lovelace</b>"))
        )

    async def read_me(tokens: dict[str, Any]) -> dict[str, str]:
        reply = await stage.running.client.get("/mail/me", headers=bearer(tokens))
        person: dict[str, str] = reply.json()["person"]
        return person

    stage.provider.answer_token = answer
    client = await stage.client()
    tokens = await stage.log_in(client)
    person = {"issuer": "https://id.example", "subject": "1742", "name": "Ada <b>Lovelace</b>"}
    assert await read_me(tokens) == person
    assert await read_me((await client.refresh(tokens["refresh_token"])).json()) == person


async def test_the_process_gets_the_providers_token_and_never_the_sealed_one(stage: Stage) -> None:
    client = await stage.client()
    tokens = await stage.log_in(client)
    (redeemed,) = stage.provider.token_requests
    assert redeemed["grant_type"] == "authorization_code"
    seen = await stage.running.call("mail", "whoami", **bearer(tokens))
    assert seen == whoami(stage.provider.handed_out[-1]["access_token"])
    assert seen != whoami(tokens["access_token"])


@pytest.mark.parametrize(
    ("endpoint", "method"), [("mcp", "POST"), ("mcp", "GET"), ("mcp", "DELETE"), ("sse", "POST"), ("sse", "GET")]
)
async def test_every_method_of_both_endpoints_names_the_document_of_its_endpoint(
    stage: Stage, method: str, endpoint: str
) -> None:
    for headers in ({}, bearer("garbage"), bearer("fmcp1.garbage")):
        response = await stage.running.client.request(method, f"/mail/{endpoint}", headers=headers)
        assert response.status_code == 401
        named = f'resource_metadata="{stage.url}/.well-known/oauth-protected-resource/mail/{endpoint}"'
        assert named in response.headers["www-authenticate"]
        assert ('error="invalid_token"' in response.headers["www-authenticate"]) is bool(headers)
    document = (await stage.running.client.get(f"/.well-known/oauth-protected-resource/mail/{endpoint}")).json()
    assert document["resource"] == f"{stage.url}/mail/{endpoint}"


async def test_server_discover_without_a_token_is_refused_like_everything_else(stage: Stage) -> None:
    response = await stage.running.rpc("mail", "server/discover")
    assert response.status_code == 401
    assert "resource_metadata=" in response.headers["www-authenticate"]


async def test_both_endpoints_are_one_audience_and_a_bare_package_has_no_login(stage: Stage) -> None:
    client = await stage.client()
    tokens = await stage.log_in(client, resource=f"{stage.url}/mail/sse")
    assert await stage.running.call("mail", "echo", {"text": "x"}, **bearer(tokens)) == "x"
    streamed = await stage.running.client.post(
        "/mail/sse", json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, headers=bearer(tokens)
    )
    assert streamed.status_code == 200
    async with stage.running.client.stream("GET", "/mail/sse", headers=bearer(tokens)) as stream:
        assert stream.status_code == 200
        assert (await anext(stream.aiter_lines())) == "event: endpoint"
    for path in ("/.well-known/oauth-protected-resource/open/mcp", "/.well-known/oauth-authorization-server/open"):
        assert (await stage.running.client.get(path)).status_code == 404
    assert (await stage.running.rpc("open", "tools/list")).status_code == 200
    for path in ("/open/authorize", "/nothing/authorize"):
        assert (await stage.running.client.get(path)).status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/.well-known/oauth-authorization-server/mail",
        "/.well-known/openid-configuration/mail",
        "/mail/.well-known/oauth-authorization-server",
        "/mail/.well-known/openid-configuration",
    ],
)
async def test_the_server_is_described_wherever_clients_look(stage: Stage, path: str) -> None:
    document = (await stage.running.client.get(path)).json()
    package = f"{stage.url}/mail"
    assert document["issuer"] == package
    assert document["authorization_endpoint"] == f"{package}/authorize"
    assert document["token_endpoint"] == f"{package}/token"
    assert document["registration_endpoint"] == f"{package}/register"
    assert document["revocation_endpoint"] == f"{package}/revoke"
    assert document["authorization_response_iss_parameter_supported"] is True
    assert document["client_id_metadata_document_supported"] is True
    assert document["token_endpoint_auth_methods_supported"] == ["none"]
    assert document["scopes_supported"] == ["mail.read"]


async def test_with_one_package_the_root_serves_clients_of_2025_03_26() -> None:
    async with client_logins() as several:
        for path in ("/.well-known/oauth-authorization-server", "/authorize", "/register", "/token"):
            response = await several.running.client.request("POST" if path in ("/register", "/token") else "GET", path)
            assert response.status_code == 404, path
        entry = several.running.gateway.parts.entries[0]
        async with running_gateway([entry], {"MAIL_CLIENT_ID": "gateway"}, seal_keys=KEYS) as alone:
            document = (await alone.client.get("/.well-known/oauth-authorization-server")).json()
            assert document["issuer"] == alone.url
            stage = Stage(alone, several.provider)
            client = await stage.client()
            url = client.authorization_url().replace("/mail/authorize", "/authorize")
            async with stage.browser() as browser:
                answer = await browser.log_in(url.replace(f"resource={alone.url}", "x="))
            assert answer["iss"] == alone.url
            form = client.code_form(answer["code"])
            tokens = (await alone.client.post(document["token_endpoint"], data=form)).json()
            assert await alone.call("mail", "echo", {"text": "x"}, **bearer(tokens)) == "x"


async def test_pages_of_any_origin_may_read_the_documents_register_and_get_tokens(stage: Stage) -> None:
    http, foreign = stage.running.client, {"origin": "https://inspector.example", "sec-fetch-site": "cross-site"}
    documents = [
        "/.well-known/oauth-protected-resource/mail/mcp",
        "/.well-known/oauth-authorization-server/mail",
        "/mail/.well-known/openid-configuration",
    ]
    for path in documents:
        answer = await http.get(path, headers=foreign)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")
    for path in (*documents, "/mail/token", "/mail/register", "/mail/revoke"):
        preflight = await http.options(path, headers={**foreign, "access-control-request-method": "POST"})
        assert preflight.status_code == 204
        assert "mcp-protocol-version" in preflight.headers["access-control-allow-headers"].lower()
    registered = await http.post("/mail/register", json={"redirect_uris": [WEB_REDIRECT]}, headers=foreign)
    assert (registered.status_code, registered.headers["access-control-allow-origin"]) == (201, "*")
    refused = await http.post("/mail/token", data={"grant_type": "password", "client_id": "x"}, headers=foreign)
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (400, "*")
    assert refused.headers["cache-control"] == "no-store"
    for method, path in (("POST", "/mail/mcp"), ("POST", "/mail/consent"), ("POST", "/mail/auth/refresh")):
        answer = await http.request(method, path, headers=foreign)
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("redirect_uri", [WEB_REDIRECT, LOOPBACK_REDIRECT, PRIVATE_REDIRECT])
async def test_codes_go_to_redirect_uris_of_every_kind(stage: Stage, redirect_uri: str) -> None:
    client = await stage.client(redirect_uri=redirect_uri)
    async with stage.browser() as browser:
        answer = await browser.come_back(await browser.allow(client.authorization_url()))
    assert answer.startswith(redirect_uri + "?code=")
    assert (await client.redeem(query_of(answer)))["access_token"]


@pytest.mark.parametrize("body", REAL_REGISTRATIONS.values(), ids=REAL_REGISTRATIONS)
async def test_what_real_clients_send_leads_to_a_login_at_each_of_their_addresses(
    stage: Stage, body: dict[str, Any]
) -> None:
    client = McpClient(stage.url)
    client.client_id = (await client.post("register", json=body)).json()["client_id"]
    for redirect_uri in body["redirect_uris"]:
        client.redirect_uri = redirect_uri
        async with stage.browser() as browser:
            page = await browser.get(client.authorization_url(scope=body.get("scope")))
            assert html.escape(body["client_name"]) in page.text
            location = await browser.allow(client.authorization_url(scope=body.get("scope")))
            answer = await browser.come_back(location)
        assert answer.startswith(f"{redirect_uri}?code=")
        assert (await client.redeem(query_of(answer)))["access_token"]


async def test_a_loopback_client_may_listen_on_another_port_each_time(stage: Stage) -> None:
    client = await stage.client(redirect_uri="http://localhost/callback")
    client.redirect_uri = "http://localhost:49152/callback"
    assert (await stage.log_in(client))["access_token"]


async def test_a_login_under_another_name_of_the_gateway_goes_on_under_the_one_that_the_provider_knows() -> None:
    async with client_logins(public_url="http://localhost:8099") as stage:
        client = await stage.client()
        asked = client.authorization_url(resource="http://localhost:8099/mail/mcp")
        async with stage.browser() as browser:
            moved = await browser.get(asked)
            assert moved.status_code == 302
            assert moved.headers["location"] == f"http://localhost:8099{asked.removeprefix(stage.url)}&canonical=1"
            # A proxy that changes the Host header makes no loop of it.
            assert (
                await browser.get(moved.headers["location"].replace("localhost:8099", stage.url[7:]))
            ).status_code == 200


async def test_a_person_who_says_no_sends_the_client_an_error_and_nobody_to_the_provider(stage: Stage) -> None:
    client = await stage.client()
    async with stage.browser() as browser:
        response = await browser.answer(await browser.open_consent(client.authorization_url()), "deny")
    answer = query_of(response.headers["location"])
    assert response.headers["location"].startswith(LOOPBACK_REDIRECT)
    assert (answer["error"], answer["state"], answer["iss"]) == ("access_denied", client.state, f"{stage.url}/mail")
    assert stage.running.pending_logins == 0


async def test_a_browser_leaves_the_callback_by_a_page_of_its_own(stage: Stage) -> None:
    """A redirect would still belong to the provider's form, whose page may say that forms end at our host."""
    client = await stage.client(redirect_uri=PRIVATE_REDIRECT)
    async with stage.browser() as browser:
        location = await browser.allow(client.authorization_url())
        query = {"code": "the-code", "state": query_of(location)["state"]}
        page = await browser.get("/mail/auth/callback", params=query, headers={"sec-fetch-mode": "navigate"})
    assert page.status_code == 200
    assert (page.headers["cache-control"], page.headers["referrer-policy"]) == ("no-store", "no-referrer")
    addresses = [html.unescape(found) for found in re.findall(r'(?:href="|;url=)([^"]*)"', page.text)]
    assert len(addresses) == 2
    assert len(set(addresses)) == 1, "it goes there by itself, and by a link"
    assert "go on to <bdi>the program that opens cursor: links</bdi></a>" in page.text
    assert (await client.redeem(query_of(addresses[0])))["access_token"]


async def test_what_goes_wrong_at_the_provider_is_told_to_the_client(stage: Stage) -> None:
    client = await stage.client()
    async with stage.browser() as browser:
        location = await browser.allow(client.authorization_url())
        refused = query_of(await browser.come_back(location, code="", error="access_denied"))
        location = await browser.allow(client.authorization_url())
        stage.provider.answer_token = stage.provider.refuse_with("invalid_grant")
        broken = query_of(await browser.come_back(location))
    assert (refused["error"], refused["state"]) == ("access_denied", client.state)
    assert (broken["error"], broken["iss"]) == ("server_error", f"{stage.url}/mail")


async def test_a_stranger_is_sent_back_with_access_denied_and_nothing_starts() -> None:
    block = {"allowed_subjects": ("grace",), "scopes": ("openid", "mail.read")}
    async with client_logins(block=block) as stage:
        stage.provider.answer_token = stage.provider.name_person("mallory")
        client = await stage.client()
        async with stage.browser() as browser:
            answer = await browser.log_in(client.authorization_url())
        assert answer["error"] == "access_denied"
        stage.provider.answer_token = stage.provider.name_person("grace")
        tokens = await stage.log_in(client)
        assert await stage.running.call("mail", "echo", {"text": "x"}, **bearer(tokens)) == "x"


async def test_two_clients_of_one_person_have_a_process_each_and_a_refresh_keeps_the_session(stage: Stage) -> None:
    first, second = await stage.client(), await stage.client(client_name="Another")
    tokens = [await stage.log_in(client) for client in (first, second)]
    pids = [await stage.running.call("mail", "pid", **bearer(one)) for one in tokens]
    assert len(set(pids)) == 2
    assert [await stage.running.call("mail", "count", **bearer(tokens[0])) for _ in range(2)] == ["1", "2"]


async def test_the_scopes_that_a_client_asks_for_are_asked_for_and_others_are_not() -> None:
    scopes = ("openid", "mail.read", "mail.send", "offline_access")
    async with client_logins(block={"scopes": scopes}) as stage:
        client = await stage.client()
        async with stage.browser() as browser:

            async def asked_for(scope: str | None) -> str:
                return query_of(await browser.allow(client.authorization_url(scope=scope)))["scope"]

            assert await asked_for("mail.read") == "openid mail.read offline_access"
            assert await asked_for("mail.read unknown") == "openid mail.read offline_access"
            assert await asked_for(None) == await asked_for("unknown") == " ".join(scopes)


async def test_a_login_that_got_too_little_is_told_what_to_ask_for() -> None:
    block = {"scopes": ("mail.read", "mail.send"), "required_scopes": ("mail.send",)}
    async with client_logins(block=block) as stage:
        stage.provider.answer_token = lambda _form: JSONResponse(token_document(scope="mail.read"))
        client = await stage.client()
        tokens = await stage.log_in(client)
        refused = await stage.running.rpc("mail", "tools/list", **bearer(tokens))
        assert refused.status_code == 403
        challenge = refused.headers["www-authenticate"]
        assert 'error="insufficient_scope"' in challenge
        assert 'scope="mail.read mail.send"' in challenge
        assert f'resource_metadata="{stage.url}/.well-known/oauth-protected-resource/mail/mcp"' in challenge
        assert stage.running.gateway.process_count == 0
        stage.provider.answer_token = lambda _form: JSONResponse(token_document(scope="mail.read mail.send"))
        tokens = await stage.log_in(client)
        assert (await stage.running.rpc("mail", "tools/list", **bearer(tokens))).status_code == 200


async def test_raw_provider_tokens_work_beside_it_unless_they_are_turned_off() -> None:
    async with client_logins() as stage:
        async with stage.browser() as browser:
            begun = await browser.get("/mail/auth/login")
            state = query_of(begun.headers["location"])["state"]
            answer = await browser.get("/mail/auth/callback", params={"code": "c", "state": state})
        raw = answer.json()["token_data"]
        assert await stage.running.call("mail", "whoami", **bearer(raw)) == whoami(raw["access_token"])
    async with client_logins(block={"accept_provider_tokens": False}) as stage:
        for response in (
            await stage.running.client.get("/mail/auth/login"),
            await stage.running.client.post("/mail/auth/refresh", json={"refresh_token": "r"}),
        ):
            assert response.status_code == 403
            assert f"{stage.url}/mail/mcp" in response.json()["hint"]
        tokens = await stage.log_in(await stage.client())
        assert await stage.running.call("mail", "echo", {"text": "x"}, **bearer(tokens)) == "x"
        raw_token = stage.provider.handed_out[-1]["access_token"]
        assert (await stage.running.rpc("mail", "tools/list", **bearer(raw_token))).status_code == 401


async def test_a_providers_token_that_a_client_login_brought_is_not_good_by_itself(stage: Stage) -> None:
    await stage.log_in(await stage.client())
    raw_token = stage.provider.handed_out[-1]["access_token"]
    assert (await stage.running.rpc("mail", "tools/list", **bearer(raw_token))).status_code == 401


async def test_a_restarted_gateway_with_the_same_keys_knows_the_tokens_and_the_client() -> None:
    async with client_logins() as first:
        client = await first.client()
        tokens = await first.log_in(client)
        entry, url = first.running.gateway.parts.entries[0], first.url
        async with running_gateway([entry], {"MAIL_CLIENT_ID": "gateway"}, seal_keys=KEYS, public_url=url) as again:
            assert await again.call("mail", "whoami", **bearer(tokens)) == whoami(
                first.provider.handed_out[-1]["access_token"]
            )
            client.url = again.url
            renewed = await client.ask_token(client.refresh_form(tokens["refresh_token"], resource=f"{url}/mail/mcp"))
            assert renewed.status_code == 200
            assert await again.call("mail", "echo", {"text": "x"}, **bearer(renewed.json())) == "x"
        async with running_gateway([entry], {"MAIL_CLIENT_ID": "gateway"}, public_url=url) as other_keys:
            assert (await other_keys.rpc("mail", "tools/list", **bearer(tokens))).status_code == 401


async def test_a_login_that_cannot_work_says_which_variable_is_missing() -> None:
    async with client_logins() as stage:
        entry = stage.running.gateway.parts.entries[0]
        async with running_gateway([entry], {}, seal_keys=KEYS) as running:
            lacking = Stage(running, stage.provider)
            client = await lacking.client()
            async with lacking.browser() as browser:
                page = await browser.answer(await browser.open_consent(client.authorization_url()))
        assert page.status_code == 503
        assert "client_id not found" in page.text
        assert "MAIL_CLIENT_ID" in page.text


async def test_many_people_log_in_at_once_and_each_gets_their_own(stage: Stage) -> None:
    clients = [await stage.client(client_name=f"Client {number}") for number in range(8)]
    tokens: list[dict[str, Any]] = await asyncio.gather(*(stage.log_in(client) for client in clients))
    digests = await asyncio.gather(*(stage.running.call("mail", "whoami", **bearer(one)) for one in tokens))
    assert len(set(digests)) == 8
    assert set(digests) == {whoami(one["access_token"]) for one in stage.provider.handed_out}
