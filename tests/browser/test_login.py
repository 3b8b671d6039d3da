"""Logins through a real browser, against `fluidmcp demo` started as a person would start it.

The pages work without JavaScript, so it is off in all contexts but the one that reads the API page.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, Response

from fluidmcp.demo.mailboxes import MAYA, PEOPLE, ROBIN, Person
from tests.browser.chromium import open_chromium
from tests.demo.demo_client import RunningDemo, call_tool, read_owner, start_demo

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.asyncio(loop_scope="module")]

WAIT_MILLISECONDS = 60_000


@dataclass(frozen=True, slots=True)
class Stage:
    demo: RunningDemo
    browser: Browser

    async def open_context(self) -> BrowserContext:
        context = await self.browser.new_context(java_script_enabled=False)
        context.set_default_timeout(WAIT_MILLISECONDS)
        return context


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage() -> AsyncIterator[Stage]:
    async with start_demo() as demo, open_chromium() as browser:
        yield Stage(demo, browser)


async def choose(page: Page, person: Person) -> None:
    await page.get_by_role("button", name=person.name).click()
    await page.get_by_role("button", name="Allow").wait_for()


async def finish(page: Page, button: str = "Allow") -> Response:
    """Press a button of the consent page; the gateway's answer to the callback."""
    async with page.expect_response(re.compile("/auth/callback")) as answer:
        await page.get_by_role("button", name=button).click()
    return await answer.value


async def log_in(page: Page, login_url: str, person: Person) -> Response:
    await page.goto(login_url)
    await choose(page, person)
    return await finish(page)


async def read_token(response: Response) -> str:
    assert response.status == 200, await response.text()
    return (await response.json())["token_data"]["access_token"]


async def catch_callback(context: BrowserContext, page: Page) -> str:
    """Allow on the consent page as its form would, but keep the callback address that follows instead of opening it."""
    token = await page.locator("form.answers input[name=form_token]").get_attribute("value")
    allowed = await context.request.post(
        f"{page.url}/answer", form={"form_token": token or "", "decision": "allow"}, max_redirects=0
    )
    assert allowed.status == 303
    return allowed.headers["location"]


@pytest.mark.promise(67, 73, 74, 75, 76, 93, 94, 95, 96, 97, 98, 99, 100, 104, 105, 111, 125)
@pytest.mark.threat("B12")
async def test_a_person_logs_in_with_a_browser_and_the_token_calls_tools_as_that_person(stage: Stage) -> None:
    context = await stage.open_context()
    page = await context.new_page()
    await page.goto(stage.demo.login_url)
    assert page.url.startswith(stage.demo.provider_url)
    await choose(page, MAYA)
    assert "Read your messages" in await page.inner_text("main")
    response = await finish(page)
    answer = await response.json()
    headers = await response.all_headers()

    assert response.url.startswith(f"{stage.demo.gateway.url}/gmail-mock/auth/callback")
    assert (answer["success"], answer["package"]) == (True, "gmail-mock")
    assert answer["message"] == "Authentication successful! Use the access_token in Authorization header."
    assert {"access_token", "refresh_token", "expires_in", "token_type", "scope"} <= answer["token_data"].keys()
    assert headers["cache-control"] == "no-store"
    assert headers["pragma"] == "no-cache"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "access-control-allow-origin" not in headers
    me = await call_tool(stage.demo.gateway.url, answer["token_data"]["access_token"], "whoami")
    assert me == {"email": MAYA.email, "messages_total": len(MAYA.messages)}
    await context.close()


@pytest.mark.threat("B30")
async def test_two_people_log_in_at_the_same_time_and_each_sees_the_own_mail(stage: Stage) -> None:
    contexts = [await stage.open_context() for _ in PEOPLE]
    pages = [await context.new_page() for context in contexts]
    for page in pages:
        await page.goto(stage.demo.login_url)
    for page, person in zip(pages, PEOPLE, strict=True):
        await choose(page, person)
    tokens = [await read_token(await finish(page)) for page in pages]

    for _ in range(3):
        answers = await asyncio.gather(*(call_tool(stage.demo.gateway.url, token, "whoami") for token in tokens))
        assert [answer["email"] for answer in answers] == [person.email for person in PEOPLE]
    for context in contexts:
        await context.close()


@pytest.mark.threat("B23")
async def test_two_tabs_of_one_browser_log_in_as_two_people(stage: Stage) -> None:
    context = await stage.open_context()
    first, second = await context.new_page(), await context.new_page()
    for page, person in ((first, MAYA), (second, ROBIN)):
        await page.goto(stage.demo.login_url)
        await choose(page, person)
    tokens = [await read_token(await finish(page)) for page in (second, first)]

    assert [await read_owner(stage.demo, token) for token in tokens] == [ROBIN.email, MAYA.email]
    await context.close()


@pytest.mark.promise(113)
@pytest.mark.threat("B01")
async def test_b01_a_callback_in_another_browser_is_refused_and_redeems_nothing(stage: Stage) -> None:
    attacker, victim = await stage.open_context(), await stage.open_context()
    attackers_page, victims_page = await attacker.new_page(), await victim.new_page()
    await attackers_page.goto(stage.demo.login_url)
    await choose(attackers_page, MAYA)
    callback = await catch_callback(attacker, attackers_page)

    refused = await victims_page.goto(callback)
    assert refused is not None
    assert refused.status == 400
    assert "access_token" not in await refused.text()

    # The code is good once: that it is still good shows that nobody asked the provider about it.
    finished = await attackers_page.goto(callback)
    assert finished is not None
    assert await read_token(finished)
    await attacker.close()
    await victim.close()


@pytest.mark.threat("B02")
async def test_b02_a_login_that_somebody_else_began_ends_in_a_refusal(stage: Stage) -> None:
    attacker, victim = await stage.open_context(), await stage.open_context()
    began = await attacker.request.get(stage.demo.login_url, max_redirects=0)
    page = await victim.new_page()
    await page.goto(began.headers["location"])
    await choose(page, ROBIN)
    refused = await finish(page)

    assert refused.status == 400
    assert "access_token" not in await refused.text()
    await attacker.close()
    await victim.close()


@pytest.mark.promise(115, 117, 118, 121)
@pytest.mark.threat("B03", "B13")
async def test_the_callback_in_the_history_is_worth_nothing_and_a_new_login_is(stage: Stage) -> None:
    context = await stage.open_context()
    page = await context.new_page()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    first = await log_in(page, stage.demo.login_url, MAYA)
    assert await read_token(first)
    loaded_after = requests[requests.index(first.url) + 1 :]

    again = await page.reload()
    assert again is not None
    assert again.status == 400
    assert "Invalid or expired state parameter" in await again.text()
    other = await stage.open_context()
    elsewhere = await (await other.new_page()).goto(first.url)
    assert elsewhere is not None
    assert elsewhere.status == 400
    assert all(url.startswith(stage.demo.gateway.url) for url in loaded_after)

    assert await read_token(await log_in(page, stage.demo.login_url, MAYA))
    await context.close()
    await other.close()


@pytest.mark.threat("B21", "B22")
async def test_b21_the_login_cookie_is_narrow_and_gone_after_the_callback(stage: Stage) -> None:
    context = await stage.open_context()
    page = await context.new_page()
    await page.goto(stage.demo.login_url)
    before = await context.cookies(stage.demo.login_url)
    at_other_paths = await context.cookies(f"{stage.demo.gateway.url}/gmail-mock/mcp")
    at_the_provider = await context.cookies(page.url)
    await choose(page, MAYA)
    await read_token(await finish(page))

    (cookie,) = before
    assert cookie.get("httpOnly") is True
    assert cookie.get("sameSite") == "Lax"
    assert cookie.get("path") == "/gmail-mock/auth"
    assert cookie.get("name") not in {other.get("name") for other in at_the_provider}
    assert at_other_paths == []
    assert await context.cookies(stage.demo.login_url) == []
    await context.close()


async def test_a_person_who_denies_gets_no_token_and_can_start_again(stage: Stage) -> None:
    context = await stage.open_context()
    page = await context.new_page()
    await page.goto(stage.demo.login_url)
    await choose(page, MAYA)
    denied = await finish(page, "Deny")

    assert denied.status == 400
    assert "access_token" not in await denied.text()
    assert await read_token(await log_in(page, stage.demo.login_url, MAYA))
    await context.close()


async def test_not_you_goes_back_to_the_choice_of_people(stage: Stage) -> None:
    context = await stage.open_context()
    page = await context.new_page()
    await page.goto(stage.demo.login_url)
    await choose(page, MAYA)
    await page.get_by_role("button", name="Not you?").click()
    await choose(page, ROBIN)

    token = await read_token(await finish(page))
    assert await read_owner(stage.demo, token) == ROBIN.email
    await context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_pages_fit_a_phone_and_their_text_stands_out(stage: Stage, scheme: str) -> None:
    context = await stage.browser.new_context(
        color_scheme="dark" if scheme == "dark" else "light", viewport={"width": 320, "height": 640}
    )
    page = await context.new_page()
    await page.goto(stage.demo.login_url)
    for _ in range(2):
        await page.wait_for_load_state()  # with its styles: a click ends when the next page begins
        assert await page.evaluate("document.documentElement.scrollWidth") <= 320
        assert await page.locator("h1").count() == 1
        for selector in ("main p", "main .detail", ".notice", "footer", "main button"):
            assert await page.locator(selector).first.evaluate(CONTRAST) >= 4.5, selector
        if await page.get_by_role("button", name="Allow").count() == 0:
            await choose(page, MAYA)
    await context.close()


# The contrast ratio of WCAG 2.2, between an element's text and the first opaque ground behind it.
CONTRAST = """element => {
  const parse = text => text.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const groundOf = node => getComputedStyle(node).backgroundColor;
  let ground = element;
  while (ground.parentElement && parse(groundOf(ground))[3] === 0) ground = ground.parentElement;
  const [a, b] = [getComputedStyle(element).color, groundOf(ground)].map(parse).map(luminance);
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}"""
