"""docs/tutorials/address.md: what it says to press is there, in that order."""

import re
from pathlib import Path
from typing import Final

import pytest

from fluidmcp.demo.mailboxes import MAYA
from tests.acceptance.harness import free_port, start_fluidmcp
from tests.browser.chromium import open_chromium
from tests.browser.page_stage import visiting

PAGE: Final = (Path(__file__).resolve().parents[2] / "docs" / "tutorials" / "address.md").read_text(encoding="utf-8")


@pytest.mark.needs("chromium")
async def test_somebody_with_an_address_gets_to_an_answer() -> None:
    words = re.findall(r"\*\*(.+?)\*\*", PAGE)
    login, allow, run, connect, logout = [word for word in words if not word.endswith((".", "?"))]
    async with (
        start_fluidmcp("demo", "--no-browser", "--provider-port", str(free_port())) as gateway,
        open_chromium() as browser,
        visiting(browser, f"{gateway.url}/gmail-mock/mcp") as visit,
    ):
        async with visit.page.expect_popup() as opened:
            await visit.page.get_by_role("button", name=login).click()
        window = await opened.value
        await window.get_by_role("button", name=allow).click()
        await window.get_by_role("button", name=MAYA.name).click()
        await window.get_by_role("button", name="Allow").click()
        tool = await visit.open_tool("whoami")
        await tool.get_by_role("button", name=run).click()
        await tool.get_by_text("maya@example.org").first.wait_for()
        await visit.page.get_by_role("heading", name=connect).wait_for()
        await visit.page.get_by_role("button", name=logout).click()
        await visit.page.get_by_role("button", name=login).wait_for()
