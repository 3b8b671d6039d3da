"""The site of this repository: built without a network, loading nothing from elsewhere, whole, searched offline."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import pytest
from playwright.async_api import Page, expect

from tests.browser.chromium import open_chromium
from tests.site.building import ROOT, build_site

LOADED: Final = {("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("use", "href")}
ADDRESSES_IN_STYLES: Final = re.compile(r"""(?:url\(\s*['"]?|@import\s+['"])([^'")]+)""")
LINES_READ: Final = ("stylesheet", "icon", "preload", "modulepreload", "preconnect", "dns-prefetch", "prefetch")
TELEPHONE: Final = 360
INSIDE: Final = ("file:", "data:")


class Addresses(HTMLParser):
    """What a page loads, what it links to, and the places in it that can be linked to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        self.loaded += [value for name, value in given.items() if (tag, name) in LOADED]
        self.loaded += [part.split()[0] for part in given.get("srcset", "").split(",") if part.strip()]
        self.loaded += ADDRESSES_IN_STYLES.findall(given.get("style", ""))
        if tag == "link":
            (self.loaded if set(given.get("rel", "").split()) & set(LINES_READ) else self.links).append(given["href"])
        elif tag == "a" and "href" in given:
            self.links.append(given["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built") / "site"
    done = build_site(folder)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Addresses]:
    return {path: Addresses(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


def test_every_markdown_file_is_a_page(site: Path):
    files = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    assert [file.name for file in files if not (site / file.relative_to(ROOT)).with_suffix(".html").is_file()] == []


def test_nothing_is_loaded_from_another_host(site: Path, pages: dict[Path, Addresses]):
    loaded = [(path, address) for path, page in pages.items() for address in page.loaded]
    for style in site.rglob("*.css"):
        loaded += [(style, address) for address in ADDRESSES_IN_STYLES.findall(style.read_text(encoding="utf-8"))]
    assert len(loaded) > 100
    assert [each for each in loaded if urlsplit(each[1]).scheme not in ("", "data") or each[1].startswith("//")] == []


def test_every_address_inside_the_site_is_there(site: Path, pages: dict[Path, Addresses]):
    dead: list[str] = []
    for path, page in pages.items():
        for address in [*page.loaded, *page.links]:
            parts = urlsplit(address)
            if parts.scheme or not address:
                continue
            goal = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchors = pages[goal].ids | {""} if goal in pages else {""}
            if not goal.is_file() or not goal.is_relative_to(site) or unquote(parts.fragment) not in anchors:
                dead.append(f"{path.relative_to(site)}: {address}")
    assert dead == []


def test_no_page_links_to_a_file_of_the_source(pages: dict[Path, Addresses]):
    assert [link for page in pages.values() for link in page.links if re.search(r"\.(?:py|md)(?:$|#)", link)] == []


def list_pages(site: Path) -> Iterator[str]:
    """Without the entrance, which leads on to another one."""
    return (path.relative_to(site).as_posix() for path in sorted(site.rglob("*.html")) if path != site / "index.html")


@pytest.mark.needs("chromium")
async def test_every_page_is_readable_on_a_telephone(site: Path):
    """No page is wider than the screen, none asks another host, and none has an error in its scripts."""
    async with open_chromium() as browser:
        page = await browser.new_page(viewport={"width": TELEPHONE, "height": 800})
        faults = watch(page)
        for name in list_pages(site):
            await page.goto((site / name).as_uri())
            assert await page.evaluate("document.documentElement.scrollWidth") <= TELEPHONE, name
        assert faults == []


@pytest.mark.needs("chromium")
async def test_the_search_works_from_the_files_themselves(site: Path):
    async with open_chromium() as browser:
        page = await browser.new_page()
        faults = watch(page)
        await page.goto((site / "index.html").as_uri())
        await expect(page.get_by_role("heading", name="FluidMCP", level=1)).to_be_visible()
        await page.get_by_placeholder("Search").fill("redis")
        await page.keyboard.press("Enter")
        found = page.locator("#search-results").get_by_role("link").first
        await expect(found).to_have_text("Several gateways with one Redis")
        await found.click()
        await expect(page.get_by_role("heading", name="Several gateways with one Redis")).to_be_visible()
        assert faults == []


def watch(page: Page) -> list[str]:
    """What the page asks of others, and the errors of its scripts, as they come.

    The search fetches extracts of what it found, which browsers let no file do; then it shows the titles.
    """
    faults: list[str] = []
    page.on("request", lambda request: None if request.url.startswith(INSIDE) else faults.append(request.url))
    page.on("pageerror", lambda error: None if "Failed to fetch" in str(error) else faults.append(str(error)))
    return faults
