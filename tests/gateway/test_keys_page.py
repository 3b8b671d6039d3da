"""The page on which people type keys: who may open it, send it and fill it in, and what becomes of what is typed."""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

from fluidmcp.authentication.person import HeldLogin, Person
from fluidmcp.authentication.verifiers.cached import BURST_OF_UNKNOWN_TOKENS
from fluidmcp.authorization_server.authorization_server import Journey
from fluidmcp.authorization_server.grant import UpstreamGrant
from fluidmcp.errors import ProviderUnavailableError
from fluidmcp.gateway.login.authorization_endpoint import Form
from fluidmcp.gateway.mcp.messages import Caller
from fluidmcp.guards.keys_login import KeysRefusedError
from tests.acceptance.harness import free_port
from tests.acceptance.keys import ADA, BO, ENV, block, read_page, running_key_api, send_keys
from tests.entries import read_entry
from tests.gateway.client_login import KEYS, Browser, McpClient, Stage, bearer
from tests.gateway.running import STDLIB_SERVER, running_gateway
from tests.gateway.test_guarded_client_logins import guarded
from tests.providers.fault_making import FaultMakingProvider, query_of

PROBE: Final = STDLIB_SERVER.with_name("probe_server.py")


def probe(name: str, auth: dict[str, Any], **changes: Any) -> Any:
    value = {"command": sys.executable, "args": ["-B", str(PROBE)], "env": ENV, "auth": auth, **changes}
    return read_entry(name, value)


@asynccontextmanager
async def key_stage(**options: Any) -> AsyncGenerator[Stage]:
    entries = [probe("dog", block(**options.pop("block", {}))), probe("cat", block())]
    async with running_gateway(entries, seal_keys=KEYS, **options) as running:
        yield Stage(running, FaultMakingProvider())


@pytest.fixture
async def stage() -> AsyncGenerator[Stage]:
    async with key_stage() as stage:
        yield stage


async def open_page(stage: Stage, browser: Browser, client: McpClient | None = None) -> httpx2.Response:
    """Through the consent page, where a client asks."""
    if client is None:
        response = await browser.get("/dog/auth/login")
        location = response.headers["location"]
    else:
        location = await browser.allow(client.authorization_url(), package="dog")
    page = await browser.get(location)
    assert page.status_code == 200, page.text
    return page


async def tell(stage: Stage, headers: dict[str, str], package: str = "dog") -> dict[str, Any]:
    return json.loads(await stage.running.call(package, "report", **headers))


async def test_a_client_logs_in_with_the_url_alone_and_renews(stage: Stage) -> None:
    client = await stage.client("dog")
    async with stage.browser() as browser:
        consent = await browser.get(client.authorization_url())
        assert "type your keys on a page of this gateway, and go back" in " ".join(consent.text.split())
        page = await open_page(stage, browser, client)
        assert "A test client" in page.text
        back = await send_keys(browser, page, ADA)
    tokens = await client.redeem(query_of(back.headers["location"]))
    told = await tell(stage, bearer(tokens))
    assert json.loads(told["env"]["BOTH"])["keys"] == [ADA["api_key"], ADA["app_key"]]
    renewed = (await client.refresh(tokens["refresh_token"])).json()
    again = await tell(stage, bearer(renewed))
    assert again["env"]["HOME"] == told["env"]["HOME"], "a renewed login keeps its process"
    assert len(tokens["access_token"]) < 4096
    await client.post("revoke", data={"token": renewed["refresh_token"], "client_id": client.client_id})
    assert (await stage.running.rpc("dog", "tools/list", **bearer(renewed))).status_code == 401


@pytest.mark.threat("E11")
async def test_nobody_frames_it_and_no_address_fills_it_in(stage: Stage) -> None:
    async with stage.browser() as browser:
        location = (await browser.get("/dog/auth/login")).headers["location"]
        page = await browser.get(f"{location}&key-api_key=planted&api_key=planted")
        framed = await browser.get(location, headers={"sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"})
    assert page.headers["x-frame-options"] == "DENY"
    policy = page.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy and "script-src" not in policy and "default-src 'none'" in policy
    assert page.headers["cache-control"] == "no-store"
    assert "planted" not in page.text and "script" not in read_page(page).tags
    assert all("value" not in one for one in read_page(page).inputs)
    assert framed.status_code == 403


@pytest.mark.threat("E11")
async def test_no_other_site_and_no_other_browser_sends_it(stage: Stage) -> None:
    client = await stage.client("dog")
    async with stage.browser() as browser, stage.browser() as thief:
        page = await open_page(stage, browser, client)
        state = read_page(page).hidden["state"]
        form = {**read_page(page).hidden, "key-api_key": BO["api_key"], "key-app_key": "planted", "decision": "allow"}
        foreign = await browser.post("/dog/auth/keys", data=form, headers={"origin": "https://evil.example"})
        assert foreign.status_code == 403
        # A link that leads into the login that somebody else began, and the form sent from elsewhere.
        assert (await thief.get(f"/dog/auth/keys?state={state}")).status_code == 400
        stolen = await thief.post("/dog/auth/keys", data=form, headers={"origin": stage.url})
        assert stolen.status_code == 400
        # At another package of the same gateway it is nobody's.
        elsewhere = await browser.post("/cat/auth/keys", data=form, headers={"origin": stage.url})
        assert elsewhere.status_code == 400
        unknown = await browser.get(f"/dog/auth/keys?state={'A' * 43}")
        assert unknown.status_code == 400
        for wrong in ({**form, "decision": "yes"}, {key: value for key, value in form.items() if key != "decision"}):
            assert (await browser.post("/dog/auth/keys", data=wrong, headers={"origin": stage.url})).status_code == 400
        # None of it ended the login of the one who began it.
        back = await send_keys(browser, page, ADA)
    tokens = await client.redeem(query_of(back.headers["location"]))
    assert (await tell(stage, bearer(tokens)))["env"]["MAIL_API_KEY"] == ADA["api_key"]
    for answer in (foreign, stolen, elsewhere):
        assert "planted" not in answer.text


@pytest.mark.threat("E11")
@pytest.mark.parametrize(
    ("app_key", "why"),
    [
        ("Zq7x\0", "control character"),
        ("Zq7x\r\nX-Evil: 1", "control character"),
        ("Zq7x\x1b[31m", "control character"),
        ("Zq7x\x85", "control character"),
        ("Zq7x\u2028", "control character"),
        ("Zq7x" * 492, None),
        ("Zq7x" * 493, "Together they are longer than 2000 bytes"),
        ("Zq7x" * 501, "longer than 2000 bytes"),
        ("", "is missing"),
        ("   ", "is missing"),
    ],
)
async def test_what_no_key_can_hold_is_refused_and_shown_nowhere(
    stage: Stage, app_key: str, why: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    async with stage.browser() as browser:
        page = await open_page(stage, browser)
        answer = await send_keys(browser, page, {"api_key": ADA["api_key"], "app_key": app_key})
    assert answer.status_code == (200 if why is None else 400)
    assert (why or "fmcp1.") in answer.text
    assert "Zq7x" not in answer.text and "Zq7x" not in caplog.text


@pytest.mark.parametrize(("app_key", "status"), [("caf\u00e9 Zq7x", 400), ("Zq7x\u20ac", 400), ("good", 200)])
async def test_a_key_that_no_header_can_carry_to_the_api_is_told_on_the_page(app_key: str, status: int) -> None:
    async with running_key_api() as (api, address):
        api.good.add("good")
        check = {"url": f"{address}/validate", "headers": {"DD-API-KEY": "${keys.app_key}"}}
        async with key_stage(block={"verify": check}) as stage, stage.browser() as browser:
            page = await open_page(stage, browser)
            answer = await send_keys(browser, page, {**ADA, "app_key": app_key})
    assert answer.status_code == status
    assert ("They hold characters that the service cannot take." in answer.text) is (status == 400)
    assert api.asked == ([] if status == 400 else ["good"])


@pytest.mark.threat("E11")
async def test_a_form_of_100_kb_is_refused_and_the_login_goes_on(stage: Stage) -> None:
    async with stage.browser() as browser:
        page = await open_page(stage, browser)
        large = await send_keys(browser, page, {**ADA, "app_key": "x" * 100_000})
        assert large.status_code == 413
        twice = await browser.post(
            "/dog/auth/keys",
            content=f"state={read_page(page).hidden['state']}&decision=allow&key-app_key=a&key-app_key=b",
            headers={"origin": stage.url, "content-type": "application/x-www-form-urlencoded"},
        )
        assert twice.status_code == 400
        done = await send_keys(browser, page, ADA)
        assert not browser.cookies, "the cookie of a login that has ended is taken away"
    assert done.json()["success"]


async def test_a_person_can_say_no(stage: Stage) -> None:
    client = await stage.client("dog")
    async with stage.browser() as browser:
        page = await open_page(stage, browser, client)
        back = await send_keys(browser, page, {}, decision="deny")
        assert query_of(back.headers["location"])["error"] == "access_denied"
        assert not [name for name in browser.cookies if "login" in name]
        gone = await send_keys(browser, page, ADA)
        assert gone.status_code == 400
        alone = await open_page(stage, browser)
        assert "cancelled" in (await send_keys(browser, alone, {}, decision="deny")).text


async def test_of_many_forms_at_once_one_logs_in(stage: Stage) -> None:
    client = await stage.client("dog")
    async with stage.browser() as browser:
        page = await open_page(stage, browser, client)
        answers = await asyncio.gather(*(send_keys(browser, page, ADA) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [302] + [400] * 7


async def test_a_service_that_does_not_answer_is_told_in_words_for_the_person_and_the_page_stays() -> None:
    address = f"http://127.0.0.1:{free_port()}"
    async with key_stage(block={"address": address}) as stage, stage.browser() as browser:
        page = await open_page(stage, browser)
        for _ in range(2):
            answer = await send_keys(browser, page, ADA)
            assert answer.status_code == 503
            assert "The keys cannot be checked now: 127.0.0.1 does not answer. Try again in a moment." in answer.text
            assert "network" not in answer.text and "provider" not in answer.text


@pytest.mark.threat("E11")
async def test_tries_from_one_address_are_counted() -> None:
    async with running_key_api() as (api, address), key_stage(block={"address": address}) as stage:
        async with stage.browser() as browser:
            page = await open_page(stage, browser)
            tries = [await send_keys(browser, page, {**ADA, "api_key": f"{number:032x}"}) for number in range(31)]
    assert [answer.status_code for answer in tries] == [400] * 30 + [429]
    assert len(api.asked) == 30


@pytest.mark.threat("E11")
async def test_the_api_hears_a_bounded_number_of_guesses_however_many_addresses_they_come_from() -> None:
    async with running_key_api() as (api, address), key_stage(block={"address": address}) as stage:
        guard = stage.running.gateway.parts.logins.auths["dog"]
        assert guard is not None and guard.keys is not None
        refusals: list[str] = []
        for number in range(400):
            guess = {**ADA, "api_key": f"{number:032x}"}
            try:
                await guard.keys.check(guess, client_address=f"10.0.{number // 20}.1")
            except KeysRefusedError:
                continue
            except ProviderUnavailableError as error:
                refusals.append(f"{error.what}: {error.why}")
                break
    assert BURST_OF_UNKNOWN_TOKENS <= len(api.asked) < 400
    assert "The keys cannot be checked now: Too many are typed here, and 127.0.0.1:" in refusals[0]


def test_what_holds_keys_shows_none() -> None:
    held = HeldLogin("", Person("keys", "login:x"), "", None, {"api_key": "Zq7x"})
    grant = UpstreamGrant(held.person, "Zq7x", "Zq7x", None, held.values)
    journey = Journey("dog", None, grant, {"": grant})
    shown = repr((held, grant, journey, journey.done, Caller(None, (held,)), Form({"key-api_key": "Zq7x"}, ())))
    assert "Zq7x" not in shown


async def test_the_keys_of_a_client_are_not_good_for_another_package_or_after_another_question(stage: Stage) -> None:
    client = await stage.client("dog")
    async with stage.browser() as browser:
        back = await send_keys(browser, await open_page(stage, browser, client), ADA)
    tokens = await client.redeem(query_of(back.headers["location"]))
    assert (await stage.running.rpc("cat", "tools/list", **bearer(tokens))).status_code == 401
    public_url = stage.url
    same = block(keys={"api_key": {"title": "Renamed"}, "app_key": {"help": "https://other.example/"}})
    other = block(keys={"api_key": {}, "app_key": {}, "site": {"secret": False}})
    for auth, status in ((same, 200), (other, 401)):
        env = {**ENV, "SITE": "${keys.site}"} if auth is other else ENV
        entries = [probe("dog", auth, env=env)]
        async with running_gateway(entries, seal_keys=KEYS, public_url=public_url) as again:
            assert (await again.rpc("dog", "tools/list", **bearer(tokens))).status_code == status


async def test_the_company_comes_first_then_the_keys_in_one_trip(tmp_path: Path) -> None:
    entries = [probe("dog", block())]
    async with guarded(tmp_path, entries=entries) as stage:
        client = await stage.client("dog")
        async with stage.browser() as browser:
            consent = await browser.get(client.authorization_url())
            assert "then type your keys on a page of this gateway" in " ".join(consent.text.split())
            location = await browser.allow(client.authorization_url(), package="dog")
            page = await browser.get(await browser.come_back(location, path="/auth/callback"))
            back = await send_keys(browser, page, BO)
        tokens = await client.redeem(query_of(back.headers["location"]))
        told = await tell(stage, bearer(tokens))
        assert told["env"]["MAIL_API_KEY"] == BO["api_key"]
        assert "ada" not in json.dumps(told["env"]), "nothing of the company's login reaches the process"
        renewed = await client.refresh(tokens["refresh_token"])
        assert stage.company.token_requests[-1]["grant_type"] == "refresh_token"
        assert (await tell(stage, bearer(renewed.json())))["env"]["HOME"] == told["env"]["HOME"]
