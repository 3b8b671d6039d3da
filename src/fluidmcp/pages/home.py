"""The page at `/`: what a gateway is to a person who opens its address. It can be read without scripts.

What it shows depends on who looks; scripts ask for the same page again, with a token, and put it in the place of this
one. Every text of packages and people is escaped, and isolated so that it cannot turn the writing around it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from fluidmcp.packages.clients.snippets import Snippet
from fluidmcp.pages.render import HtmlPage, RememberedItem, render_template

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS: Final = (
    ("Content-Type", "text/html; charset=utf-8"),
    ("Cache-Control", "no-store"),
    ("Pragma", "no-cache"),
    # Not no-referrer: the browser would send "Origin: null" with a form, and that origin is refused.
    ("Referrer-Policy", "same-origin"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Content-Security-Policy", POLICY),
    ("Vary", "Accept, Authorization, X-FluidMCP-Authorization, Cookie"),
)

PackageState = Literal["running", "waiting", "starting", "installing", "failed"]
STATE_WORDS: Final[dict[PackageState, str]] = {
    "running": "Running",
    "waiting": "Starts when it is called",
    "starting": "Starting",
    "installing": "Installing",
    "failed": "Its last start failed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolView:
    name: str
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageView:
    """One package. `endpoint` is its whole address, `path` that of the gateway's own host."""

    name: str
    endpoint: str
    path: str
    state: PackageState
    login: Literal["none", "browser", "header"]
    """Whether people log in: not at all, with a browser, or with what a program sends."""
    issuer: str
    """The authorization server where they do, as it names itself; else ""."""
    has_own_login: bool
    """Whether the package has a login of its own, beside one of the gateway."""
    tools: tuple[ToolView, ...] | None
    """What everybody may know of it; None: it does not run, or one has to log in first."""
    snippets: tuple[Snippet, ...]
    """How each client is connected; empty where the page is about too many packages."""
    remembered: tuple[RememberedItem, ...]
    remembered_action: str

    @property
    def state_words(self) -> str:
        return STATE_WORDS[self.state]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessView:
    """A server process. `whose` says whom it serves, `stderr` is redacted."""

    package: str
    state: str
    whose: str
    users: int
    age: str
    stderr: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonView:
    issuer: str
    subject: str
    processes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DenialView:
    """Somebody who is shut out; `who` as the deny list names them, `package` "" for all."""

    who: str
    package: str
    since: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureView:
    """A failed start. `at` is a time of day in UTC."""

    package: str
    at: str
    what: str
    why: str
    hint: str
    stderr: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessCount:
    """How many server processes of a package there are; `states` says how many in which state."""

    package: str
    count: int
    states: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorView:
    counts: tuple[ProcessCount, ...]
    """Where there are more processes than are listed: how many of each package, most first; else empty."""
    processes: tuple[ProcessView, ...]
    more_processes: int
    """How many are not listed; the other `more_...` likewise."""
    people: tuple[PersonView, ...] | None
    """None: whoever looks has shown no credential."""
    more_people: int
    denied: tuple[DenialView, ...]
    more_denied: int
    failures: tuple[FailureView, ...]
    more_failures: int
    limits: tuple[tuple[str, str], ...]
    """What each limit is called, and what it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeView:
    """What the page says. `gateway` is the host that people know it by, `root` the path in front of all of its own."""

    gateway: str
    root: str
    is_stranger: bool
    is_guarded: bool
    who: str
    """Whom the gateway knows; "" for nobody."""
    only: str
    """The name of the one package that the page is about; "": it is about all."""
    packages: Sequence[PackageView]
    are_names_hidden: bool
    operator: OperatorView | None
    client_id: str
    redirect_uri: str
    login_issuer: str
    """The authorization server of the gateway itself; "" where there is none."""


def render_home(view: HomeView, *, status: int = 200) -> HtmlPage:
    """The page for one visitor."""
    return HtmlPage(status, render_template("home.html", view=view).encode("utf-8"), HEADERS)


def render_refusal(*, root: str, title: str, text: str, hint: str, status: int) -> HtmlPage:
    """Why a token lets nobody in; scripts read the title."""
    words = {"title": title, "text": text, "hint": hint}
    return HtmlPage(status, render_template("refused.html", root=root, **words).encode("utf-8"), HEADERS)


def render_callback(*, root: str) -> HtmlPage:
    """Where a browser comes back to from a login that the page began: it tells the page, and closes."""
    return HtmlPage(200, render_template("callback.html", root=root).encode("utf-8"), HEADERS)
