"""The page of a gateway in a real browser: read it, try tools, answer a server's question; hostile servers, phones."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.browser.chromium import open_chromium
from tests.browser.page_stage import visiting
from tests.browser.test_login import CONTRAST
from tests.gateway.running import RunningGateway, running_gateway, stdlib_entry
from tests.gateway.test_page import page_entry
from tests.parts import ROOT

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.asyncio(loop_scope="module")]

PHONE = 360
ODD_SERVER = ROOT / "tests" / "servers" / "odd_server.py"


@dataclass(frozen=True, slots=True)
class PageStage:
    gateway: RunningGateway
    browser: Browser

    @property
    def part(self) -> str:
        """The address of the package whose tools are tried, which a person opens in a browser."""
        return f"{self.gateway.url}/try/mcp"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage() -> AsyncIterator[PageStage]:
    async with open_chromium() as browser, running_gateway([page_entry(), stdlib_entry("echo")]) as gateway:
        assert (await gateway.rpc("try", "tools/list")).status_code == 200
        yield PageStage(gateway, browser)


async def test_a_person_reads_the_page_without_scripts(stage: PageStage) -> None:
    async with visiting(stage.browser, f"{stage.gateway.url}/", java_script_enabled=False) as visit:
        await visit.page.locator("#package-try > summary").click()
        shown = await visit.page.inner_text("main")
        assert "Adds two numbers." in shown
        assert f"{stage.gateway.url}/try/mcp" in shown
        assert "For the operator" in shown
        await visit.page.locator("#package-try").get_by_text("Claude Code", exact=True).click()
        assert await visit.page.get_by_text("claude mcp add").first.is_visible()
        assert await visit.page.get_by_role("button").count() == 0, "nothing that would not work"


async def test_a_person_tries_a_tool_with_a_question_and_one_that_answers_with_a_picture(stage: PageStage) -> None:
    async with visiting(stage.browser, stage.part) as visit:
        await visit.try_tools()
        ask = await visit.open_tool("ask")
        await ask.get_by_role("button", name="Run").click()
        await ask.get_by_role("heading", name="The server asks").wait_for()
        assert await visit.page.evaluate("document.activeElement.labels[0].textContent") == "Your name"
        await ask.get_by_label("Your name").fill("A")
        await ask.get_by_role("button", name="Answer").click()
        await ask.get_by_text("At least 2 characters.").wait_for()
        await ask.get_by_label("Your name").fill("Ada")
        await ask.get_by_label("colour (optional)").select_option("Blue")
        await ask.get_by_role("button", name="Answer").click()
        await ask.get_by_text("It answered.").wait_for()
        answer = json.loads(await ask.locator(".answer pre").inner_text())
        assert answer == {"action": "accept", "content": {"colour": "b", "name": "Ada", "news": False}}

        picture = (await visit.run("picture")).locator("img")
        await picture.wait_for()
        size = await picture.evaluate("image => image.decode().then(() => [image.naturalWidth, image.naturalHeight])")
        assert size == [160, 90]
        sound = (await visit.run("sound")).locator("audio")
        assert (await sound.get_attribute("src") or "").startswith("data:audio/wav;base64,")
        assert visit.trouble == []
        assert all(url.startswith((f"{stage.gateway.url}/", "data:")) for url in visit.asked)


@pytest.mark.parametrize(("button", "action"), [("No", "decline"), ("Not now", "cancel")])
async def test_a_person_need_not_answer(stage: PageStage, button: str, action: str) -> None:
    async with visiting(stage.browser, stage.part) as visit:
        await visit.try_tools()
        ask = await visit.open_tool("ask")
        await ask.get_by_role("button", name="Run").click()
        await ask.get_by_role("button", name=button, exact=True).click()
        await ask.get_by_text("It answered.").wait_for()
        assert json.loads(await ask.locator(".answer pre").inner_text()) == {"action": action}


async def test_a_form_has_a_field_for_each_argument_and_says_what_is_wrong(stage: PageStage) -> None:
    async with visiting(stage.browser, stage.part) as visit:
        await visit.try_tools()
        fill = await visit.open_tool("fill")
        run = fill.get_by_role("button", name="Run")
        await run.click()
        count = fill.get_by_label("count")
        await fill.get_by_text("This is needed.").first.wait_for()
        assert await count.get_attribute("aria-invalid") == "true"
        assert await count.evaluate("field => field === document.activeElement")
        await count.fill("10")
        await run.click()
        await fill.get_by_text("At most 9.").wait_for()
        await count.fill("3")
        await fill.get_by_label("title").fill("Hello")
        await fill.get_by_label("city").fill("Turin")
        await fill.get_by_label("list (optional)").fill("[1, 2")
        await run.click()
        await fill.get_by_text("This is no JSON.").wait_for()
        await fill.get_by_label("list (optional)").fill("[1, 2.5]")
        await fill.get_by_label("share (optional)").fill("0.5")
        await fill.get_by_label("public (optional)").select_option("No")
        await fill.get_by_label("size (optional)").select_option("large")
        await fill.get_by_label("home").check()
        await run.click()
        await fill.get_by_text("It answered.").wait_for()
        assert json.loads(await fill.locator(".answer pre").inner_text()) == {
            "title": "Hello",
            "count": 3,
            "place": {"city": "Turin"},
            "list": [1, 2.5],
            "share": 0.5,
            "public": False,
            "size": "large",
            "tags": ["home"],
        }
        assert visit.trouble == []


async def test_of_very_many_values_the_first_are_proposed_and_each_is_checked(stage: PageStage) -> None:
    async with visiting(stage.browser, stage.part) as visit:
        await visit.try_tools()
        choose = await visit.open_tool("choose")
        zone, number = choose.get_by_label("zone"), choose.get_by_label("number (optional)")
        flag, tags = choose.get_by_label("flag (optional)"), choose.get_by_label("tags (optional)")
        await expect(number).to_have_value("7")
        assert await choose.locator("option").count() == 3 * 200 + 200 + 1, "not one for each of 50,000 values"
        assert await choose.locator("input[type=checkbox]").count() == 0
        await expect(choose.get_by_label("few (optional)").locator("option")).to_have_count(201)
        await expect(zone).to_have_accessible_description("One of 50000 values. Where it runs.")
        await expect(tags).to_have_accessible_description("Some of 1000 values, each on a line of its own.")

        run = choose.get_by_role("button", name="Run")
        await run.click()
        await expect(choose.get_by_text("This is needed.")).to_be_visible()
        await zone.fill("zone-50000")
        await run.click()
        await expect(choose.get_by_text("This is none of its values.")).to_be_visible()
        await expect(zone).to_have_attribute("aria-invalid", "true")
        await expect(zone).to_be_focused()
        await zone.fill("zone-49999")
        await flag.fill("Flag 310")
        await tags.fill("tag-1\nnothing\n")
        await run.click()
        await expect(choose.get_by_text("This is none of its values: nothing")).to_be_visible()
        await tags.fill("\n".join(f"tag-{number}" for number in range(4)))
        await run.click()
        await expect(choose.get_by_text("Choose at most 3.")).to_be_visible()
        await tags.fill("tag-999\ntag-2 \ntag-999")  # twice counts once, and a blank at the end does not
        await run.click()
        await expect(choose.get_by_text("It answered.")).to_be_visible()
        answer = json.loads(await choose.locator(".answer pre").inner_text())
        assert answer == {"zone": "zone-49999", "number": 7, "flag": "f310", "tags": ["tag-999", "tag-2"]}
        assert visit.trouble == []


async def test_an_argument_that_a_header_repeats_is_repeated(stage: PageStage) -> None:
    async with visiting(stage.browser, stage.part) as visit:
        await visit.try_tools()
        located = await visit.open_tool("located")
        await located.get_by_label("region (optional)").fill(" Zürich")
        await located.get_by_role("button", name="Run").click()
        await located.get_by_text("It answered.").wait_for()
        assert await located.locator(".answer pre").text_content() == " Zürich"


async def test_progress_is_shown_and_a_call_can_be_cancelled(stage: PageStage) -> None:
    async with visiting(stage.browser, stage.part) as visit:
        await visit.try_tools()
        before = await (await visit.run("cancelled")).locator("pre").inner_text()
        steps = await visit.open_tool("steps")
        await steps.get_by_label("hangs (optional)").select_option("Yes")
        await steps.get_by_role("button", name="Run").click()
        await steps.get_by_text("Step 3").wait_for()
        assert await steps.get_by_role("progressbar").evaluate("bar => [bar.value, bar.max]") == [3, 4]
        await steps.get_by_role("button", name="Cancel").click()
        await steps.get_by_text("It was cancelled.").wait_for()
        cancelled = visit.tool("cancelled")
        after = before
        while after == before:
            await cancelled.get_by_role("button", name="Run").click()
            await cancelled.get_by_text("It answered.").wait_for()
            after = await cancelled.locator(".answer pre").inner_text()
        assert int(after) == int(before) + 1
        await steps.get_by_label("hangs (optional)").select_option("No")
        await steps.get_by_role("button", name="Run").click()
        await steps.get_by_text("done", exact=True).wait_for()


@pytest.mark.threat("E19")
async def test_e19_what_a_hostile_server_says_stays_text(stage: PageStage) -> None:
    async with visiting(stage.browser, stage.part) as visit:
        await visit.try_tools()
        markup = await visit.run("markup")
        assert await markup.locator("pre").nth(0).inner_text() == "<img src=x onerror=alert(1)>"
        assert await markup.locator("pre").nth(1).inner_text() == "<script>alert(1)</script>"
        drawing = await visit.run("drawing")
        assert "<script>alert(1)</script>" in await drawing.locator("pre").inner_text()
        links = await visit.run("links")
        hrefs = [await link.get_attribute("href") for link in await links.get_by_role("link").all()]
        assert hrefs == ["https://example.com/page"]
        assert "javascript:alert(1)" in await links.inner_text()
        fail = await visit.run("fail")
        assert "The tool says that it failed:" in await fail.inner_text()
        assert await (await visit.run("nothing")).inner_text() == "It answered, and said nothing."
        strange = await visit.open_tool("<img src=x onerror=alert(1)>")
        assert len(await strange.locator(".about").inner_text()) <= 4000
        assert await visit.page.locator("main img").count() == 0
        for address in ("visit", "visit_script"):
            tool = await visit.open_tool(address)
            await tool.get_by_role("button", name="Run").click()
            await tool.get_by_role("heading", name="The server asks").wait_for()
        question = visit.tool("visit").locator(".question")
        assert await question.get_by_role("link").get_attribute("href") == "https://example.com/sign"
        assert await question.locator("strong").inner_text() == "example.com"
        assert await visit.tool("visit_script").locator(".question").get_by_role("link").count() == 0
        assert (visit.dialogs, visit.trouble) == ([], [])


@pytest.mark.threat("E19")
async def test_e19_a_tool_that_is_nonsense_hides_no_other_tool(stage: PageStage) -> None:
    entry = replace(stdlib_entry("odd"), args=("-I", str(ODD_SERVER)))
    async with running_gateway([entry]) as gateway, visiting(stage.browser, f"{gateway.url}/odd/mcp") as visit:
        await visit.try_tools()
        assert await visit.page.locator("details.tool").count() == 4
        good = await visit.run("good")
        assert await good.locator("pre").first.inner_text() == '{"toString":1}'
        assert "last" in await good.inner_text()
        described = await visit.open_tool("described")
        assert await described.locator(".about").inner_text() == '{"toString":1}'
        assert await described.get_by_label("__proto__").count() == 1
        repeated = await visit.run("repeated")
        assert "last" in await repeated.inner_text(), "a header that is none is left out"
        assert visit.trouble == []


@pytest.mark.threat("E19")
async def test_e19_an_image_of_50_megabytes_is_refused_with_a_sentence(stage: PageStage) -> None:
    async with visiting(stage.browser, stage.part) as visit:
        await visit.try_tools()
        tool = await visit.open_tool("huge")
        await tool.get_by_role("button", name="Run").click()
        await tool.get_by_text("The answer has more than 16 MB, so it is not shown here.").wait_for()
        picture = await visit.run("picture")
        await picture.locator("img").wait_for()


@pytest.mark.threat("E19")
async def test_e19_not_even_a_fault_of_the_page_could_parse_html(stage: PageStage) -> None:
    async with visiting(stage.browser, f"{stage.gateway.url}/") as visit:
        refusals = await visit.page.evaluate(
            """() => [
              () => { document.body.innerHTML = '<b>x</b>'; },
              () => { document.createElement('div').insertAdjacentHTML('beforeend', '<b>x</b>'); },
              () => { new DOMParser().parseFromString('<b>x</b>', 'text/html'); },
              () => { trustedTypes.createPolicy('mine', { createHTML: text => text }); },
            ].map(attempt => { try { attempt(); return 'went through'; } catch (error) { return error.name; } })"""
        )
        assert set(refusals) == {"TypeError"}, refusals


async def test_the_keyboard_is_enough(stage: PageStage) -> None:
    async with visiting(stage.browser, f"{stage.gateway.url}/") as visit:
        press = visit.page.keyboard.press
        focused = "document.activeElement.textContent.trim()"
        await press("Tab")
        assert (await visit.page.evaluate(focused)).startswith("try")
        await press("Enter")
        await press("Tab")
        assert await visit.page.evaluate(focused) == "Copy"
        await press("Tab")
        assert await visit.page.evaluate(focused) == "Claude Code"
        await press("ArrowLeft")
        assert await visit.page.evaluate(focused) == "Python"
        assert await visit.page.locator("#package-try [role=tabpanel]:visible").count() == 1
        while await visit.page.evaluate(focused) != "Try its tools":
            await press("Tab")
        await press("Enter")
        await visit.tool("add").wait_for()
        while not (await visit.page.evaluate(focused)).startswith("add"):
            await press("Tab")
        await press("Enter")
        await visit.tool("add").get_by_label("a", exact=True).wait_for()
        for number in ("2", "3"):
            await press("Tab")
            await visit.page.keyboard.type(number)
        await press("Enter")
        await visit.tool("add").locator(".answer pre").first.wait_for()
        assert await visit.tool("add").locator(".answer pre").first.inner_text() == "5"


async def test_the_focus_stays_where_the_person_is(stage: PageStage) -> None:
    async with visiting(stage.browser, stage.part) as visit:
        focused = "document.activeElement.textContent.trim()"
        press = visit.page.keyboard.press
        await visit.page.get_by_role("button", name="Try its tools").focus()
        await press("Enter")
        await visit.page.get_by_role("button", name="Try its tools").wait_for(state="detached")
        assert await visit.page.evaluate(focused) == "located", "the first tool, in place of the button"

        for name in ("nothing", "ask"):
            tool = await visit.open_tool(name)
            run = tool.get_by_role("button", name="Run")
            await run.focus()
            await press("Enter")
            if name == "ask":
                await tool.get_by_label("Your name").wait_for()
                await visit.page.keyboard.type("Ada")
                await press("Enter")
            await tool.get_by_text("It answered.", exact=True).wait_for()
            await tool.get_by_role("button", name="Cancel").wait_for(state="hidden")
            assert await run.evaluate("run => run === document.activeElement"), name
    async with visiting(stage.browser, f"{stage.gateway.url}/") as visit:
        await visit.page.evaluate("document.getElementById('page').dataset.old = '1'")
        await visit.page.get_by_role("button", name="Look again").focus()
        await visit.page.keyboard.press("Enter")
        await visit.page.locator("#page:not([data-old])").wait_for()
        await visit.page.wait_for_function("document.activeElement.textContent === 'Look again'")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_page_fits_a_phone_and_stands_out(stage: PageStage, scheme: str) -> None:
    viewport = {"width": PHONE, "height": 740}
    async with visiting(stage.browser, stage.part, color_scheme=scheme, viewport=viewport) as visit:
        page = visit.page
        await visit.try_tools()
        await visit.run("picture")
        await visit.run("fail")
        fill = await visit.open_tool("fill")
        await fill.get_by_role("button", name="Run").click()
        await fill.get_by_text("This is needed.").first.wait_for()
        await visit.open_tool("add")
        await visit.open_tool("choose")
        for tab in await page.get_by_role("tab").all():
            await tab.click()
            assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE
        texts = ("h1", "h2", "h3", ".state", "summary", "label", ".fault", ".small", "button.primary", "a", "pre")
        tabs = ("[aria-selected=true]", "[aria-selected=false]", "button.secondary", ".about", "legend", "figcaption")
        for selector in (*texts, *tabs):
            assert await page.locator(f"{selector}:visible").first.evaluate(CONTRAST) >= 4.5, selector
        for control in await page.locator("input:not([type=checkbox]):visible, select:visible, button:visible").all():
            box = await control.bounding_box()
            assert box is not None
            assert box["height"] >= 44, await control.evaluate("control => control.outerHTML")
    async with visiting(stage.browser, f"{stage.gateway.url}/", color_scheme=scheme, viewport=viewport) as visit:
        assert await visit.page.evaluate("document.documentElement.scrollWidth") <= PHONE
        for selector in ("#operator-title", "thead th", "tbody td", ".limits dt", ".limits dd"):
            assert await visit.page.locator(selector).first.evaluate(CONTRAST) >= 4.5, selector


async def test_every_field_and_every_picture_has_a_name(stage: PageStage) -> None:
    async with visiting(stage.browser, stage.part) as visit:
        await visit.try_tools()
        for name in ("fill", "choose", "ask", "picture", "sound", "steps"):
            tool = await visit.open_tool(name)
            if name not in ("fill", "choose"):
                await tool.get_by_role("button", name="Run").click()
                await tool.locator(".answer").locator("img, audio, form, pre").first.wait_for()
        nameless = await visit.page.evaluate(
            """[...document.querySelectorAll('input, select, textarea, img, audio, button, progress, [role=tabpanel]')]
              .filter(one => !one.labels?.length && !one.getAttribute('aria-label'))
              .filter(one => !one.alt && !one.textContent.trim())
              .map(one => one.outerHTML)"""
        )
        assert nameless == []
        ids = await visit.page.evaluate("[...document.querySelectorAll('[id]')].map(one => one.id)")
        assert len(ids) == len(set(ids))
        headings = await visit.page.evaluate("[...document.querySelectorAll('h1, h2, h3, h4')].map(h => +h.tagName[1])")
        assert headings[0] == 1
        assert all(later - earlier <= 1 for earlier, later in zip(headings, headings[1:], strict=False))
