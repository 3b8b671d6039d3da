"""What attackers of a login by MCP clients try, and the answer that they get."""

import asyncio
import json
from collections.abc import AsyncIterator

import httpx2
import pytest

from fluidmcp.config.settings import LoginLimits
from tests.gateway.client_login import (
    LOOPBACK_REDIRECT,
    WEB_REDIRECT,
    McpClient,
    Stage,
    bearer,
    client_logins,
    hidden_field,
)
from tests.providers.fault_making import query_of
from tests.providers.login_gateway import contents_of

JSON = {"content-type": "application/json"}


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with client_logins() as stage:
        yield stage


async def code_of(stage: Stage, client: McpClient) -> str:
    async with stage.browser() as browser:
        return (await browser.log_in(client.authorization_url()))["code"]


async def is_open(stage: Stage, token: str, package: str = "mail") -> bool:
    response = await stage.running.rpc(package, "tools/list", **bearer(token))
    assert response.status_code in (200, 401), response.text
    return response.status_code == 200


async def test_a_replayed_code_is_refused_and_ends_the_login_that_came_of_it(stage: Stage) -> None:
    client = await stage.client()
    code = await code_of(stage, client)
    tokens = (await client.ask_token(client.code_form(code))).json()
    assert await is_open(stage, tokens["access_token"])
    again = await client.ask_token(client.code_form(code))
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    assert not await is_open(stage, tokens["access_token"])
    assert (await client.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"


async def test_of_twenty_parallel_requests_with_one_code_one_gets_tokens(stage: Stage) -> None:
    client = await stage.client()
    code = await code_of(stage, client)
    responses = await asyncio.gather(*(client.ask_token(client.code_form(code)) for _ in range(20)))
    assert sorted(response.status_code for response in responses) == [200] + [400] * 19


async def test_a_stolen_code_is_worth_nothing_without_its_verifier(stage: Stage) -> None:
    client, thief = await stage.client(), await stage.client(client_name="Thief")
    code = await code_of(stage, client)
    for form in (
        client.code_form(code, code_verifier=thief.code_verifier),
        client.code_form(code, code_verifier=""),
        thief.code_form(code),
        thief.code_form(code, code_verifier=client.code_verifier),
        client.code_form(code, redirect_uri=WEB_REDIRECT),
    ):
        refused = await client.ask_token(form)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    assert (await client.ask_token(client.code_form(code))).status_code == 200


async def test_pkce_cannot_be_left_out_or_weakened(stage: Stage) -> None:
    client = await stage.client()
    for changes in (
        {"code_challenge": None},
        {"code_challenge_method": None},
        {"code_challenge_method": "plain"},
        {"code_challenge": "short"},
        {"code_challenge": None, "code_challenge_method": None},
    ):
        async with stage.browser() as browser:
            response = await browser.get(client.authorization_url(**changes))
        answer = query_of(response.headers["location"])
        assert (answer["error"], answer["state"], answer["iss"]) == (
            "invalid_request",
            client.state,
            f"{stage.url}/mail",
        )


async def test_nobody_is_sent_to_a_redirect_uri_that_the_client_did_not_register(stage: Stage) -> None:
    client = await stage.client(redirect_uri=WEB_REDIRECT)
    foreign = (
        "https://evil.example/callback",
        WEB_REDIRECT + "/",
        WEB_REDIRECT + "?x=1",
        WEB_REDIRECT.replace("https", "http"),
        "https://client.example:444/callback",
        "https://client.example/callback/../evil",
        "https://client.example@evil.example/callback",
        "javascript:alert(1)",
        LOOPBACK_REDIRECT,
    )
    async with stage.browser() as browser:
        for redirect_uri in foreign:
            for changes in ({}, {"response_type": "token"}, {"code_challenge": None}):
                page = await browser.get(client.authorization_url(redirect_uri=redirect_uri, **changes))
                assert page.status_code == 400, redirect_uri
                assert "location" not in page.headers
                assert "evil" not in page.text, "nothing of the request is repeated"
        for client_id in ("", "unknown", "fmcp1.garbage", client.client_id[:-1]):
            page = await browser.get(client.authorization_url(client_id=client_id))
            assert page.status_code == 400
            assert "location" not in page.headers


async def test_no_link_sends_a_browser_to_a_website_that_anybody_registered(stage: Stage) -> None:
    client = await stage.client(redirect_uri="https://evil.example/landing")
    browsing = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    async with stage.browser() as browser:
        for changes in ({"response_type": "token"}, {"code_challenge": None}, {"prompt": "none"}, {"resource": "x"}):
            page = await browser.get(client.authorization_url(**changes), headers=browsing)
            assert page.status_code == 200
            assert "location" not in page.headers
            assert "http-equiv" not in page.text, "it goes nowhere by itself"
            assert 'href="https://evil.example/landing?error=' in page.text


async def test_doubled_parameters_are_refused(stage: Stage) -> None:
    client = await stage.client()
    url = client.authorization_url()
    async with stage.browser() as browser:
        for doubled in (f"client_id={client.client_id}", f"redirect_uri={LOOPBACK_REDIRECT}"):
            assert (await browser.get(f"{url}&{doubled}")).status_code == 400
        answer = query_of((await browser.get(f"{url}&state=other")).headers["location"])
        assert answer["error"] == "invalid_request"
        assert "state" not in answer, "which of the two is meant cannot be known"
    form = httpx2.QueryParams(client.code_form("x"))
    response = await client.post(
        "token", content=f"{form}&code=y", headers={"content-type": "application/x-www-form-urlencoded"}
    )
    assert response.json()["error"] == "invalid_request"


async def test_a_resource_of_another_package_is_refused(stage: Stage) -> None:
    client = await stage.client()
    async with stage.browser() as browser:
        for resource in (f"{stage.url}/jira/mcp", f"{stage.url}/mail/mcp2", "https://evil.example/mail/mcp", "x"):
            response = await browser.get(client.authorization_url(resource=resource))
            assert query_of(response.headers["location"])["error"] == "invalid_target"
        upper = client.authorization_url(resource=f"{stage.url}/mail/mcp".replace("http:", "HTTP:"))
        assert (await browser.get(upper)).status_code == 200
    code = await code_of(stage, client)
    refused = await client.ask_token(client.code_form(code, resource=f"{stage.url}/jira/mcp"))
    assert refused.json()["error"] == "invalid_target"


async def test_a_token_of_one_package_is_none_at_another_and_no_provider_hears_of_it() -> None:
    async with client_logins() as probe:
        block = {"introspection_url": f"{probe.provider_url}/introspect"}
        async with client_logins(block=block) as stage:
            client = await stage.client()
            tokens = await stage.log_in(client)
            access_token = str(tokens["access_token"])
            assert await is_open(stage, access_token)
            asked = len(probe.provider.introspections)
            for package, token in (
                ("jira", access_token),
                ("mail", access_token[:-1]),
                ("mail", access_token[:-4] + "AAAA"),
                ("mail", str(tokens["refresh_token"])),
                ("mail", "fmcp1."),
                ("mail", "fmcp1." + "A" * 400),
                ("mail", client.client_id),
            ):
                assert not await is_open(stage, token, package)
            assert len(probe.provider.introspections) == asked, "a sealed token goes nowhere"
            other = McpClient(stage.url, "jira", client.client_id)
            refused = await other.ask_token(other.refresh_form(str(tokens["refresh_token"])))
            assert refused.json()["error"] == "invalid_grant"
            async with stage.browser() as browser:
                page = await browser.get(other.authorization_url())
                assert page.status_code == 400, "a registration is for one package"


async def test_consent_cannot_be_skipped_forged_or_sent_from_elsewhere(stage: Stage) -> None:
    client = await stage.client()
    url = client.authorization_url()
    async with stage.browser() as victim, stage.browser() as attacker:
        field = await attacker.open_consent(url)
        # The attacker's form in the victim's browser: bound to another browser's cookie.
        assert (await victim.answer(field)).status_code == 400
        own = await victim.open_consent(url)
        assert (await victim.answer(field)).status_code == 400
        for text in ("", "fmcp1.x", own[:-1], own[:-2] + "AA", client.client_id):
            assert (await victim.answer(text)).status_code == 400
        for decision in ("", "yes"):
            assert (await victim.answer(own, decision)).status_code == 400
        form = {"request": own, "decision": "allow"}
        for headers in (
            {"origin": "https://evil.example"},
            {"origin": "null"},
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"},
        ):
            assert (await victim.post("/mail/consent", data=form, headers=headers)).status_code == 403
        as_query = await victim.get("/mail/consent", params=form)
        assert as_query.status_code in (404, 405)
        assert stage.running.pending_logins == 0, "no login began"
        assert (await victim.answer(own)).status_code == 303


async def test_a_consent_page_is_neither_framed_nor_kept_nor_opened_ahead_of_time(stage: Stage) -> None:
    client = await stage.client()
    async with stage.browser() as browser:
        page = await browser.get(client.authorization_url())
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
        assert page.headers["x-frame-options"] == "DENY"
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["referrer-policy"] == "same-origin", "no-referrer would make the form's Origin null"
        assert hidden_field(page.text)
        for headers in (
            {"sec-purpose": "prefetch"},
            {"sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"},
            {"sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"},
        ):
            assert (await browser.get(client.authorization_url(), headers=headers)).status_code == 403


async def test_a_login_that_somebody_else_allowed_ends_in_no_other_browser(stage: Stage) -> None:
    client = await stage.client()
    async with stage.browser() as attacker, stage.browser() as victim:
        location = await attacker.allow(client.authorization_url())
        query = {"code": "the-code", "state": query_of(location)["state"]}
        refused = await victim.get("/mail/auth/callback", params=query)
        assert refused.status_code == 400
        assert stage.provider.token_requests == []
        assert (await attacker.get("/mail/auth/callback", params=query)).is_redirect
        assert (await attacker.get("/mail/auth/callback", params=query)).status_code == 400


@pytest.mark.threat("B08")
async def test_b08_a_callback_of_another_issuer_ends_the_login_and_asks_nobody() -> None:
    async with client_logins(block={"issuer": "https://id.example"}) as stage:
        client = await stage.client()
        async with stage.browser() as browser:
            for parameters in (
                {"iss": "https://evil.example"},
                {"iss": "https://id.example/"},
                {"iss": "https://evil.example", "error": "access_denied", "error_description": "look here"},
            ):
                location = await browser.allow(client.authorization_url())
                query = {"code": "c", "state": query_of(location)["state"], **parameters}
                response = await browser.get("/mail/auth/callback", params=query)
                assert response.status_code == 400
                assert "look here" not in response.text
        assert stage.provider.token_requests == []


async def test_a_remembered_consent_is_for_one_browser_client_redirect_and_choice_of_scopes() -> None:
    async with client_logins(block={"scopes": ("mail.read", "mail.send")}) as stage:
        client = await stage.client(redirect_uri=WEB_REDIRECT)
        other = await stage.client(redirect_uri=WEB_REDIRECT, client_name="Another")
        async with stage.browser() as browser, stage.browser() as elsewhere:
            await browser.allow(client.authorization_url(scope="mail.read"), remember="1")

            async def is_asked(url: str, who: httpx2.AsyncClient = browser) -> bool:
                response = await who.get(url)
                assert response.status_code in (200, 303)
                return response.status_code == 200

            assert not await is_asked(client.authorization_url(scope="mail.read"))
            assert await is_asked(client.authorization_url(scope="mail.read", prompt="consent"))
            assert await is_asked(client.authorization_url(scope="mail.read mail.send"))
            assert await is_asked(other.authorization_url(scope="mail.read"))
            assert await is_asked(client.authorization_url(scope="mail.read"), elsewhere)
            name, value = next((n, v) for n, v in browser.cookies.items() if n.startswith("fmcp_allowed_"))
            elsewhere.cookies.set(name, value[:-2] + "AA")
            assert await is_asked(client.authorization_url(scope="mail.read"), elsewhere)
            await elsewhere.get(other.authorization_url(scope="mail.read"))
            await elsewhere.allow(other.authorization_url(scope="mail.read"), remember="1")
            others = next(n for n in elsewhere.cookies if n.startswith("fmcp_allowed_") and n != name)
            elsewhere.cookies.delete(others)
            elsewhere.cookies.set(others, value)
            assert await is_asked(other.authorization_url(scope="mail.read"), elsewhere), "a consent under another name"
            page = await browser.get("/mail/consent/remembered")
            assert "A test client" in page.text
            assert name in page.text
            await browser.post("/mail/consent/remembered", data={"forget": name}, headers={"origin": stage.url})
            assert await is_asked(client.authorization_url(scope="mail.read"))


@pytest.mark.parametrize("redirect_uri", [LOOPBACK_REDIRECT, "cursor://callback"])
async def test_what_runs_on_a_device_is_asked_about_each_time(stage: Stage, redirect_uri: str) -> None:
    client = await stage.client(redirect_uri=redirect_uri)
    async with stage.browser() as browser:
        await browser.allow(client.authorization_url(), remember="1")
        assert not [name for name in browser.cookies if name.startswith("fmcp_allowed_")]
        assert (await browser.get(client.authorization_url())).status_code == 200


async def test_registrations_of_one_address_are_counted(stage: Stage) -> None:
    body = json.dumps({"redirect_uris": [WEB_REDIRECT]}).encode()
    authorization_server = stage.running.gateway.parts.logins.clients.authorization_servers["mail"]
    for _ in range(LoginLimits().max_requests_per_address):
        assert await authorization_server.register(body, client_address="127.0.0.1")
    answer = await stage.running.client.post("/mail/register", content=body, headers=JSON)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "60")
    assert (await stage.running.client.post("/jira/register", content=body, headers=JSON)).status_code == 201


async def test_hostile_names_of_clients_stay_text(stage: Stage) -> None:
    client = await stage.client(client_name='<script>alert(1)</script>"\u202e')
    async with stage.browser() as browser:
        page = (await browser.get(client.authorization_url())).text
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "\u202e" not in page


async def test_no_store_holds_a_token_after_a_hundred_logins() -> None:
    mark = "canary-5d1e"
    async with client_logins() as stage:
        stage.provider.answer_token = stage.provider.mark_tokens(mark)
        client = await stage.client()
        seen: list[str] = []
        for _ in range(100):
            tokens = await stage.log_in(client)
            seen += [tokens["access_token"], tokens["refresh_token"]]
        renewed = (await client.refresh(seen[-1])).json()
        seen += [renewed["access_token"], renewed["refresh_token"]]
        gateway = stage.running.gateway
        services = gateway.parts.logins.services
        stores = [services.grants, services.codes, services.pending_auth_states, services.handed_out]
        stored = str([contents_of(store) for store in stores])  # pyright: ignore
        assert len(stored) > 1000
        assert mark not in stored
        assert not [token for token in seen if token in stored]
        assert all(mark not in token for token in seen)
