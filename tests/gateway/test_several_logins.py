"""A package with several logins, and what a provider says beside its token: one trip, one process, one sealed token."""

import json
import secrets
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
from starlette.responses import JSONResponse, Response

from tests.acceptance.keys import send_keys
from tests.entries import read_entry
from tests.gateway.client_login import KEYS, McpClient, Stage, bearer
from tests.gateway.running import STDLIB_SERVER, running_gateway
from tests.gateway.test_guarded_client_logins import guarded
from tests.providers.fault_making import Answer, FaultMakingProvider, query_of, token_document, unsigned_id_token
from tests.providers.serving import serve

ENVIRON: Final = {
    "ONE_CLIENT_ID": "one",
    "TWO_CLIENT_ID": "two",
    "ONE_CLIENT_SECRET": "secret one",
    "TWO_CLIENT_SECRET": "secret two",
}
PROBE: Final = STDLIB_SERVER.with_name("probe_server.py")
KEY: Final = "key of ada"


@dataclass(kw_only=True)
class TwoProviders(Stage):
    second: FaultMakingProvider


def block(address: str, name: str, **changes: Any) -> dict[str, Any]:
    return {
        "type": "oauth2",
        "flow": "pkce",
        "authorization_url": f"{address}/authorize",
        "token_url": f"{address}/token",
        "scopes": [f"{name}.read"],
        "client_id_env": f"{name.upper()}_CLIENT_ID",
        "client_secret_env": f"{name.upper()}_CLIENT_SECRET",
        **changes,
    }


def probe(auth: dict[str, Any], **env: Any) -> Any:
    return read_entry("work", {"command": sys.executable, "args": ["-B", str(PROBE)], "env": env, "auth": auth})


def two_logins(first: str, second: str) -> Any:
    auth: dict[str, Any] = {
        "one": block(first, "one", env_var_name="ONE_TOKEN"),
        "two": block(second, "two"),
        "typed": {"type": "keys", "keys": {"extra": {}}},
    }
    return probe(
        auth,
        TWO={"json": {"token": "${auth.two.access_token}", "of": "${auth.two.client_id}", "may": "${auth.two.scope}"}},
        KEY="${keys.extra}",
    )


@asynccontextmanager
async def several(**options: Any) -> AsyncGenerator[TwoProviders]:
    first, second = FaultMakingProvider(), FaultMakingProvider()
    first.answer_token, second.answer_token = mark("first"), mark("second")
    async with serve(first.app) as first_url, serve(second.app) as second_url:
        entries = [two_logins(first_url, second_url)]
        async with running_gateway(entries, ENVIRON, seal_keys=KEYS, **options) as running:
            yield TwoProviders(running, first, first_url, second=second)


def mark(name: str) -> Answer:
    """Tokens of that name, with the scopes that were asked for."""

    def answer(_form: dict[str, str]) -> Response:
        marked = {f"{kind}_token": f"{name}-{kind}-{secrets.token_hex(4)}" for kind in ("access", "refresh")}
        return JSONResponse(token_document(**marked, scope=None))

    return answer


@pytest.fixture
async def stage() -> AsyncGenerator[TwoProviders]:
    async with several() as stage:
        yield stage


async def log_in(stage: Stage, client: McpClient) -> dict[str, Any]:
    async with stage.browser() as browser:
        location = await browser.allow(client.authorization_url(), package="work")
        page = await pass_providers(browser, location)
        back = await send_keys(browser, page, {"extra": KEY})
    return await client.redeem(query_of(back.headers["location"]))


async def pass_providers(browser: Any, location: str) -> httpx2.Response:
    """Both logins, each with a redirect URI of its own; then our page."""
    for name in ("one", "two"):
        asked = query_of(location)
        assert (asked["client_id"], asked["scope"]) == (name, f"{name}.read")
        path = f"/work/auth/callback/{name}"
        assert asked["redirect_uri"].endswith(path)
        location = await browser.come_back(location, path=path)
    return await browser.get(location)


async def tell(stage: Stage, tokens: dict[str, Any]) -> dict[str, str]:
    return json.loads(await stage.running.call("work", "report", **bearer(tokens)))["env"]


async def test_three_logins_are_one_trip_and_reach_one_process(stage: TwoProviders) -> None:
    client = await stage.client("work")
    tokens = await log_in(stage, client)
    assert tokens["scope"] == "one.read two.read"
    env = await tell(stage, tokens)
    assert env["ONE_TOKEN"] == stage.provider.handed_out[0]["access_token"]
    two = stage.second.handed_out[0]["access_token"]
    assert json.loads(env["TWO"]) == {"token": two, "of": "two", "may": "two.read"}
    assert env["KEY"] == KEY
    renewed = (await client.refresh(tokens["refresh_token"])).json()
    env = await tell(stage, renewed)
    assert env["ONE_TOKEN"] == stage.provider.handed_out[1]["access_token"]
    assert json.loads(env["TWO"])["token"] == stage.second.handed_out[1]["access_token"]
    assert env["KEY"] == KEY
    # A provider's own token is not enough here.
    for token in (two, stage.provider.handed_out[1]["access_token"]):
        assert (await stage.running.rpc("work", "tools/list", **bearer(token))).status_code == 401


async def test_the_consent_page_names_all_of_them(stage: TwoProviders) -> None:
    client = await stage.client("work")
    async with stage.browser() as browser:
        page = " ".join((await browser.get(client.authorization_url())).text.split())
    assert page.count("127.0.0.1:") >= 2
    assert "then type your keys on a page of this gateway" in page


async def test_what_one_provider_renewed_is_kept_while_the_other_cannot_answer(stage: TwoProviders) -> None:
    client = await stage.client("work")
    tokens = await log_in(stage, client)
    good, stage.second.answer_token = stage.second.answer_token, stage.second.fail
    down = await client.refresh(tokens["refresh_token"])
    assert (down.status_code, down.json()["error"]) == (503, "temporarily_unavailable")
    stage.second.answer_token = good
    renewed = await client.refresh(tokens["refresh_token"])
    assert renewed.status_code == 200
    refreshes = [form for form in stage.provider.token_requests if form["grant_type"] == "refresh_token"]
    assert len(refreshes) == 1, "a rotating refresh token is used once"
    env = await tell(stage, renewed.json())
    assert env["ONE_TOKEN"] == stage.provider.handed_out[1]["access_token"]


async def test_a_callback_of_one_login_is_none_of_the_other(stage: TwoProviders) -> None:
    client = await stage.client("work")
    async with stage.browser() as browser:
        location = await browser.allow(client.authorization_url(), package="work")
        query = {"code": "x", "state": query_of(location)["state"]}
        for path in ("/work/auth/callback/two", "/work/auth/callback", "/work/auth/callback/typed"):
            answer = await browser.get(path, params=query)
            assert answer.status_code in (400, 404), path
        assert stage.provider.token_requests == stage.second.token_requests == []


async def test_a_person_gets_sealed_tokens_in_the_browser(stage: TwoProviders) -> None:
    async with stage.browser() as browser:
        asked = await browser.get("/work/auth/login", headers={"accept": "application/json"})
        assert asked.json()["login_url"] == f"{stage.url}/work/auth/login"
        location = (await browser.get("/work/auth/login")).headers["location"]
        answer = await send_keys(browser, await pass_providers(browser, location), {"extra": KEY})
    data = answer.json()["token_data"]
    assert (answer.json()["success"], data["token_type"], data["scope"]) == (True, "Bearer", "one.read two.read")
    assert "first-" not in answer.text and "second-" not in answer.text
    assert (await tell(stage, data))["KEY"] == KEY
    renewed = await stage.running.client.post("/work/auth/refresh", json={"refresh_token": data["refresh_token"]})
    assert (await tell(stage, renewed.json()["token_data"]))["KEY"] == KEY
    bad = await stage.running.client.post("/work/auth/refresh", json={"refresh_token": "fmcp1.AAAA"})
    assert bad.status_code == 400
    # An MCP client has no use for such a refresh token.
    client = await stage.client("work")
    assert (await client.refresh(data["refresh_token"])).status_code == 400


async def test_a_token_that_would_be_too_long_is_told(stage: TwoProviders) -> None:
    for provider in (stage.provider, stage.second):
        provider.answer_token = lambda _form: JSONResponse(token_document(access_token=secrets.token_urlsafe(1800)))
    client = await stage.client("work")
    async with stage.browser() as browser:
        location = await browser.allow(client.authorization_url(), package="work")
        back = await send_keys(browser, await pass_providers(browser, location), {"extra": KEY})
    answer = await client.ask_token(client.code_form(query_of(back.headers["location"])["code"]))
    assert (answer.status_code, answer.json()["error"]) == (502, "server_error")
    assert "too long" in answer.json()["error_description"]


def wanting(address: str, **changes: Any) -> Any:
    auth = block(address, "one", issuer="https://id.example", **changes)
    return probe(
        auth,
        TOKEN="${auth.access_token}",
        PLACE="${auth.extra.instance_url}",
        ID="${auth.id_token}",
        MAIL="${person.email}/${person.sub}",
    )


def name_ada(form: dict[str, str]) -> JSONResponse:
    claims = {"iss": "https://id.example", "sub": "ada", "aud": "one", "email": "Ada@Example.org"}
    id_token = unsigned_id_token(**claims, email_verified=True, exp=4_000_000_000)
    extra = {"instance_url": "https://ada.my.example", "issued_at": 17, "nested": {"a": 1}}
    first = {"id_token": id_token, **extra} if form["grant_type"] == "authorization_code" else {}
    return JSONResponse(token_document(**first))


async def test_what_the_provider_says_beside_the_token_reaches_the_process_and_outlives_a_renewal() -> None:
    provider = FaultMakingProvider()
    provider.answer_token = name_ada
    async with serve(provider.app) as address:
        async with running_gateway([wanting(address)], ENVIRON, seal_keys=KEYS) as running:
            stage = Stage(running, provider, address)
            client = await stage.client("work")
            async with stage.browser() as browser:
                location = await browser.allow(client.authorization_url(), package="work")
                back = await browser.come_back(location, path="/work/auth/callback")
            tokens = await client.redeem(query_of(back))
            env = await tell(stage, tokens)
            assert env["PLACE"] == "https://ada.my.example"
            assert env["ID"] == provider.handed_out[0]["id_token"]
            assert env["MAIL"] == "Ada@Example.org/ada"
            renewed = (await client.refresh(tokens["refresh_token"])).json()
            env = await tell(stage, renewed)
            assert env["TOKEN"] == provider.handed_out[1]["access_token"]
            assert (env["PLACE"], env["MAIL"]) == ("https://ada.my.example", "Ada@Example.org/ada")
            # The token alone would not bring it.
            alone = await running.rpc("work", "tools/list", **bearer(provider.handed_out[1]["access_token"]))
            assert alone.status_code == 401


async def test_an_address_that_nobody_verified_is_none() -> None:
    provider = FaultMakingProvider()
    provider.answer_token = provider.name_person("ada")
    async with serve(provider.app) as address:
        async with running_gateway([wanting(address)], ENVIRON, seal_keys=KEYS) as running:
            stage = Stage(running, provider, address)
            client = await stage.client("work")
            async with stage.browser() as browser:
                location = await browser.allow(client.authorization_url(), package="work")
                back = await browser.come_back(location, path="/work/auth/callback")
            tokens = await client.redeem(query_of(back))
            refused = await running.rpc("work", "tools/list", **bearer(tokens))
    assert "which the provider did not tell" in refused.text


async def test_the_company_comes_first(tmp_path: Path) -> None:
    first, second = FaultMakingProvider(), FaultMakingProvider()
    async with serve(first.app) as first_url, serve(second.app) as second_url:
        entries = [two_logins(first_url, second_url)]
        async with guarded(tmp_path, entries=entries, environ=ENVIRON) as stage:
            client = await stage.client("work")
            async with stage.browser() as browser:
                location = await browser.allow(client.authorization_url(), package="work")
                following = await browser.come_back(location, path="/auth/callback")
                back = await send_keys(browser, await pass_providers(browser, following), {"extra": KEY})
            tokens = await client.redeem(query_of(back.headers["location"]))
            assert (await tell(stage, tokens))["KEY"] == KEY
            assert (await client.refresh(tokens["refresh_token"])).status_code == 200
            assert [len(one.token_requests) for one in (stage.company, first, second)] == [2, 2, 2]


async def test_a_provider_that_vouches_for_its_token_alone_is_not_enough_where_more_is_wanted() -> None:
    provider = FaultMakingProvider()
    provider.answer_token = name_ada
    active = {"active": True, "sub": "ada", "client_id": "one", "aud": "one", "token_type": "Bearer"}
    provider.answer_introspection = lambda _form: JSONResponse(active)
    async with serve(provider.app) as address:
        entry = wanting(address, introspection_url=f"{address}/introspect", scopes=[])
        async with running_gateway([entry], ENVIRON, seal_keys=KEYS) as running:
            stage = Stage(running, provider, address)
            alone = await running.rpc("work", "tools/list", **bearer("of-the-provider"))
            assert (alone.status_code, provider.introspections) == (401, [])
            # So the login in the browser hands out a token that holds all of it.
            async with stage.browser() as browser:
                location = (await browser.get("/work/auth/login")).headers["location"]
                query = {"code": "the-code", "state": query_of(location)["state"]}
                data = (await browser.get("/work/auth/callback", params=query)).json()["token_data"]
            assert data["access_token"].startswith("fmcp1.")
            assert (await tell(stage, data))["PLACE"] == "https://ada.my.example"
