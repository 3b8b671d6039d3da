"""`fluidmcp login` through a real browser and a real provider: the page at the end, and what the history keeps."""

import asyncio
from pathlib import Path

import pytest

from fluidmcp.operator.token_file import TokenFile
from tests.browser.chromium import open_chromium
from tests.cli.login_process import settings, start_login
from tests.providers.oidc import running_oidc_provider

pytestmark = pytest.mark.needs("chromium", "node", "oidc-provider")

WAIT_MILLISECONDS = 60_000


@pytest.mark.promise(3, 14, 64)
@pytest.mark.threat("C03", "C07")
async def test_a_person_logs_in_and_the_page_forgets_the_code(tmp_path: Path) -> None:
    with running_oidc_provider() as provider:
        env = settings(provider, tmp_path)
        redirect_uri = env["FMCP_OAUTH_REDIRECT_URI"]
        async with open_chromium() as browser, start_login("--no-browser", env=env) as login:
            page = await browser.new_page()
            page.set_default_timeout(WAIT_MILLISECONDS)
            requested: list[str] = []
            problems: list[str] = []
            page.on("request", lambda request: requested.append(request.url))
            page.on("console", lambda message: problems.append(f"{message.location} {message.text}"))
            await page.goto(await login.address())
            await page.fill("input[name=login]", "alice")
            await page.fill("input[name=password]", "x")
            await page.click("button[type=submit]")
            await page.click("button[type=submit]")
            await page.get_by_role("heading", name="You are logged in").wait_for()
            done = await login.finish()

            assert done.code == 0, done
            assert page.url == redirect_uri
            assert await page.evaluate("location.href") == redirect_uri
            after = requested[next(n for n, url in enumerate(requested) if url.startswith(redirect_uri)) + 1 :]
            assert [url for url in after if not url.startswith("data:")] == []
            # A script or style that the page's own policy forbids would be reported with its address.
            assert [problem for problem in problems if redirect_uri in problem] == []
            stored = await asyncio.to_thread(TokenFile(tmp_path).load)
            assert stored is not None and stored.subject == "alice"
            assert stored.access_token.reveal() not in await page.content()
