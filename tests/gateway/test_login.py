"""The login flow: what begins one, what ends one, and what does neither."""

import asyncio

import httpx2
import pytest
from starlette.responses import JSONResponse

from fluidmcp.config.settings import LoginLimits
from fluidmcp.errors import LoginError
from fluidmcp.oauth_client import waiting_logins as login
from tests.gateway.logins import INVALID_STATE, begin, call_back, is_refused, logins
from tests.providers.fault_making import query_of, token_document


@pytest.mark.promise(72, 73, 79, 81, 104, 111)
@pytest.mark.threat("B10")
async def test_b10_the_login_page_sends_the_browser_to_the_provider_with_pkce() -> None:
    async with logins(block={"scopes": ("a", "b"), "extra_params": (("audience", "x"),)}) as (gateway, _provider):
        async with gateway.browser() as browser:
            location = (await browser.get("/mail/auth/login")).headers["location"]
    query = query_of(location)
    assert location.startswith("http://127.0.0.1:")
    assert location.split("?")[0].endswith("/authorize")
    assert query.pop("state")
    assert len(query.pop("code_challenge")) == 43
    assert query == {
        "response_type": "code",
        "client_id": "gateway",
        "redirect_uri": "http://localhost:8099/mail/auth/callback",
        "scope": "a b",
        "audience": "x",
        "code_challenge_method": "S256",
    }


async def test_parameters_of_the_address_and_presets_stay_but_cannot_replace_the_protocol() -> None:
    url = "https://accounts.google.com/auth?owner=user&state=fixed&prompt=none"
    block = {"authorization_url": url, "extra_params": (("code_challenge_method", "plain"), ("access_type", "online"))}
    async with logins(block=block) as (gateway, _provider), gateway.browser() as browser:
        query = query_of((await browser.get("/mail/auth/login")).headers["location"])
    assert (query["owner"], query["prompt"], query["access_type"]) == ("user", "consent", "online")
    assert (query["code_challenge_method"], query["state"] != "fixed") == ("S256", True)


@pytest.mark.promise(75, 93, 94, 95, 96, 97, 98, 99, 100, 105)
async def test_the_callback_answers_the_documented_json() -> None:
    async with logins() as (gateway, provider), gateway.browser() as browser:
        provider.answer_token = lambda _form: JSONResponse(token_document(access_token="at", refresh_token="rt"))
        response = await call_back(browser, state=await begin(browser))
    assert response.status_code == 200
    assert response.json() == {
        "success": True,
        "package": "mail",
        "token_data": {
            "access_token": "at",
            "refresh_token": "rt",
            "expires_in": 3600,
            "token_type": "Bearer",
            "scope": "mail.read",
        },
        "message": "Authentication successful! Use the access_token in Authorization header.",
    }
    sent = provider.token_requests[0]
    assert (sent["grant_type"], sent["code"], len(sent["code_verifier"])) == ("authorization_code", "the-code", 43)
    assert sent["redirect_uri"] == "http://localhost:8099/mail/auth/callback"


@pytest.mark.promise(113)
@pytest.mark.threat("B01", "B02")
@pytest.mark.parametrize("has_own_login", [False, True])
async def test_b01_b02_a_callback_in_another_browser_than_the_one_that_began_is_refused(has_own_login: bool) -> None:
    async with logins() as (gateway, provider), gateway.browser() as attacker, gateway.browser() as victim:
        state = await begin(attacker)
        if has_own_login:
            await begin(victim)
        assert is_refused(await call_back(victim, state=state), provider)
        # The refusal has not ended the login of the browser that began it.
        assert (await call_back(attacker, state=state)).status_code == 200


@pytest.mark.promise(115, 117, 118)
@pytest.mark.threat("B03")
async def test_b03_a_state_redeems_once() -> None:
    async with logins() as (gateway, provider), gateway.browser() as browser:
        state = await begin(browser)
        cookies = dict(browser.cookies)
        assert (await call_back(browser, state=state)).status_code == 200
        assert len(gateway.pending_auth_states) == 0
        again = await browser.get(
            "/mail/auth/callback",
            params={"code": "c", "state": state},
            headers={"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())},
        )
    assert (again.status_code, again.json()["error"]) == (400, INVALID_STATE)
    assert len(provider.token_requests) == 1


@pytest.mark.threat("B03")
async def test_b03_two_parallel_callbacks_redeem_once() -> None:
    async with logins() as (gateway, provider), gateway.browser() as browser:
        state = await begin(browser)
        answers = await asyncio.gather(*(call_back(browser, state=state) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 19
    assert len(provider.token_requests) == 1


@pytest.mark.promise(119, 120, 121)
@pytest.mark.threat("B04", "B24")
async def test_b04_b24_a_state_that_is_old_unknown_or_of_another_process_says_start_again() -> None:
    async with logins() as (gateway, provider), gateway.browser() as browser:
        state = await begin(browser)
        gateway.clock.time += login.PENDING_LOGIN_SECONDS
        late = await call_back(browser, state=state)
        assert is_refused(late, provider)
        assert "http://localhost:8099/mail/auth/login" in late.json()["hint"]
        assert is_refused(await call_back(browser, state="A" * 43), provider)
        async with logins() as (restarted, second_provider), restarted.browser() as other:
            other.cookies = browser.cookies
            state = await begin(browser)
            assert is_refused(await call_back(other, state=state), second_provider)
        assert (await call_back(browser, state=await begin(browser))).status_code == 200


@pytest.mark.threat("B05")
async def test_b05_a_flood_of_logins_is_bounded_and_existing_logins_survive() -> None:
    limits = LoginLimits(max_waiting=50, max_per_address=20)
    async with logins(limits=limits) as (gateway, _provider), gateway.browser() as person:
        state = await begin(person)
        async with gateway.browser(address="203.0.113.1") as flooder:
            statuses = [(await flooder.get("/mail/auth/login")).status_code for _ in range(300)]
            refused = await flooder.get("/jira/auth/login")
        assert statuses == [302] * 20 + [429] * 280
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "600")
        assert len(gateway.pending_auth_states) == 21
        assert (await call_back(person, state=state)).status_code == 200


@pytest.mark.threat("B05")
async def test_b05_many_addresses_fill_the_store_but_never_beyond_and_end_no_login() -> None:
    async with logins(limits=LoginLimits(max_waiting=50)) as (gateway, _provider), gateway.browser() as person:
        state = await begin(person)
        refused: list[httpx2.Response] = []
        for number in range(100):
            async with gateway.browser(address=f"198.51.100.{number}") as flooder:
                refused.append(await flooder.get("/mail/auth/login"))
        assert (refused[-1].status_code, refused[-1].headers["retry-after"]) == (503, "60")
        assert len(gateway.pending_auth_states) == 50
        assert (await call_back(person, state=state)).status_code == 200
        gateway.clock.time += login.PENDING_LOGIN_SECONDS
        await begin(person)


@pytest.mark.threat("B05")
def test_b05_one_ipv6_network_counts_as_one_address() -> None:
    one = login.address_key("login", "2001:db8::1")
    assert login.address_key("login", "2001:db8::ffff:2%eth0") == one
    assert login.address_key("login", "2001:db8:0:1::1") != one
    assert login.address_key("login", "::ffff:192.0.2.1") == login.address_key("login", "192.0.2.1")
    assert login.address_key("refresh", "192.0.2.1") != login.address_key("login", "192.0.2.1")
    assert login.address_key("login", "") != login.address_key("login", "192.0.2.1")


@pytest.mark.threat("B06")
@pytest.mark.parametrize(
    "query",
    [
        "state={state}&state={state}&code=c",
        "state={state}&state=x&code=c",
        "state={state}&code=c&code=d",
        "state={state}",
        "state={state}&code=",
        "state={state}&code=c&error=access_denied",
        "state={state}&code=a%0Ab",
        "state={state}&code=" + "c" * 9000,
        "state=" + "s" * 60_000 + "&code=c",
        "state=&code=c",
        "state=%00&code=c",
        "code=c",
        "",
    ],
)
async def test_b06_malformed_callbacks_are_refused(query: str) -> None:
    async with logins() as (gateway, provider), gateway.browser() as browser:
        state = await begin(browser)
        response = await browser.get("/mail/auth/callback?" + query.replace("{state}", state))
    assert response.status_code == 400
    assert not provider.token_requests
    assert state not in response.text


@pytest.mark.threat("B06", "B11")
@pytest.mark.parametrize("name", ["state", "error", "code", "iss", "error_description"])
async def test_b06_a_parameter_of_a_megabyte_is_refused_and_not_repeated(name: str) -> None:
    async with logins() as (gateway, provider):
        auth = gateway.auths["mail"]
        start = await auth.begin_login(client_address="a")
        query = {"state": query_of(start.location)["state"], "error": "x", name: "s" * 1_000_000}
        with pytest.raises(LoginError) as caught:
            pairs = list(query.items())
            await auth.redeem(await auth.take_login(pairs, {start.cookie_name: start.cookie_value}), pairs)
    assert caught.value.status == 400
    assert len(caught.value.what + caught.value.why + caught.value.hint) < 500
    assert not provider.token_requests


@pytest.mark.threat("B07")
async def test_b07_a_state_of_one_package_is_nothing_at_another() -> None:
    async with logins() as (gateway, provider), gateway.browser() as browser:
        state = await begin(browser, "mail")
        cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        response = await browser.get(
            "/jira/auth/callback", params={"code": "c", "state": state}, headers={"Cookie": cookie}
        )
        assert is_refused(response, provider)
        assert (await call_back(browser, state=state)).status_code == 200


@pytest.mark.threat("B08")
@pytest.mark.parametrize("answer", [{"code": "c"}, {"error": "access_denied", "error_description": "canary"}])
async def test_b08_an_answer_of_another_issuer_is_refused(answer: dict[str, str]) -> None:
    async with logins(block={"issuer": "https://as.example"}) as (gateway, provider), gateway.browser() as browser:
        for issuer in ("https://evil.example", "https://as.example/", "", "HTTPS://AS.EXAMPLE"):
            parameters = {**answer, "iss": issuer, "state": await begin(browser)}
            response = await browser.get("/mail/auth/callback", params=parameters)
            assert is_refused(response, provider, "The callback comes from another issuer")
            assert "canary" not in response.text
        assert (await call_back(browser, state=await begin(browser), iss="https://as.example")).status_code == 200


@pytest.mark.threat("B09")
async def test_b09_a_code_that_the_provider_does_not_know_gives_a_plain_answer() -> None:
    async with logins() as (gateway, provider), gateway.browser() as browser:
        provider.answer_token = lambda _form: JSONResponse(
            {"error": "invalid_grant", "error_description": "canary"}, status_code=400
        )
        response = await call_back(browser, state=await begin(browser))
        assert response.status_code == 400
        assert "canary" not in response.text
        provider.answer_token = lambda _form: JSONResponse({})
        assert (await call_back(browser, state=await begin(browser))).status_code == 502
        provider.answer_token = lambda _form: JSONResponse({}, status_code=500)
        assert (await call_back(browser, state=await begin(browser))).status_code == 503


@pytest.mark.threat("B11")
@pytest.mark.parametrize(
    ("error", "shown"),
    [
        ("access_denied", True),
        ("<script>alert(1)</script>", False),
        ("</title>", False),
        ("a\r\nX-Evil: 1", False),
        ("\u202eevil", False),
        ("e" * 60_000, False),
    ],
)
async def test_b11_an_error_of_the_provider_is_shown_as_a_code_or_not_at_all(error: str, shown: bool) -> None:
    async with logins() as (gateway, provider), gateway.browser() as browser:
        parameters = {"state": await begin(browser), "error": error, "error_description": "<b>canary</b>" * 100}
        response = await browser.get("/mail/auth/callback", params=parameters)
    assert is_refused(response, provider, "The provider did not complete the login")
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "x-evil" not in response.headers
    assert (error in response.text) is shown
    assert "canary" not in response.text
    assert len(response.text) < 500
