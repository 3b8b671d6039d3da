"""People with a browser in front of the page of a gateway: what its tests share."""

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from html import escape
from typing import Final
from urllib.parse import urlencode

from playwright.async_api import Browser, BrowserContext, Locator, Page, Request
from starlette.requests import Request as HttpRequest
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from tests.providers.fault_making import FaultMakingProvider

WAIT_MILLISECONDS: Final = 60_000


class Visit:
    """One person with a browser of their own: `page`, what it asked for, and the dialogs that came up."""

    def __init__(self, context: BrowserContext, page: Page) -> None:
        self.context = context
        self.page = page
        self.trouble: list[str] = []
        """Script errors, refused resources, violations of the page's policy."""
        self.asked: list[str] = []
        self.dialogs: list[str] = []
        page.on("pageerror", lambda error: self.trouble.append(str(error)))
        page.on("console", lambda message: self.trouble.append(message.text) if message.type == "error" else None)
        page.on("requestfailed", self._note_failure)
        context.on("request", lambda request: self.asked.append(request.url))
        context.on("dialog", lambda dialog: self.dialogs.append(dialog.message))

    def _note_failure(self, request: Request) -> None:
        # Of an answer that a script read to its end piece by piece, Chromium sometimes says that it was aborted.
        if not (request.method == "POST" and request.failure == "net::ERR_ABORTED"):
            self.trouble.append(f"{request.url} {request.failure}")

    def tool(self, name: str) -> Locator:
        """A tool in the list of tools that can be tried."""
        return self.page.locator("details.tool").filter(
            has=self.page.locator("summary", has_text=re.compile(f"^{re.escape(name)}$"))
        )

    async def try_tools(self) -> None:
        """Open the list of tools of the one package that the page is about."""
        await self.page.get_by_role("button", name="Try its tools").click()
        await self.page.locator("details.tool").first.wait_for()

    async def open_tool(self, name: str) -> Locator:
        """Open a tool, and wait for its form, or what stands for it: the page makes that after the click has ended."""
        tool = self.tool(name)
        await tool.locator("summary").first.click()
        await tool.locator("form, .fault").first.wait_for()
        return tool

    async def run(self, name: str) -> Locator:
        """Run a tool without arguments, and wait for its answer; the place of the answer."""
        tool = await self.open_tool(name)
        await tool.get_by_role("button", name="Run").click()
        await tool.locator(".answer").locator("xpath=*").first.wait_for()
        await (
            tool.get_by_role("status")
            .filter(has_text=re.compile("^(It answered.*)?$"))
            .first.wait_for(state="attached")
        )
        return tool.locator(".answer")

    async def log_in(self, button: str, *, sign_ins: int = 1) -> None:
        """Press a button of the page, and go through the window that it opens: consent, the providers, and back."""
        async with self.page.expect_popup() as opened:
            await self.page.get_by_role("button", name=button, exact=True).click()
        window = await opened.value
        await window.get_by_role("button", name="Allow").click()
        for number in range(sign_ins):
            await window.get_by_role("link", name=f"Sign in {'again' if number else 'here'}").click()
        if not window.is_closed():
            await window.wait_for_event("close", timeout=WAIT_MILLISECONDS)


@asynccontextmanager
async def visiting(browser: Browser, address: str, **options: object) -> AsyncGenerator[Visit]:
    """A person opens an address."""
    context = await browser.new_context(**options)  # type: ignore[arg-type]
    context.set_default_timeout(WAIT_MILLISECONDS)
    try:
        visit = Visit(context, await context.new_page())
        await visit.page.goto(address)
        yield visit
    finally:
        await context.close()


def add_sign_in(provider: FaultMakingProvider, words: str = "Sign in here") -> None:
    """Give a provider a page where people sign in, by a link with these words.

    It cuts itself off from whoever opened it, as some real ones do.
    """

    async def sign_in(request: HttpRequest) -> Response:
        query = request.query_params
        location = f"{query['redirect_uri']}?{urlencode({'code': 'the-code', 'state': query['state']})}"
        return HTMLResponse(
            f'<!doctype html><title>Sign in</title><a href="{escape(location)}">{words}</a>',
            headers={"Cross-Origin-Opener-Policy": "same-origin"},
        )

    provider.app.router.routes.append(Route("/authorize", sign_in))
