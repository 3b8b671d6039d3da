"""The browser that a command opens at the demo: `python demo_browser.py URL` allows what it is asked, as one person.

A program of its own: BROWSER names it.
"""

import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urljoin

import httpx2

MAX_PAGES = 10


@dataclass
class Form:
    action: str
    fields: dict[str, str] = field(default_factory=dict[str, str])
    """The hidden ones, and the button that is pressed: the first one, or `allow`."""
    allows: bool = False
    has_button: bool = False


class Forms(HTMLParser):
    """The forms of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[Form] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        name, value = values.get("name", ""), values.get("value", "")
        if tag == "form":
            self.found.append(Form(values.get("action", "")))
        elif self.found and tag == "input" and values.get("type") == "hidden":
            self.found[-1].fields[name] = value
        elif self.found and tag == "button" and name and (value == "allow" or not self.found[-1].has_button):
            self.found[-1].fields[name] = value
            self.found[-1].has_button = True
            self.found[-1].allows |= value == "allow"


def main(url: str) -> None:
    with httpx2.Client(trust_env=False, timeout=60, follow_redirects=True) as browser:
        page = browser.get(url)
        for _ in range(MAX_PAGES):
            forms = sorted(Forms(page.text).found, key=lambda form: not form.allows)
            if not forms:
                return
            page = browser.post(urljoin(str(page.url), forms[0].action), data=forms[0].fields)


if __name__ == "__main__":
    main(sys.argv[1])
