"""An API that knows keys, and people who have some: for packages whose people type them."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import httpx2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.providers.serving import serve

ADA: Final = {"api_key": "a" * 31 + "1", "app_key": 'ada\'s </script> "key" ${keys.api_key} é%0a'}
BO: Final = {"api_key": "b" * 31 + "2", "app_key": "bo's key; $(id)"}
PATTERN: Final = "[0-9a-f]{32}"


def block(address: str = "", **changes: Any) -> dict[str, Any]:
    """The `auth` of an entry that asks for two keys, and asks the API at `address` whether the first one is good."""
    check = {"verify": {"url": f"{address}/validate", "headers": {"DD-API-KEY": "${keys.api_key}"}}}
    return {
        "type": "keys",
        "keys": {
            "api_key": {"title": "API key", "pattern": PATTERN, "help": "https://app.example.com/keys"},
            "app_key": {"title": "Application key"},
        },
        **(check if address else {}),
        **changes,
    }


ENV: Final = {"MAIL_API_KEY": "${keys.api_key}", "BOTH": {"json": {"keys": ["${keys.api_key}", "${keys.app_key}"]}}}
"""What an entry with `block` gives its servers."""


@dataclass
class KeyApi:
    """Takes the first key of people it knows."""

    good: set[str] = field(default_factory=lambda: {ADA["api_key"], BO["api_key"]})
    asked: list[str] = field(default_factory=list[str])
    status: int = 403
    """What it answers to a key that it does not know."""

    async def validate(self, request: Request) -> Response:
        key = request.headers.get("dd-api-key", "")
        self.asked.append(key)
        return JSONResponse({}, status_code=200 if key in self.good else self.status)


@asynccontextmanager
async def running_key_api() -> AsyncGenerator[tuple[KeyApi, str]]:
    api = KeyApi()
    async with serve(Starlette(routes=[Route("/validate", api.validate)])) as address:
        yield api, address


@dataclass
class Page(HTMLParser):
    """A page with a form."""

    action: str = ""
    hidden: dict[str, str] = field(default_factory=dict[str, str])
    inputs: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    tags: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        if tag == "form":
            self.action = attributes.get("action", "")
        elif tag == "input" and attributes.get("type") == "hidden":
            self.hidden[attributes["name"]] = attributes.get("value", "")
        elif tag == "input":
            self.inputs.append(attributes)


def read_page(response: httpx2.Response) -> Page:
    page = Page()
    page.feed(response.text)
    return page


async def send_keys(
    browser: httpx2.AsyncClient, response: httpx2.Response, keys: dict[str, str], *, decision: str = "allow"
) -> httpx2.Response:
    """Fill in the page and send it, as a browser does."""
    page = read_page(response)
    origin = urlsplit(str(response.url))
    data = {**page.hidden, **{f"key-{name}": key for name, key in keys.items()}, "decision": decision}
    return await browser.post(
        urljoin(str(response.url), page.action), data=data, headers={"origin": f"{origin.scheme}://{origin.netloc}"}
    )


async def log_in(browser: httpx2.AsyncClient, gateway_url: str, package: str, keys: dict[str, str]) -> dict[str, Any]:
    """Open the login page, type keys, and get the tokens."""
    response = await browser.get(f"{gateway_url}/{package}/auth/login", follow_redirects=True)
    assert response.status_code == 200, response.text
    answer = await send_keys(browser, response, keys)
    assert answer.status_code == 200, answer.text
    return answer.json()["token_data"]
