"""The pages that a person sees on the way of an MCP client to a package: consent, what is remembered, and problems.

A page is complete in itself: style and mark are part of it, nothing is loaded, there is no script. Every text that
comes from a client is escaped, and isolated so that it cannot turn the writing around it.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Literal

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fluidmcp.pages.scopes import describe_scope


@dataclass(frozen=True, slots=True)
class HtmlPage:
    """A whole HTTP answer."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentView:
    """What the consent page says."""

    package: str
    is_gateway: bool = False
    """Whether it is about the gateway itself, and `package` says that in words."""
    gateway: str
    """The host that people know the gateway by."""
    client_name: str
    """What the client calls itself."""
    client_host: str | None
    """The host that vouches for the client; None: nobody does, the name is a claim."""
    redirect: str
    """Where the answer goes, in words: a host, a host with a port, or a scheme."""
    redirect_kind: Literal["https", "loopback", "private", "page"]
    """`page`: the gateway's own."""
    scopes: tuple[str, ...]
    scope_texts: Mapping[str, str]
    """Scopes in the words of the package's author."""
    sign_ins: tuple[str, ...]
    """The hosts of the login pages that follow, in order; "" for our own page of keys."""
    action: str
    request: str
    """The field that the form sends back."""
    can_remember: bool
    remembered_path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyField:
    """One field of the page of keys. `help` is an address, `fault` what is wrong with what was typed."""

    id: str
    label: str
    is_secret: bool
    help: str
    help_host: str
    fault: str
    has_focus: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysView:
    """What the page says on which a person types keys. It never holds what was typed."""

    package: str
    gateway: str
    client_name: str | None
    """None: the person asks for tokens in the browser."""
    client_host: str | None
    check_host: str
    """Who is asked whether the keys are good; "" where nobody is."""
    fields: tuple[KeyField, ...]
    is_unchecked: bool
    """Whether what was typed could not be checked."""
    problem: str
    action: str
    state: str
    max_characters: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RememberedItem:
    """One remembered consent. `until` is a date."""

    id: str
    client_name: str
    redirect: str
    scopes: tuple[str, ...]
    until: str


@dataclass(frozen=True, slots=True)
class ScopeLine:
    """A right in words, or as it is."""

    scope: str
    words: str | None


def render_consent(view: ConsentView) -> HtmlPage:
    """The page that asks a person whether a client may come in."""
    lines = [ScopeLine(scope, describe_scope(scope, view.scope_texts)) for scope in view.scopes]
    return _render("consent.html", 200, view=view, scope_lines=lines)


def render_keys(view: KeysView) -> HtmlPage:
    """The page on which a person types keys; status 400 where what was typed is not good, 503 where nobody can tell."""
    has_faults = bool(view.problem or any(field.fault for field in view.fields))
    return _render("keys.html", 503 if view.is_unchecked else 400 if has_faults else 200, view=view)


def render_remembered(*, package: str, gateway: str, items: Sequence[RememberedItem], action: str) -> HtmlPage:
    """The list of what a browser remembers, each with a button to forget it (field `forget`)."""
    shown = [(item, [describe_scope(scope, {}) or scope for scope in item.scopes]) for item in items]
    return _render("remembered.html", 200, package=package, gateway=gateway, items=shown, action=action)


def render_onward(
    location: str, *, title: str, place: str, is_last: bool = False, text: str = "", goes_by_itself: bool = True
) -> HtmlPage:
    """A page that goes on to another address, by itself or when asked to; `place` is where that is, in words."""
    values = {"title": title, "text": text, "place": place, "is_last": is_last, "goes_by_itself": goes_by_itself}
    page = _render("onward.html", 200, location=location, **values)
    # What the address holds is for nobody else.
    return HtmlPage(page.status, page.body, (*page.headers, ("Referrer-Policy", "no-referrer")))


def render_problem(*, title: str, text: str, hint: str = "", status: int = 400) -> HtmlPage:
    """Something to tell the person; nothing was sent anywhere."""
    return _render("problem.html", status, title=title, text=text, hint=hint)


def _render(template: str, status: int, **values: object) -> HtmlPage:
    style = _read_style()
    # Markup: the style is a file of ours, and HTML does not unescape what stands in <style>.
    text = render_template(template, style=Markup(style), **values)
    return HtmlPage(status, text.encode("utf-8"), _headers(style))


def render_template(template: str, **values: object) -> str:
    """A template of this room with these values, each of which is escaped."""
    return _templates().get_template(template).render(**values)


@lru_cache(maxsize=1)
def _read_style() -> str:
    return files("fluidmcp.pages").joinpath("static", "pages.css").read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("fluidmcp.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _headers(style: str) -> tuple[tuple[str, str], ...]:
    digest = base64.b64encode(hashlib.sha256(style.encode("utf-8")).digest()).decode("ascii")
    # No form-action: Chromium applies it to the redirect that follows a form, and ours lead to whichever provider, or
    # back to whichever client.
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; frame-ancestors 'none'"
    return (
        ("Content-Type", "text/html; charset=utf-8"),
        ("Cache-Control", "no-store"),
        ("Pragma", "no-cache"),
        # Not no-referrer: the browser would send "Origin: null" with the form, and that origin is refused.
        ("Referrer-Policy", "same-origin"),
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "DENY"),
        # No Cross-Origin-Opener-Policy: clients in a browser open this in a popup, and hear of its end from the page at
        # their redirect URI, by way of the opener.
        ("Content-Security-Policy", policy),
    )
