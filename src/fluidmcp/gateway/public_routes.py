"""The routes that a guarded gateway serves to people it does not know, each with the reason."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

Which = Literal[
    "any",
    "login",
    "named login",
    "keys",
    "authorization_server",
    "only authorization_server",
    "gateway login",
    "page file",
]


@dataclass(frozen=True, slots=True)
class PublicRoute:
    """`{package}` in the path stands for the packages that `which` names.

    `login`: those with an `auth` block; `named login`: each login of those that have several; `keys`: those whose
    people type keys. `authorization_server`: those that MCP clients log in to by themselves; `only
    authorization_server`: the one package of that kind, where there is one. `gateway login`: where the gateway has a
    login of its own. `page file`: each file that the page at `/` loads, in the place of `{file}`.
    """

    method: str
    path: str
    reason: str
    which: Which = "any"


_BROWSER: Final = "A browser that goes to a page cannot send a header."
_FIRST: Final = "Who calls it has no token yet: it is how one is got."

PUBLIC_ROUTES: Final = (
    PublicRoute("GET", "/health", "Whoever restarts or balances gateways has no token; it tells only that one runs."),
    PublicRoute("GET", "/ready", "As `/health`; it tells only whether the gateway wants requests."),
    PublicRoute("GET", "/schema/config.json", "An editor has no token; it is the same for every gateway."),
    PublicRoute("GET", "/", "The page for people: who has no token, or none that is good, is shown a login."),
    PublicRoute("GET", "/-/callback", "The browser comes back from a login that the page began."),
    PublicRoute("GET", "/-/assets/{file}", "Style and scripts of the page; the same for every gateway.", "page file"),
    PublicRoute("GET", "/-/authorize", _BROWSER, "gateway login"),
    PublicRoute("POST", "/-/consent", "As the consent of a package.", "gateway login"),
    PublicRoute("GET", "/-/consent/remembered", _BROWSER, "gateway login"),
    PublicRoute("POST", "/-/consent/remembered", "As that of a package.", "gateway login"),
    PublicRoute("POST", "/-/token", _FIRST, "gateway login"),
    PublicRoute("POST", "/-/revoke", "The token to revoke is in the form.", "gateway login"),
    PublicRoute("GET", "/{package}/auth/login", _BROWSER, "login"),
    PublicRoute(
        "GET", "/{package}/auth/callback", "The provider sends a browser; its cookie says whose login it is.", "login"
    ),
    PublicRoute("GET", "/{package}/auth/callback/{login}", "As the callback of a package.", "named login"),
    PublicRoute("GET", "/{package}/auth/keys", _BROWSER, "keys"),
    PublicRoute("POST", "/{package}/auth/keys", "A form of our own page; its cookie says whose login it is.", "keys"),
    PublicRoute("GET", "/auth/callback", "As the callback of a package.", "gateway login"),
    PublicRoute("GET", "/{package}/authorize", _BROWSER, "authorization_server"),
    PublicRoute(
        "POST",
        "/{package}/consent",
        "A form of our own page; its cookie says whose browser it is.",
        "authorization_server",
    ),
    PublicRoute("GET", "/{package}/consent/remembered", _BROWSER, "authorization_server"),
    PublicRoute(
        "POST",
        "/{package}/consent/remembered",
        "It changes nothing but what this browser remembers.",
        "authorization_server",
    ),
    PublicRoute("POST", "/{package}/token", _FIRST, "authorization_server"),
    PublicRoute("OPTIONS", "/{package}/token", "Browsers ask before a page may call.", "authorization_server"),
    PublicRoute("POST", "/{package}/register", _FIRST, "authorization_server"),
    PublicRoute("OPTIONS", "/{package}/register", "Browsers ask before a page may call.", "authorization_server"),
    PublicRoute("POST", "/{package}/revoke", "The token to revoke is in the form.", "authorization_server"),
    PublicRoute("OPTIONS", "/{package}/revoke", "Browsers ask before a page may call.", "authorization_server"),
    PublicRoute("GET", "/authorize", _BROWSER, "only authorization_server"),
    PublicRoute("POST", "/token", _FIRST, "only authorization_server"),
    PublicRoute("OPTIONS", "/token", "Browsers ask before a page may call.", "only authorization_server"),
    PublicRoute("POST", "/register", _FIRST, "only authorization_server"),
    PublicRoute("OPTIONS", "/register", "Browsers ask before a page may call.", "only authorization_server"),
)
"""Everything else needs the gateway's token. `POST /{package}/auth/refresh` does too: a program calls it.

The documents below `/.well-known/` are open as well (gateway/login/wellknown lists them): they tell clients
where to log in.
"""


def list_public_routes(
    *,
    logins: Mapping[str, Collection[str]],
    keys: Collection[str],
    authorization_servers: Collection[str],
    has_gateway_login: bool,
    documents: Collection[str],
    page_files: Collection[str],
) -> Iterator[tuple[str, str]]:
    """Method and path of every open endpoint of a gateway.

    `logins` are the names of each package's logins, `keys` the packages whose people type keys, `documents` the paths
    of its well-known documents, `page_files` the files of the page.
    """
    named = [(package, login) for package, names in logins.items() for login in names if login]
    nothing: Collection[tuple[str, str]] = [("", "")]
    servers = [(package, "") for package in authorization_servers]
    places: dict[Which, Collection[tuple[str, str]]] = {
        "any": nothing,
        "login": [(package, "") for package in logins],
        "named login": named,
        "keys": [(package, "") for package in keys],
        "authorization_server": servers,
        "only authorization_server": servers if len(servers) == 1 else (),
        "gateway login": nothing if has_gateway_login else (),
        "page file": [("", file) for file in page_files],
    }
    for route in PUBLIC_ROUTES:
        for package, login in places[route.which]:
            yield route.method, route.path.format(package=package, login=login, file=login)
    for path in documents:
        yield "GET", path
        yield "OPTIONS", path
