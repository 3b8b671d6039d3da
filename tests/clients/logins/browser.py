"""The browser that a client opens, played over HTTP: our page, the provider's pages, and back to the client."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import urljoin, urlsplit

import httpx2

MAX_STEPS: Final = 30
OUR_CONSENT: Final = "our consent"
OUR_KEYS: Final = "our page of keys"


@dataclass
class _Form(HTMLParser):
    """The first form of a page."""

    action: str = ""
    fields: dict[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if tag == "form" and not self.action:
            self.action = attributes.get("action", "")
        elif tag == "input" and attributes.get("type") == "hidden":
            self.fields[attributes["name"]] = attributes.get("value", "")


@dataclass
class Trip:
    """Where a browser came past: the hosts of the pages, and the address at which it ended."""

    pages: list[str] = field(default_factory=list[str])
    end: str = ""


async def walk(
    url: str,
    *,
    person: str,
    gateway_url: str,
    keys: Mapping[str, str] | None = None,
    authority: Path | None = None,
) -> Trip:
    """Allow, log in as the person, or type keys, and end at the client's own address, which gets the code.

    `authority` is the certificate that vouches for servers that speak https.
    """
    trip = Trip()
    verify = True if authority is None else ssl.create_default_context(cafile=authority)
    async with httpx2.AsyncClient(trust_env=False, timeout=60, verify=verify) as browser:
        location, issuers = url, set[str]()
        for _ in range(MAX_STEPS):
            response = await browser.get(location)
            origin = _origin(location)
            form = _Form()
            if response.status_code == 200 and "text/html" in response.headers.get("content-type", ""):
                form.feed(response.text)
            if form.action.endswith("/auth/keys"):
                trip.pages.append(OUR_KEYS)
                typed = {f"key-{name}": key for name, key in (keys or {}).items()}
                data = {**form.fields, **typed, "decision": "allow"}
                target = urljoin(location, form.action)
                response = await browser.post(target, data=data, headers={"origin": origin})
            elif "request" in form.fields or "prompt" in form.fields:
                response = await _send_form(browser, location, form, person, trip)
            if not response.is_redirect:
                trip.end = location
                assert origin not in (gateway_url, *issuers) or response.status_code < 400, response.text
                return trip
            location = urljoin(location, response.headers["location"])
            if origin != gateway_url:
                issuers.add(origin)
    raise AssertionError(f"the browser came to no end; the last address is {location}")


async def _send_form(
    browser: httpx2.AsyncClient, location: str, form: _Form, person: str, trip: Trip
) -> httpx2.Response:
    """Say yes: on our page, and on the two of the provider."""
    if "request" in form.fields:
        trip.pages.append(OUR_CONSENT)
        data = {**form.fields, "decision": "allow"}
    else:
        trip.pages.append(form.fields["prompt"])
        data = {**form.fields, "login": person, "password": "x"}
    return await browser.post(urljoin(location, form.action), data=data, headers={"origin": _origin(location)})


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
