"""A person lets an MCP client in, in a real browser: our page, the provider's pages, and back to the client."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx2
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from fluidmcp.demo.mailboxes import MAYA
from tests.browser.chromium import open_chromium
from tests.browser.test_login import CONTRAST
from tests.demo.demo_client import RunningDemo, call_tool, start_demo
from tests.gateway.client_login import McpClient

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.asyncio(loop_scope="module")]

WAIT_MILLISECONDS = 60_000


@dataclass(frozen=True, slots=True)
class Stage:
    demo: RunningDemo
    browser: Browser

    async def open_page(self, **options: object) -> Page:
        context = await self.browser.new_context(java_script_enabled=False, **options)  # type: ignore[arg-type]
        context.set_default_timeout(WAIT_MILLISECONDS)
        return await context.new_page()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage() -> AsyncIterator[Stage]:
    async with start_demo() as demo, open_chromium() as browser:
        yield Stage(demo, browser)


class Listener:
    """The client's own address, which the browser comes to at last."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = (await reader.readline()).decode().split(" ")[1]
        while (await reader.readline()).strip():
            pass
        body = b"done"
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\nConnection: close\r\n\r\n" + body
        )
        await writer.drain()
        writer.close()
        if target.startswith("/callback") and not self.answer.done():
            self.answer.set_result(target)


async def begin(stage: Stage, redirect_uri: str, **registration: str) -> McpClient:
    client = McpClient(stage.demo.gateway.url, "gmail-mock")
    await client.register(redirect_uri=redirect_uri, **registration)
    return client


async def test_a_person_allows_signs_in_and_the_client_gets_its_code_and_calls_a_tool(stage: Stage) -> None:
    listener = Listener()
    async with await asyncio.start_server(listener.read, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        client = await begin(stage, f"http://127.0.0.1:{port}/callback", client_name="Desk helper")
        await let_in(stage, client)
        async with asyncio.timeout(60):
            target = await listener.answer
    answer = dict(httpx2.URL(f"http://client{target}").params)
    assert answer["iss"] == f"{stage.demo.gateway.url}/gmail-mock"
    tokens = await client.redeem(answer)
    me = await call_tool(stage.demo.gateway.url, tokens["access_token"], "whoami")
    assert me["email"] == MAYA.email


async def let_in(stage: Stage, client: McpClient) -> None:
    """Our page, then the two of the provider."""
    page = await stage.open_page()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    await page.goto(client.authorization_url())
    assert await page.get_by_role("heading", level=1).inner_text() == "Allow Desk helper to use gmail-mock?"
    assert "Did you start this yourself?" in await page.inner_text("main")
    assert "Read your mail" in await page.inner_text("main")
    assert len(requests) == 1, "the page loads nothing"
    await page.get_by_role("button", name="Allow").click()
    await page.get_by_role("button", name=MAYA.name).click()
    await page.get_by_role("button", name="Allow").click()
    await page.get_by_text("done").wait_for()
    await page.context.close()


async def test_a_person_who_denies_goes_back_without_seeing_the_provider(stage: Stage) -> None:
    client = await begin(stage, "http://127.0.0.1:9/callback")
    page = await stage.open_page()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    await page.goto(client.authorization_url())
    async with page.expect_request(re.compile("127.0.0.1:9/callback")) as sent:
        await page.get_by_role("button", name="Deny").click()
    assert "error=access_denied" in (await sent.value).url
    assert not [url for url in requests if url.startswith(stage.demo.provider_url)]
    await page.context.close()


async def test_a_remembered_client_is_not_asked_about_again_until_it_is_forgotten(stage: Stage) -> None:
    client = await begin(stage, "https://client.example/callback", client_name="Web helper")
    page = await stage.open_page()
    await page.goto(client.authorization_url())
    await page.get_by_role("checkbox").check()
    await page.get_by_role("button", name="Allow").click()
    await page.get_by_role("button", name=MAYA.name).wait_for()
    await page.goto(client.authorization_url())
    assert page.url.startswith(stage.demo.provider_url), "straight to the provider"
    await page.goto(f"{stage.demo.gateway.url}/gmail-mock/consent/remembered")
    assert "Web helper" in await page.inner_text("main")
    await page.get_by_role("button", name="Forget Web helper").click()
    assert "There are none." in await page.inner_text("main")
    await page.goto(client.authorization_url())
    assert page.url.startswith(stage.demo.gateway.url)
    await page.context.close()


async def test_a_page_of_another_site_cannot_send_the_form(stage: Stage) -> None:
    client = await begin(stage, "https://client.example/callback")
    page = await stage.open_page()
    await page.goto(client.authorization_url())
    field = await page.locator("input[name=request]").get_attribute("value")
    form = (
        f'<form method="post" action="{stage.demo.gateway.url}/gmail-mock/consent">'
        f'<input name="request" value="{field}"><button name="decision" value="allow">Go</button></form>'
    )
    # Another origin of the same machine: cookies do not tell ports apart, and the browser sends them along.
    await page.goto(stage.demo.provider_url)
    await page.set_content(form)
    async with page.expect_response(re.compile("/consent")) as answered:
        await page.get_by_role("button", name="Go").click()
    assert (await answered.value).status == 403
    await page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("redirect_uri", ["https://client.example/callback", "cursor://anysphere.cursor-mcp/callback"])
async def test_the_page_fits_a_phone_stands_out_and_is_reached_by_keyboard(
    stage: Stage, scheme: str, redirect_uri: str
) -> None:
    client = await begin(stage, redirect_uri, client_name="W" * 80)
    context = await stage.browser.new_context(
        color_scheme="dark" if scheme == "dark" else "light", viewport={"width": 320, "height": 640}
    )
    page = await context.new_page()
    await page.goto(client.authorization_url())
    assert await page.evaluate("document.documentElement.scrollWidth") <= 320
    for selector in ("h1", "dt", "dd", "main p", ".small", "button.primary", "button.secondary", ".remember, .warning"):
        assert await page.locator(selector).first.evaluate(CONTRAST) >= 4.5, selector
    for button in await page.get_by_role("button").all():
        box = await button.bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) >= 44
    reached: list[str] = []
    for _ in range(5):
        await page.keyboard.press("Tab")
        reached.append(await page.evaluate("document.activeElement.textContent.trim() || document.activeElement.name"))
    assert reached[reached.index("Allow") + 1] == "Deny"
    await context.close()
