"""Logins on the page of a gateway in a real browser: strangers, people, and the operator."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from tests.browser.chromium import open_chromium
from tests.browser.page_stage import Visit, add_sign_in, visiting
from tests.gateway.client_login import McpClient
from tests.gateway.test_guarded_client_logins import OPERATORS_TOKEN, GuardedStage, guarded
from tests.gateway.test_page import page_entry

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.asyncio(loop_scope="module")]

SHORT_SECONDS = 40
"""So short that the page renews the token before each use."""


@dataclass(frozen=True, slots=True)
class LoginStage:
    company: GuardedStage
    browser: Browser

    @property
    def url(self) -> str:
        return self.company.url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LoginStage]:
    home: Path = tmp_path_factory.mktemp("home")
    async with open_chromium() as browser, guarded(home, entries=[page_entry()]) as company:
        add_sign_in(company.company)
        add_sign_in(company.provider, "Sign in again")
        yield LoginStage(company, browser)


async def open_package(page: Page, name: str) -> None:
    await page.locator(f"#package-{name} > summary").click()


async def read_kept(visit: Visit) -> str:
    """All that the browser keeps for the gateway, and its address."""
    stores = "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])"
    kept = await visit.page.evaluate(stores)
    return kept + str(await visit.context.cookies())


@pytest.mark.threat("E18")
async def test_a_stranger_sees_a_login_and_no_names(stage: LoginStage) -> None:
    for path in ("/", "/tools/mcp", "/nothing/mcp"):
        async with visiting(stage.browser, stage.url + path) as visit:
            await visit.page.get_by_role("button", name="Log in", exact=True).wait_for()
            shown = await visit.page.inner_text("main")
            assert "Log in to this gateway" in shown
            assert not re.search(r"\b(tools|mail|try)\b", shown)
            assert visit.trouble == []
            assert all(url.startswith(f"{stage.url}/") for url in visit.asked)


async def test_a_person_logs_in_reads_tries_a_tool_and_logs_out(stage: LoginStage) -> None:
    stage.company.company.answer_token = stage.company.company.name_person("ada")
    async with visiting(stage.browser, f"{stage.url}/") as visit:
        page = visit.page
        await visit.log_in("Log in")
        await page.get_by_text("You are ada.").wait_for()
        assert await page.evaluate("document.activeElement.tagName") == "H1", "a person without eyes reads on from here"
        assert await page.locator("details.package > summary h2").all_inner_texts() == ["tools", "mail", "try"]
        assert await page.get_by_text("For the operator").count() == 0
        await open_package(page, "try")
        await visit.log_in("Log in to try")
        await page.get_by_text("Your provider's name for you is ada.").wait_for()
        ask = await visit.open_tool("ask")
        assert await page.locator("#package-try > summary .state").inner_text() == "Running"
        await ask.get_by_role("button", name="Run").click()
        await ask.get_by_label("Your name").fill("Ada")
        await ask.get_by_role("button", name="Answer").click()
        await ask.get_by_text("It answered.").wait_for()
        picture = await visit.run("picture")
        await picture.locator("img").wait_for()
        assert "fmcp1." not in await read_kept(visit)
        assert visit.trouble == []

        async with page.expect_response(re.compile("/try/revoke$")) as revoked:
            await page.locator("#package-try").get_by_role("button", name="Log out").click()
        sent = (await revoked.value).request.post_data or ""
        assert (await revoked.value).status == 200
        await page.get_by_role("button", name="Log in to try").wait_for()
        assert await visit.page.locator("details.tool").count() == 0
        assert "token=fmcp1" in sent
        async with page.expect_navigation():
            await page.get_by_role("button", name="Log out", exact=True).first.click()
        await page.get_by_role("button", name="Log in", exact=True).wait_for()


async def test_a_package_with_a_login_of_its_own_takes_both_in_one_trip(stage: LoginStage) -> None:
    stage.company.company.answer_token = stage.company.company.name_person("ada")
    async with visiting(stage.browser, f"{stage.url}/mail/mcp") as visit:
        await visit.log_in("Log in")
        await visit.page.get_by_text("You are ada.").wait_for()
        await visit.log_in("Log in to mail", sign_ins=2)
        tool = await visit.open_tool("whoami")
        await tool.get_by_role("button", name="Run").click()
        await tool.get_by_text("It answered.").wait_for()
        assert re.fullmatch("[0-9a-f]{64}", await tool.locator(".answer pre").inner_text())
        assert visit.trouble == []


async def test_a_token_that_ends_soon_is_renewed_without_a_word(stage: LoginStage) -> None:
    company = stage.company.company
    company.answer_token = company.name_person("grace", expires_in=SHORT_SECONDS)
    async with visiting(stage.browser, f"{stage.url}/try/mcp") as visit:
        await visit.log_in("Log in")
        await visit.log_in("Log in to try")
        await visit.tool("add").wait_for()
        before = [form["grant_type"] for form in company.token_requests].count("refresh_token")
        await visit.run("markup")
        await visit.run("nothing")
        after = [form["grant_type"] for form in company.token_requests].count("refresh_token")
        assert after >= before + 2
        assert visit.trouble == []


async def test_a_person_who_denies_stays_a_stranger(stage: LoginStage) -> None:
    async with visiting(stage.browser, f"{stage.url}/") as visit:
        async with visit.page.expect_popup() as opened:
            await visit.page.get_by_role("button", name="Log in", exact=True).click()
        window = await opened.value
        assert "This gateway's own page" in await window.inner_text("main")
        async with window.expect_event("close"):
            await window.get_by_role("button", name="Deny").click()
        await visit.page.get_by_text("The person said no.").wait_for()
        assert await visit.page.locator("details.package").count() == 0


async def test_whoever_closed_the_window_of_a_login_begins_again(stage: LoginStage) -> None:
    stage.company.company.answer_token = stage.company.company.name_person("ada")
    async with visiting(stage.browser, f"{stage.url}/") as visit:
        async with visit.page.expect_popup() as opened:
            await visit.page.get_by_role("button", name="Log in", exact=True).click()
        window = await opened.value
        await window.get_by_role("button", name="Allow").wait_for()
        await window.close()
        await visit.page.get_by_text("Press the button again").wait_for()
        await visit.log_in("Log in")
        await visit.page.get_by_text("You are ada.").wait_for()


async def test_the_operator_sees_what_runs_and_whose_it_is(stage: LoginStage) -> None:
    stage.company.company.answer_token = stage.company.company.name_person("ada")
    async with visiting(stage.browser, f"{stage.url}/") as person, visiting(stage.browser, f"{stage.url}/") as visit:
        await person.log_in("Log in")
        await open_package(person.page, "try")
        await person.log_in("Log in to try")
        await person.tool("add").wait_for()

        page = visit.page
        field = page.get_by_label("Or use an access token")
        assert await field.get_attribute("type") == "password"
        await field.fill("wrong")
        await page.get_by_role("button", name="Use this token").click()
        await page.get_by_text("The access token is not good here").wait_for()
        assert await page.locator("details.package").count() == 0
        await field.fill(OPERATORS_TOKEN)
        await page.get_by_role("button", name="Use this token").click()
        await page.get_by_text("For the operator").wait_for()
        table = await page.get_by_role("region", name="Server processes").inner_text()
        assert re.search(r"try\s+idle\s+ada", table), table
        assert "ada of" in await page.locator("#operator").inner_text()
        await open_package(page, "try")
        await page.locator("#package-try").get_by_role("button", name="Try its tools").click()
        await visit.tool("add").wait_for()
        await visit.run("picture")
        await page.get_by_role("button", name="Look again").click()
        await page.get_by_role("region", name="Server processes").get_by_text("operator").wait_for()
        assert OPERATORS_TOKEN not in await read_kept(visit)
        # What the browser itself says of the one answer that refused.
        assert [words for words in visit.trouble if "401" not in words] == []


async def test_the_operator_shuts_a_person_out_and_lets_them_in_again(stage: LoginStage) -> None:
    stage.company.company.answer_token = stage.company.company.name_person("mallory")
    async with visiting(stage.browser, f"{stage.url}/") as person, visiting(stage.browser, f"{stage.url}/") as visit:
        await person.log_in("Log in")
        await open_package(person.page, "try")
        await person.log_in("Log in to try")
        await person.run("picture")

        page = visit.page
        await page.get_by_label("Or use an access token").fill(OPERATORS_TOKEN)
        await page.get_by_role("button", name="Use this token").click()
        line = page.locator("li.person", has_text="mallory")
        await line.get_by_role("button", name="Shut out").click()
        await line.get_by_role("button", name="Really shut out").click()
        await page.get_by_role("heading", name="Who is shut out").wait_for()
        tool = person.tool("picture")
        await tool.get_by_role("button", name="Run").click()
        await tool.get_by_text("This account is shut out here").wait_for()
        await person.page.reload()
        async with person.page.expect_popup() as opened:
            await person.page.get_by_role("button", name="Log in", exact=True).click()
        window = await opened.value
        await window.get_by_role("button", name="Allow").click()
        await window.get_by_role("link", name="Sign in here").click()
        await person.page.get_by_text("shut out").first.wait_for()
        assert await person.page.locator("details.package").count() == 0

        await page.get_by_role("button", name="Let in again").click()
        await page.get_by_role("heading", name="Who is shut out").wait_for(state="detached")
        await person.log_in("Log in")
        await person.page.get_by_text("You are mallory.").wait_for()


async def test_what_a_browser_lets_in_without_asking_is_shown_and_forgotten(stage: LoginStage) -> None:
    stage.company.company.answer_token = stage.company.company.name_person("ada")
    client = McpClient(stage.url, "tools")
    await client.register(redirect_uri="https://client.example/callback", client_name="Web helper")
    async with visiting(stage.browser, client.authorization_url()) as visit:
        await visit.page.get_by_role("checkbox").check()
        await visit.page.get_by_role("button", name="Allow").click()
        await visit.page.get_by_role("link", name="Sign in here").wait_for()
        await visit.page.goto(f"{stage.url}/tools/mcp")
        assert "Web helper" not in await visit.page.inner_text("main"), "a stranger"
        await visit.log_in("Log in")
        await visit.page.get_by_text("Web helper").wait_for()
        await visit.page.get_by_role("button", name="Forget Web helper").click()
        await visit.page.get_by_text("There are none.").wait_for()


@pytest.mark.threat("E18")
async def test_an_answer_that_nobody_asked_for_goes_nowhere(stage: LoginStage) -> None:
    async with visiting(stage.browser, f"{stage.url}/-/callback?code=planted&state=x&iss={stage.url}/-") as visit:
        await visit.page.get_by_text("does not answer").wait_for()
        assert "planted" not in visit.page.url
        assert not [url for url in visit.asked if url.endswith("/token")]


async def test_an_answer_of_another_issuer_is_refused(stage: LoginStage) -> None:
    async with visiting(stage.browser, f"{stage.url}/") as visit:
        async with visit.page.expect_popup() as opened:
            await visit.page.get_by_role("button", name="Log in", exact=True).click()
        window = await opened.value
        await window.get_by_role("button", name="Allow").wait_for()
        state = re.search("[?&]state=([^&]+)", window.url)
        assert state is not None
        await visit.page.evaluate(
            """([state, iss]) => new BroadcastChannel(`fluidmcp login ${state}`)
              .postMessage({ kind: "answer", fields: { code: "mixed-up", state, iss } })""",
            [state[1], f"{stage.url}/mail"],
        )
        await visit.page.get_by_text("The answer came from somebody else.").wait_for()
        assert not [url for url in visit.asked if url.endswith("/token")]
