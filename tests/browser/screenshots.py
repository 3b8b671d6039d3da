"""Pictures of the page for the documentation: `scripts/screenshots [FOLDER]` (docs/images).

Taken of `fluidmcp demo`, at the ports that the documents name where they are free.
"""

import asyncio
import socket
import sys
from pathlib import Path
from typing import Final

from playwright.async_api import Browser, Page

from fluidmcp.demo.mailboxes import MAYA
from tests.acceptance.harness import DOCUMENTED_PORT, RunningGateway, free_port, start_fluidmcp
from tests.browser.chromium import open_chromium
from tests.browser.page_stage import visiting

FOLDER: Final = Path(__file__).parent.parent.parent / "docs" / "images"
MARGIN: Final = 16
DOCUMENTED_PROVIDER_PORT: Final = 8098


async def log_in(page: Page, *, consent: Path | None = None) -> None:
    """Through the window that the page opens; a picture of its first page goes to `consent`."""
    async with page.expect_popup() as opened:
        await page.get_by_role("button", name="Log in to gmail-mock").click()
    window = await opened.value
    if consent is not None:
        await window.get_by_role("button", name="Allow").wait_for()
        await window.screenshot(path=consent, full_page=True)
    await window.get_by_role("button", name="Allow").click()
    await window.get_by_role("button", name=MAYA.name).click()
    await window.get_by_role("button", name="Allow").click()
    await page.locator("details.tool").first.wait_for()


async def show_trial(browser: Browser, gateway: RunningGateway, path: Path) -> None:
    """A person has logged in, and a tool has answered."""
    async with visiting(browser, f"{gateway.url}/gmail-mock/mcp", viewport={"width": 860, "height": 700}) as visit:
        await log_in(visit.page)
        await visit.page.locator(".connect").evaluate("part => part.remove()")
        await visit.page.locator(".consents").evaluate("part => part.remove()")
        await visit.run("whoami")
        await visit.page.mouse.move(0, 0)
        await visit.page.evaluate("document.activeElement.blur()")
        await visit.page.screenshot(path=path, full_page=True)


async def show_arrival(browser: Browser, gateway: RunningGateway, page: Path, consent: Path) -> None:
    """Somebody has opened the address of a package, and presses its button."""
    async with visiting(browser, f"{gateway.url}/gmail-mock/mcp", viewport={"width": 860, "height": 700}) as visit:
        await visit.page.get_by_role("button", name="Log in to gmail-mock").wait_for()
        await visit.page.locator(".connect").evaluate("part => part.remove()")
        await visit.page.screenshot(path=page, full_page=True)
        await log_in(visit.page, consent=consent)


async def show_connecting(browser: Browser, gateway: RunningGateway, path: Path) -> None:
    """How a client is connected, in the dark."""
    viewport = {"width": 860, "height": 400}
    async with visiting(browser, f"{gateway.url}/", viewport=viewport, color_scheme="dark") as visit:
        await visit.page.get_by_role("tab", name="Cursor").click()
        await visit.page.evaluate("document.activeElement.blur()")
        top = await visit.page.locator("main").bounding_box()
        tools = await visit.page.locator("section.tools").bounding_box()
        assert top is not None and tools is not None
        height = tools["y"] - top["y"] + 2 * MARGIN
        clip = {"x": top["x"] - MARGIN, "y": top["y"] - MARGIN, "width": top["width"] + 2 * MARGIN, "height": height}
        await visit.page.screenshot(path=path, full_page=True, clip=clip)  # pyright: ignore[reportArgumentType] # a dict of its keys


def choose_port(documented: int) -> int:
    with socket.socket() as probe:
        return free_port() if probe.connect_ex(("127.0.0.1", documented)) == 0 else documented


async def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    provider = str(choose_port(DOCUMENTED_PROVIDER_PORT))
    command = ("demo", "--no-browser", "--provider-port", provider)
    async with start_fluidmcp(*command, port=choose_port(DOCUMENTED_PORT)) as gateway:
        async with open_chromium() as browser:
            await show_trial(browser, gateway, folder / "page.png")
            await show_arrival(browser, gateway, folder / "page-arrival.png", folder / "page-consent.png")
            await show_connecting(browser, gateway, folder / "page-connect.png")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER))
