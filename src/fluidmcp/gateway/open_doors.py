"""The routes that a guarded gateway serves to people it does not know, each with the reason."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final, Literal

Which = Literal["any", "login", "facade", "only facade", "gateway login"]


@dataclass(frozen=True, slots=True)
class OpenDoor:
    """`{package}` in the path stands for the packages that `which` names.

    `login`: those with an `auth` block. `facade`: those that MCP clients log in to by themselves; `only facade`: the
    one package of that kind, where there is one. `gateway login`: where the gateway has a login of its own.
    """

    method: str
    path: str
    reason: str
    which: Which = "any"


_BROWSER: Final = "A browser that goes to a page cannot send a header."
_FIRST: Final = "Who calls it has no token yet: it is how one is got."

OPEN_DOORS: Final = (
    OpenDoor("GET", "/health", "Whoever restarts or balances gateways has no token; it tells only that one runs."),
    OpenDoor("GET", "/{package}/auth/login", _BROWSER, "login"),
    OpenDoor(
        "GET", "/{package}/auth/callback", "The provider sends a browser; its cookie says whose login it is.", "login"
    ),
    OpenDoor("GET", "/auth/callback", "As the callback of a package.", "gateway login"),
    OpenDoor("GET", "/{package}/authorize", _BROWSER, "facade"),
    OpenDoor("POST", "/{package}/consent", "A form of our own page; its cookie says whose browser it is.", "facade"),
    OpenDoor("GET", "/{package}/consent/remembered", _BROWSER, "facade"),
    OpenDoor("POST", "/{package}/consent/remembered", "It changes nothing but what this browser remembers.", "facade"),
    OpenDoor("POST", "/{package}/token", _FIRST, "facade"),
    OpenDoor("OPTIONS", "/{package}/token", "Browsers ask before a page may call.", "facade"),
    OpenDoor("POST", "/{package}/register", _FIRST, "facade"),
    OpenDoor("OPTIONS", "/{package}/register", "Browsers ask before a page may call.", "facade"),
    OpenDoor("POST", "/{package}/revoke", "The token to revoke is in the form.", "facade"),
    OpenDoor("OPTIONS", "/{package}/revoke", "Browsers ask before a page may call.", "facade"),
    OpenDoor("GET", "/authorize", _BROWSER, "only facade"),
    OpenDoor("POST", "/token", _FIRST, "only facade"),
    OpenDoor("OPTIONS", "/token", "Browsers ask before a page may call.", "only facade"),
    OpenDoor("POST", "/register", _FIRST, "only facade"),
    OpenDoor("OPTIONS", "/register", "Browsers ask before a page may call.", "only facade"),
)
"""Everything else needs the gateway's token. `POST /{package}/auth/refresh` does too: a program calls it.

The documents below `/.well-known/` are open as well (gateway/wellknown lists them): they tell clients where to log in.
"""


def list_open_doors(
    *, logins: Collection[str], facades: Collection[str], has_gateway_login: bool, documents: Collection[str]
) -> Iterator[tuple[str, str]]:
    """Method and path of every open door of a gateway. `documents` are the paths of its well-known documents."""
    packages: dict[Which, Collection[str]] = {
        "any": ("",),
        "login": logins,
        "facade": facades,
        "only facade": facades if len(facades) == 1 else (),
        "gateway login": ("",) if has_gateway_login else (),
    }
    for door in OPEN_DOORS:
        for package in packages[door.which]:
            yield door.method, door.path.format(package=package)
    for path in documents:
        yield "GET", path
        yield "OPTIONS", path
