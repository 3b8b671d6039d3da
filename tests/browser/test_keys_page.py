"""A person types keys in a real browser: without scripts, by keyboard alone, on a phone, in the light and the dark."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page

from tests.acceptance.keys import ADA, block, running_key_api
from tests.browser.chromium import open_chromium
from tests.browser.test_login import CONTRAST
from tests.gateway.client_login import KEYS, McpClient
from tests.gateway.running import RunningGateway, running_gateway
from tests.gateway.test_keys_page import probe

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.asyncio(loop_scope="module")]

WAIT_MILLISECONDS: Final = 60_000
PHONE: Final = 360


@dataclass(frozen=True, slots=True)
class KeyStage:
    gateway: RunningGateway
    browser: Browser
    other_site: str

    async def open_context(self, **options: object) -> BrowserContext:
        context = await self.browser.new_context(**options)  # type: ignore[arg-type]
        context.set_default_timeout(WAIT_MILLISECONDS)
        return context

    async def open_page(self, context: BrowserContext, *, client_name: str = "Desk helper") -> Page:
        """Through the consent page of a client."""
        client = McpClient(self.gateway.url, "dog")
        await client.register(redirect_uri="http://127.0.0.1:9/callback", client_name=client_name)
        page = await context.new_page()
        await page.goto(client.authorization_url())
        await page.get_by_role("button", name="Allow").click()
        await page.get_by_role("heading", name="Your keys for dog").wait_for()
        return page


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage() -> AsyncIterator[KeyStage]:
    async with running_key_api() as (_, address), open_chromium() as browser:
        async with running_gateway([probe("dog", block(address))], seal_keys=KEYS) as gateway:
            yield KeyStage(gateway, browser, address)


@pytest.mark.threat("E11")
async def test_a_person_mistypes_corrects_and_goes_back_without_scripts(stage: KeyStage) -> None:
    context = await stage.open_context(java_script_enabled=False)
    page = await stage.open_page(context)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    await page.reload()
    assert len(requests) == 1, "the page loads nothing"
    words = await page.inner_text("main")
    assert "A program that calls itself Desk helper" in words and "this gateway keeps nothing" in words
    assert await page.get_by_label("API key").get_attribute("type") == "password"
    await page.get_by_label("API key").fill(ADA["api_key"][1:])
    await page.get_by_label("Application key").fill(ADA["app_key"])
    await page.get_by_role("button", name="Go on").click()
    await page.get_by_text("It does not look like one").wait_for()
    assert [await page.get_by_label(name).input_value() for name in ("API key", "Application key")] == ["", ""]
    await page.get_by_label("API key").fill(ADA["api_key"])
    await page.get_by_label("Application key").fill(ADA["app_key"])
    async with page.expect_request(re.compile("127.0.0.1:9/callback")) as sent:
        await page.get_by_role("button", name="Go on").click()
    assert "code=" in (await sent.value).url
    assert all(key not in url for url in requests for key in ADA.values())
    await context.close()


async def test_the_keyboard_is_enough(stage: KeyStage) -> None:
    context = await stage.open_context()
    page = await stage.open_page(context)
    await page.keyboard.type(ADA["api_key"])
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.textContent") == "Where to find it, at app.example.com"
    await page.keyboard.press("Tab")
    await page.keyboard.type(ADA["app_key"])
    async with page.expect_request(re.compile("127.0.0.1:9/callback")) as sent:
        await page.keyboard.press("Enter")
    assert "code=" in (await sent.value).url
    await context.close()


async def test_a_person_who_cancels_goes_back_with_empty_fields(stage: KeyStage) -> None:
    context = await stage.open_context()
    page = await stage.open_page(context)
    async with page.expect_request(re.compile("127.0.0.1:9/callback")) as sent:
        await page.get_by_role("button", name="Cancel").click()
    assert "error=access_denied" in (await sent.value).url
    await context.close()


@pytest.mark.threat("E11")
async def test_another_site_can_neither_frame_it_nor_send_it(stage: KeyStage) -> None:
    context = await stage.open_context()
    page = await stage.open_page(context)
    address, state = page.url, await page.locator("input[name=state]").get_attribute("value")
    # Another origin of the same machine: cookies do not tell ports apart, and the browser sends them along.
    other = await context.new_page()
    await other.goto(f"{stage.other_site}/validate")
    await other.set_content(
        f'<iframe src="{address}"></iframe><form method="post" action="{stage.gateway.url}/dog/auth/keys">'
        f'<input name="state" value="{state}"><input name="key-api_key" value="{"b" * 32}">'
        '<input name="key-app_key" value="planted"><button name="decision" value="allow">Go</button></form>'
    )
    async with other.expect_response(re.compile("/dog/auth/keys$")) as answered:
        await other.get_by_role("button", name="Go").click()
    assert (await answered.value).status == 403
    assert "Your keys" not in "".join([await frame.content() for frame in other.frames])
    # The person's own page still works.
    await page.get_by_label("API key").fill(ADA["api_key"])
    await page.get_by_label("Application key").fill(ADA["app_key"])
    async with page.expect_request(re.compile("127.0.0.1:9/callback")):
        await page.get_by_role("button", name="Go on").click()
    await context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_page_fits_a_phone_and_stands_out(stage: KeyStage, scheme: str) -> None:
    context = await stage.open_context(color_scheme=scheme, viewport={"width": PHONE, "height": 740})
    page = await stage.open_page(context, client_name="W" * 80)
    await page.get_by_label("API key").fill("wrong")
    await page.get_by_label("Application key").fill("x")
    await page.get_by_role("button", name="Go on").click()
    await page.get_by_text("It does not look like one").wait_for()
    assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE
    for selector in ("h1", "dt", "dd", "label", ".fault", ".small", ".small a", "button.primary", "button.secondary"):
        assert await page.locator(selector).first.evaluate(CONTRAST) >= 4.5, selector
    for field in (*await page.locator("input:visible").all(), *await page.get_by_role("button").all()):
        box = await field.bounding_box()
        assert box is not None
        assert box["height"] >= 44
    focused = await page.evaluate("document.activeElement.id")
    assert focused == "key-api_key", "the field that is wrong"
    described = await page.locator(f"#{focused}").get_attribute("aria-describedby")
    assert await page.locator(f"#{described}").inner_text()
    await context.close()
