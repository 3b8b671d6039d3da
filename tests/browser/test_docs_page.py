"""The API page in a real browser that has no internet."""

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from tests.browser.chromium import open_chromium
from tests.demo.demo_client import RunningDemo, start_demo

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def demo() -> AsyncIterator[RunningDemo]:
    async with start_demo() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with open_chromium() as opened:
        yield opened


def note_trouble(page: Page) -> list[str]:
    """What the page complains about: script errors, refused resources, violations of its content security policy."""
    trouble: list[str] = []
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("requestfailed", lambda request: trouble.append(request.url))
    page.on("console", lambda message: trouble.append(message.text) if message.type == "error" else None)
    return trouble


async def test_the_api_page_shows_the_endpoints_with_nothing_but_the_gateway_to_ask(
    demo: RunningDemo, browser: Browser
) -> None:
    page = await browser.new_page()
    trouble = note_trouble(page)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.goto(f"{demo.gateway.url}/docs")
    await page.locator(".opblock").first.wait_for(timeout=60_000)
    shown = await page.inner_text("#swagger-ui")
    await page.locator(".opblock-summary").first.click()
    await page.locator(".opblock-body").first.wait_for(timeout=60_000)
    await page.close()

    assert trouble == []
    assert all(url.startswith((f"{demo.gateway.url}/", "data:")) for url in asked)
    assert "/auth/login" in re.sub(r"[\s\u200b]", "", shown)
    assert "/mcp" in re.sub(r"[\s\u200b]", "", shown)
