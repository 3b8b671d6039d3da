"""What a client is to connect to: one package of a gateway. Pure module."""

import ipaddress
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import quote, urlsplit

_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_-]+")
"""The strictest client (Codex) takes letters, digits, hyphens and underscores."""
MAX_NAME_CHARACTERS: Final = 40
"""Clients put the name before that of each tool, and some models take 64 characters for both."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A package at its address."""

    name: str
    """What the client shall call it; good in the file of every client."""
    url: str
    """Where it answers: `https://host/base/package/mcp`."""
    needs_login: bool = False
    """Whether a caller must be somebody; programs without a login of their own are then shown where the token goes."""
    token_variable: str = ""
    """The environment variable in which the client finds the token to send, instead of a login; empty for none."""


def make_endpoint(gateway_url: str, package: str, *, needs_login: bool = False, token_variable: str = "") -> Endpoint:
    """The endpoint of a package; `gateway_url` is the gateway's public address and may have a path."""
    url = f"{gateway_url.rstrip('/')}/{quote(package, safe='')}/mcp"
    return Endpoint(make_client_name(package), url, needs_login, token_variable)


def make_client_name(package: str) -> str:
    """The name of a package in the files of clients: `my.server` becomes `my-server`."""
    return _NOT_IN_NAMES.sub("-", package).strip("-")[:MAX_NAME_CHARACTERS].rstrip("-") or "server"


def tell_apart(endpoints: Sequence[Endpoint]) -> list[Endpoint]:
    """The endpoints with names of which no two are equal: `my.server` beside `my-server` is called `my-server-2`.

    A package keeps the name that is its own.
    """
    taken = {endpoint.name for endpoint in endpoints if _is_own_name(endpoint)}
    told: list[Endpoint] = []
    for endpoint in endpoints:
        name = endpoint.name
        if name in taken and not _is_own_name(endpoint):
            start = name[: MAX_NAME_CHARACTERS - 4].rstrip("-")
            name = next(text for n in itertools.count(2) if (text := f"{start}-{n}") not in taken)
        taken.add(name)
        told.append(replace(endpoint, name=name))
    return told


def _is_own_name(endpoint: Endpoint) -> bool:
    return endpoint.url.endswith(f"/{endpoint.name}/mcp")


def is_loopback(url: str) -> bool:
    """Whether the address is one of the machine itself."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_reachable_from_outside(url: str) -> bool:
    """Whether a service on the internet may reach it, as far as the address tells: https, and no private host."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "https" or is_loopback(url) or "." not in host:
        return False
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return not host.endswith((".local", ".internal", ".lan", ".home.arpa"))
