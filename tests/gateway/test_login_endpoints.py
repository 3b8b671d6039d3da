"""The login routes as endpoints: headers, cookies, names, methods, refresh."""

import logging

import pytest
from starlette.responses import JSONResponse

from fluidmcp.errors import UnauthorizedError
from fluidmcp.oauth_client import waiting_logins as login
from fluidmcp.oauth_client.fetch import Fetcher
from tests.gateway.logins import begin, call_back, is_refused, logins
from tests.providers.fault_making import query_of, token_document
from tests.providers.login_gateway import LoginGateway, contents_of


@pytest.mark.threat("B12")
async def test_b12_every_answer_is_uncached_unframed_and_unreadable_for_other_sites() -> None:
    async with logins() as (gateway, _provider), gateway.browser() as browser:
        origin = {"Origin": "https://evil.example"}
        state = await begin(browser)
        answers = [
            await browser.get("/mail/auth/login", headers=origin),
            await browser.get("/mail/auth/login", headers={"Accept": "application/json"}),
            await call_back(browser, state=state),
            await call_back(browser, state=state),
            await browser.post("/mail/auth/refresh", json={"refresh_token": "rt"}, headers=origin),
            await browser.post("/mail/auth/refresh", content=b"x"),
            await browser.get("/unknown/auth/login"),
            await browser.get("/none/auth/callback"),
            await browser.head("/mail/auth/callback"),
            await browser.options("/mail/auth/refresh", headers=origin),
        ]
    assert [answer.status_code for answer in answers] == [302, 200, 200, 400, 200, 415, 404, 404, 405, 405]
    for answer in answers:
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["pragma"] == "no-cache"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.threat("B14")
@pytest.mark.parametrize(
    "target", ["//evil.example", "/\\evil.example", "https://u@evil.example", "javascript:alert(1)"]
)
async def test_b14_no_parameter_leads_anywhere(target: str) -> None:
    names = ("next", "redirect_uri", "return_to", "url", "state", "canonical")
    async with logins() as (gateway, _provider), gateway.browser() as browser:
        parameters: dict[str, str] = dict.fromkeys(names, target)
        for host in ("localhost:8099", "127.0.0.1:8099"):
            response = await browser.get("/mail/auth/login", params=parameters, headers={"Host": host})
            assert response.headers["location"].startswith("http://127.0.0.1:")
            assert "evil" not in response.headers["location"]
            assert query_of(response.headers["location"])["redirect_uri"].startswith("http://localhost:8099/")


@pytest.mark.threat("B15")
async def test_b15_addresses_come_from_the_public_url_whatever_the_headers_say() -> None:
    evil = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https", "Forwarded": "host=evil.example"}
    async with logins(public_url="https://gateway.example") as (gateway, _provider), gateway.browser() as browser:
        response = await browser.get("/mail/auth/login", headers=evil)
        assert query_of(response.headers["location"])["redirect_uri"] == "https://gateway.example/mail/auth/callback"
        for host in ("evil.example", "evil.example:80", "[", "", "localhost"):
            response = await browser.get("/mail/auth/login", headers={"Host": host})
            assert response.headers["location"] == "https://gateway.example/mail/auth/login?canonical=1"
            assert "set-cookie" not in response.headers
        response = await browser.get("/mail/auth/login", headers={"Host": "evil.example", "Accept": "application/json"})
        assert response.json()["login_url"] == "https://gateway.example/mail/auth/login"


async def test_a_login_under_another_name_moves_to_the_canonical_one_once() -> None:
    async with logins() as (gateway, _provider), gateway.browser() as browser:
        moved = await browser.get("/mail/auth/login", headers={"Host": "127.0.0.1:8099"})
        assert moved.headers["location"] == "http://localhost:8099/mail/auth/login?canonical=1"
        assert len(gateway.pending_auth_states) == 0
        # A proxy that changes the Host header must not make a loop of it.
        again = await browser.get(moved.headers["location"], headers={"Host": "127.0.0.1:8099"})
        assert "/authorize?" in again.headers["location"]
        # Cookies know no ports: the alias port is the same name.
        alias = await browser.get("/mail/auth/login", headers={"Host": "localhost:8090"})
        assert "/authorize?" in alias.headers["location"]


@pytest.mark.promise(123)
@pytest.mark.threat("B16")
async def test_b16_packages_that_are_unknown_or_need_no_login_are_404_and_nothing_is_reflected() -> None:
    for is_anything_guarded in (True, False):
        async with logins(is_anything_guarded=is_anything_guarded) as (gateway, _provider):
            async with gateway.browser() as browser:
                for endpoint in ("login", "callback"):
                    unknown = await browser.get(f"/<script>canary/auth/{endpoint}")
                    assert (unknown.status_code, unknown.json()["error"]) == (404, "Unknown package")
                    assert "canary" not in unknown.text
                    assert ("jira, mail, none" in unknown.text) is not is_anything_guarded
                    none = await browser.get(f"/none/auth/{endpoint}")
                    assert none.status_code == 404
                    assert none.json() == {"error": "Package does not require OAuth authentication"}
                none = await browser.post("/none/auth/refresh", json={"refresh_token": "rt"})
                assert none.status_code == 404
                assert (await browser.get("/mail/..%2f/auth/login")).status_code == 404


@pytest.mark.threat("B19")
async def test_b19_a_token_with_a_line_break_is_not_handed_out() -> None:
    async with logins() as (gateway, provider), gateway.browser() as browser:
        provider.answer_token = lambda _form: JSONResponse(token_document(access_token="a\r\nX: 1"))
        response = await call_back(browser, state=await begin(browser))
    assert response.status_code == 502
    assert "X: 1" not in response.text


@pytest.mark.threat("B20")
@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("HEAD", {}, 405),
        ("POST", {}, 405),
        ("OPTIONS", {}, 405),
        ("GET", {"Sec-Purpose": "prefetch"}, 403),
        ("GET", {"Sec-Purpose": "prefetch;prerender"}, 403),
        ("GET", {"Purpose": "prefetch"}, 403),
    ],
)
async def test_b20_head_prefetch_and_post_neither_begin_nor_end_a_login(
    method: str, headers: dict[str, str], status: int
) -> None:
    async with logins() as (gateway, provider), gateway.browser() as browser:
        state = await begin(browser)
        address = f"/mail/auth/callback?state={state}&code=c"
        assert (await browser.request(method, address, headers=headers)).status_code == status
        assert (await browser.request(method, "/mail/auth/login", headers=headers)).status_code == status
        assert len(gateway.pending_auth_states) == 1
        assert not provider.token_requests
        assert (await browser.get(address)).status_code == 200


@pytest.mark.threat("B21")
@pytest.mark.parametrize(
    ("public_url", "prefix", "secure"),
    [("http://localhost:8099", "fmcp_login_", ""), ("https://g.example", "__Secure-fmcp_login_", "; Secure")],
)
async def test_b21_the_cookie_has_its_flags_and_is_cleared_at_the_callback(
    public_url: str, prefix: str, secure: str
) -> None:
    async with logins(public_url=public_url) as (gateway, _provider), gateway.browser() as browser:
        response = await browser.get("/mail/auth/login")
        name, _, rest = response.headers["set-cookie"].partition("=")
        assert name.startswith(prefix)
        assert rest.split("; ", 1)[1] == f"HttpOnly; Max-Age=600; Path=/mail/auth; SameSite=lax{secure}"
        state = query_of(response.headers["location"])["state"]
        finished = await call_back(browser, state=state)
        assert finished.status_code == 200
        assert finished.headers["set-cookie"].startswith(f'{name}=""; ')
        assert f"Max-Age=0; Path=/mail/auth; SameSite=lax{secure}" in finished.headers["set-cookie"]
        assert not browser.cookies


@pytest.mark.threat("B22")
async def test_b22_a_planted_cookie_opens_nothing() -> None:
    async with logins() as (gateway, provider), gateway.browser() as attacker, gateway.browser() as victim:
        state = await begin(attacker)
        real = dict(attacker.cookies)
        name = login.cookie_name(state, is_secure=False)
        for planted in ("x", "", state, "A" * 43, "é"):
            headers = {b"Cookie": f"{name}={planted}".encode()}
            response = await victim.get("/mail/auth/callback", params={"code": "c", "state": state}, headers=headers)
            assert is_refused(response, provider)
        stored = repr(contents_of(gateway.pending_auth_states))
        assert real[name] not in stored
        assert state not in stored


@pytest.mark.promise(112)
@pytest.mark.threat("B23")
async def test_b23_two_tabs_and_two_packages_log_in_at_once() -> None:
    async with logins() as (gateway, provider), gateway.browser() as browser:
        states = [(package, await begin(browser, package)) for package in ("mail", "jira", "mail")]
        assert len({state for _, state in states}) == 3
        for package, state in reversed(states):
            assert (await call_back(browser, package, state=state)).status_code == 200
    assert len({sent["code_verifier"] for sent in provider.token_requests}) == 3


@pytest.mark.promise(82, 116)
@pytest.mark.threat("B28")
async def test_b28_a_missing_client_id_is_named_and_no_value_is_shown() -> None:
    environ = {"MAIL_CLIENT_SECRET": "canary"}
    async with logins(environ=environ) as (gateway, _provider), gateway.browser() as browser:
        for accept in ("*/*", "application/json"):
            response = await browser.get("/mail/auth/login", headers={"Accept": accept})
            assert (response.status_code, response.json()["error"]) == (503, "client_id not found")
            assert "MAIL_CLIENT_ID" in response.text
            assert "canary" not in response.text


@pytest.mark.threat("B28")
async def test_b28_the_secret_is_in_no_redirect_answer_or_description() -> None:
    environ = {"MAIL_CLIENT_ID": "gateway", "MAIL_CLIENT_SECRET": "canary"}
    async with logins(environ=environ) as (gateway, provider), gateway.browser() as browser:
        begun = await browser.get("/mail/auth/login")
        provider.answer_token = lambda _form: JSONResponse({"error": "invalid_client"}, status_code=401)
        refused = await call_back(browser, state=query_of(begun.headers["location"])["state"])
        described = await browser.get("/openapi.json")
    assert provider.token_requests[0]["client_secret"] == "canary"
    assert "canary" not in str(begun.headers) + refused.text + described.text + repr(vars(gateway.auths["mail"]))


@pytest.mark.promise(67, 92)
@pytest.mark.threat("D04")
async def test_d04_a_login_asked_for_as_json_begins_nothing() -> None:
    async with logins() as (gateway, provider), gateway.browser() as attacker, gateway.browser() as victim:
        for accept in ("application/json", "application/json, text/plain, */*", "APPLICATION/JSON;q=1"):
            response = await attacker.get("/mail/auth/login", headers={"Accept": accept})
            assert response.json()["login_url"] == "http://localhost:8099/mail/auth/login"
            assert "set-cookie" not in response.headers
        assert len(gateway.pending_auth_states) == 0
        for accept in ("*/*", "text/html,application/json", ""):
            assert (await victim.get("/mail/auth/login", headers={"Accept": accept})).status_code == 302
        # The address that the script passes on gives a login, and its cookie, to the browser that opens it only.
        state = await begin(victim)
        assert is_refused(await call_back(attacker, state=state), provider)
        assert (await call_back(victim, state=state)).status_code == 200


@pytest.mark.threat("D17")
@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Dest": "image", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Dest": "iframe", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Dest": "empty", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Dest": "script", "Sec-Fetch-Mode": "no-cors"},
    ],
)
async def test_d17_images_frames_and_scripts_neither_begin_nor_end_a_login(headers: dict[str, str]) -> None:
    async with logins() as (gateway, provider), gateway.browser() as browser:
        state = await begin(browser)
        address = f"/mail/auth/callback?state={state}&code=c"
        assert (await browser.get("/mail/auth/login", headers=headers)).status_code == 403
        assert (await browser.get(address, headers=headers)).status_code == 403
        assert len(gateway.pending_auth_states) == 1
        assert not provider.token_requests
        person = {"Sec-Fetch-Dest": "document", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "cross-site"}
        assert (await browser.get(address, headers=person)).status_code == 200


@pytest.mark.threat("D17")
async def test_d17_a_refresh_from_another_site_or_not_as_json_is_refused() -> None:
    async with logins() as (gateway, provider), gateway.browser() as browser:
        for site in ("cross-site", "same-site"):
            response = await browser.post(
                "/mail/auth/refresh", json={"refresh_token": "rt"}, headers={"Sec-Fetch-Site": site}
            )
            assert response.status_code == 403
        for content_type in ("text/plain", "application/x-www-form-urlencoded", ""):
            response = await browser.post(
                "/mail/auth/refresh", content=b'{"refresh_token":"rt"}', headers={"Content-Type": content_type}
            )
            assert response.status_code == 415
        assert not provider.token_requests


async def test_a_refresh_gives_the_same_json_and_the_new_token_is_good() -> None:
    async with logins() as (gateway, _provider), gateway.browser() as browser:
        first = (await call_back(browser, state=await begin(browser))).json()
        refresh_token = first["token_data"]["refresh_token"]
        response = await browser.post(
            "/mail/auth/refresh",
            json={"refresh_token": refresh_token},
            headers={"Content-Type": "application/json; charset=utf-8"},
        )
        second = response.json()
        assert second.keys() == first.keys()
        assert second["token_data"].keys() == first["token_data"].keys()
        tokens = [answer["token_data"]["access_token"] for answer in (first, second)]
        assert tokens[0] != tokens[1]
        owners = {(await gateway.auths["mail"].authenticate(token)).owner for token in tokens}
        assert len(owners) == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{}", 400),
        (b"[]", 400),
        (b"\xff", 400),
        (b"[" * 10_000, 400),
        (b'{"refresh_token": 1}', 400),
        (b'{"refresh_token": ""}', 400),
        (b'{"refresh_token": "a b"}', 400),
        (b'{"refresh_token": "' + b"x" * 20_000 + b'"}', 413),
    ],
)
async def test_a_malformed_refresh_is_refused_without_asking_the_provider(body: bytes, status: int) -> None:
    async with logins() as (gateway, provider), gateway.browser() as browser:
        response = await browser.post("/mail/auth/refresh", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == status
    assert response.json()["error"]
    assert not provider.token_requests


async def test_a_stranger_gets_403_and_no_token() -> None:
    async with logins(block={"allowed_subjects": ("alice",)}) as (gateway, provider), gateway.browser() as browser:
        provider.answer_token = lambda _form: JSONResponse(token_document(access_token="at"))
        response = await call_back(browser, state=await begin(browser))
        assert response.status_code == 403
        assert "access_token" not in response.text
        with pytest.raises(UnauthorizedError):
            await gateway.auths["mail"].authenticate("at")


@pytest.mark.promise(65, 110, 114, 122)
async def test_no_secret_of_a_login_stays_in_memory_stores_or_logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="fluidmcp")
    async with logins() as (gateway, provider), gateway.browser() as browser:
        provider.answer_token = lambda _form: JSONResponse(
            token_document(access_token="canary-access", refresh_token="canary-refresh")
        )
        state = await begin(browser)
        await call_back(browser, state=state, code="canary-code")
        stores = [contents_of(store) for store in (gateway.pending_auth_states, gateway.handed_out)]
    verifier = provider.token_requests[0]["code_verifier"]
    everything = repr(stores) + caplog.text
    for secret in ("canary", verifier, state):
        assert secret not in everything


async def test_the_openapi_document_describes_the_endpoints() -> None:
    fetcher = Fetcher()
    gateway = LoginGateway({}, fetcher=fetcher)
    async with gateway.browser() as browser:
        paths = (await browser.get("/openapi.json")).json()["paths"]
    await fetcher.aclose()
    assert {path: list(endpoints) for path, endpoints in paths.items()} == {
        "/{package}/auth/login": ["get"],
        "/{package}/auth/callback": ["get"],
        "/{package}/auth/callback/{login}": ["get"],
        "/{package}/auth/refresh": ["post"],
    }
    assert "requestBody" in paths["/{package}/auth/refresh"]["post"]
    assert {"200", "302", "404", "503"} <= paths["/{package}/auth/login"]["get"]["responses"].keys()
