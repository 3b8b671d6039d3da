"""Which addresses a package file or the operator may name. Pure module: no I/O, nothing is resolved."""

import ipaddress
import re
from collections.abc import Collection
from urllib.parse import SplitResult, parse_qsl, urlsplit

MAX_URL_CHARACTERS = 2048

# RFC 3986 allows a little more ($, parentheses, quotes); none of it appears in endpoints of providers, and all of it
# matters to a shell that some browser opener may run.
_CHARACTERS = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!&*+,;=%]*", re.ASCII)
_BASE_PATH = re.compile(r"(/(?!\.\.?(/|\Z))(?!\.well-known(/|\Z))[A-Za-z0-9._~-]+)*", re.ASCII)
"""Segments that every proxy, client and browser spells in one way only; `.well-known` belongs to the host."""
_HOST_NAME = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*", re.ASCII
)


def is_loopback_host(host: str) -> bool:
    """Whether `host` (a name or an address, without port) can only be this machine. Nothing is looked up."""
    host = host.lower().removeprefix("[").removesuffix("]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_host_name(host: str) -> bool:
    """Whether `host` is a plain lower-case DNS name or an IP address, without port or brackets."""
    if _HOST_NAME.fullmatch(host):
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def check_url(url: str, *, forbidden_parameters: Collection[str] = (), allow_query: bool = True) -> str | None:
    """What is wrong with `url` as an address to send people or credentials to; None when it is fine.

    https for every host, http for loopback hosts only (RFC 8252 §8.3), no user name or password (RFC 3986 §3.2.1), no
    fragment (RFC 6749 §3.1, §3.2), no character beyond what endpoints need. The answer does not repeat the address:
    a password may stand in it.
    """
    if not url:
        return "is empty"
    if len(url) > MAX_URL_CHARACTERS:
        return f"is longer than {MAX_URL_CHARACTERS} characters"
    if not _CHARACTERS.fullmatch(url):
        return "holds a character that does not belong in the address of an endpoint (a space, a quote, $, ...)"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "is not a valid URL"
    fault = _check_scheme_and_host(parts, port)
    if fault is not None:
        return fault
    if "#" in url:
        return "must not have a fragment (#...)"
    if "?" in url and not allow_query:
        return "must not have a query (?...)"
    names = {name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
    taken = sorted(names.intersection(forbidden_parameters))
    if taken:
        return f"must not set the protocol parameter {taken[0]} in its query"
    return None


def _check_scheme_and_host(parts: SplitResult, port: int | None) -> str | None:
    if parts.scheme not in ("https", "http"):
        return "must begin with https:// (or http:// for a loopback host)"
    if "@" in parts.netloc:
        return "must not hold a user name or password"
    host = parts.hostname or ""
    if not is_host_name(host) or port == 0:
        return "must name a host"
    if parts.scheme == "http" and not is_loopback_host(host):
        return "must begin with https://, because only loopback hosts may be reached over plain http"
    return None


def parse_public_url(url: str) -> tuple[str, str | None]:
    """The address in canonical form, `scheme://host[:port][/path]`, and what is wrong with it, one of them empty."""
    fault = check_url(url, allow_query=False)
    if fault is not None:
        return "", fault
    parts = urlsplit(url)
    path = parts.path.removesuffix("/")
    if not _BASE_PATH.fullmatch(path):
        return "", "must have a path of plain segments (letters, digits, -, _, . and ~), or none"
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    default_port = 443 if parts.scheme == "https" else 80
    port = "" if parts.port in (None, default_port) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}{path}", None


def split_public_url(url: str) -> tuple[str, str]:
    """Of an address in that form: the origin, and the path on it, which is empty or begins with a slash."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}", parts.path
