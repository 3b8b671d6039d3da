"""The pages that a person sees: complete in themselves, and with nothing in them but text of a client's words."""

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluidmcp.pages.render import (
    ConsentView,
    HtmlPage,
    RememberedItem,
    render_consent,
    render_problem,
    render_remembered,
)

VIEW = ConsentView(
    package="gmail-mock",
    gateway="localhost:8099",
    client_name="Claude",
    client_host="claude.ai",
    redirect="claude.ai",
    redirect_kind="https",
    scopes=("openid", "mail.read", "custom:thing"),
    scope_texts={"mail.read": "Read your messages"},
    sign_ins=("login.example.com", "accounts.google.com"),
    action="/gmail-mock/consent",
    request="sealed-request",
    can_remember=True,
    remembered_path="/gmail-mock/consent/remembered",
)
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7*7 }}",
    "&lt;b&gt;",
    "\u202eevil",
    "W" * 80,
)


class Reader(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, page: HtmlPage) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page.body.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


def all_pages(text: str = "Claude") -> list[HtmlPage]:
    item = RememberedItem(id="c", client_name=text, redirect=text, scopes=(f"x:{text}",), until="2026-12-25")
    return [
        render_consent(replace(VIEW, client_name=text, client_host=None, scopes=(f"x:{text}",), redirect=text)),
        render_consent(replace(VIEW, client_name=text, redirect_kind="private", can_remember=False)),
        render_remembered(package="mail", gateway="localhost", items=[item], action="/mail/consent/remembered"),
        render_problem(title=text, text=text, hint=text),
    ]


def test_the_consent_page_says_who_asks_where_it_goes_what_it_may_and_what_follows() -> None:
    words = Reader(render_consent(VIEW)).words
    for said in (
        "Allow Claude to use gmail-mock?",
        "Claude, vouched for by claude.ai",
        "The website claude.ai",
        "Know which account is yours",
        "Read your messages",
        "custom:thing",
        "login.example.com, then at accounts.google.com",
        "localhost:8099",
        "30 days",
    ):
        assert said in words


def test_a_name_that_nobody_vouches_for_is_called_a_claim() -> None:
    assert "calls itself Claude. Nobody vouches" in Reader(render_consent(replace(VIEW, client_host=None))).words


@pytest.mark.parametrize(("kind", "is_warned"), [("https", False), ("loopback", True), ("private", True)])
def test_programs_on_a_device_come_with_a_warning(kind: str, is_warned: bool) -> None:
    page = Reader(render_consent(replace(VIEW, redirect_kind=kind)))  # type: ignore[arg-type] # pyright: ignore
    assert (("role", "note") in [item for _, attributes in page.tags for item in attributes.items()]) is is_warned
    assert ("Did you start this yourself?" in page.words) is is_warned


@pytest.mark.parametrize("text", HOSTILE)
def test_the_words_of_a_client_stay_text_on_every_page(text: str) -> None:
    for clean, page in zip(all_pages(), all_pages(text), strict=True):
        read = Reader(page)
        assert [tag for tag, _ in read.tags] == [tag for tag, _ in Reader(clean).tags]
        assert text in read.text
        assert not [name for _, attributes in read.tags for name in attributes if name.startswith("on")]


@given(st.text(min_size=1, max_size=40))
def test_no_text_of_a_client_becomes_markup(text: str) -> None:
    for clean, page in zip(all_pages(), all_pages(text), strict=True):
        assert [tag for tag, _ in Reader(page).tags] == [tag for tag, _ in Reader(clean).tags]


def test_every_page_is_complete_in_itself_and_its_policy_lets_nothing_in() -> None:
    for page in all_pages():
        headers = dict(page.headers)
        style = re.search(r"<style>(.*?)</style>", page.body.decode(), re.DOTALL)
        assert style is not None
        digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
        assert headers["Content-Security-Policy"] == (
            f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; frame-ancestors 'none'"
        )
        assert headers["Cache-Control"] == "no-store"
        assert headers["Referrer-Policy"] == "same-origin"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["X-Content-Type-Options"] == "nosniff"
        tags = Reader(page).tags
        assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in tags}
        assert not [value for _, attributes in tags for value in attributes.values() if "://" in (value or "")]
        assert sum(tag == "h1" for tag, _ in tags) == 1
        assert ("html", {"lang": "en"}) in tags


def test_what_cannot_be_remembered_offers_no_box() -> None:
    def fields(view: ConsentView) -> set[str | None]:
        return {attributes.get("name") for tag, attributes in Reader(render_consent(view)).tags if tag == "input"}

    assert fields(VIEW) == {"request", "remember"}
    assert fields(replace(VIEW, can_remember=False)) == {"request"}


def test_each_remembered_client_has_a_button_and_an_empty_list_says_so() -> None:
    item = RememberedItem(id="cookie-1", client_name="Claude", redirect="claude.ai", scopes=("openid",), until="2027")
    page = Reader(render_remembered(package="mail", gateway="g", items=[item], action="/a"))
    buttons = [attributes for tag, attributes in page.tags if tag == "button"]
    (button,) = [(one["name"], one["value"], one["aria-label"]) for one in buttons]
    assert button == ("forget", "cookie-1", "Forget Claude")
    empty = Reader(render_remembered(package="mail", gateway="g", items=[], action="/a"))
    assert "There are none." in empty.words
    assert not [tag for tag, _ in empty.tags if tag == "form"]
