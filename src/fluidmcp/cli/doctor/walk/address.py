"""The address that somebody typed, and those that belong to it. Pure module."""

import ipaddress
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

from fluidmcp.authorization_server.metadata import AUTHORIZATION_SERVER, OPENID_CONFIGURATION, PROTECTED_RESOURCE
from fluidmcp.errors import UserError


@dataclass(frozen=True, slots=True)
class Address:
    """`url` as typed; `origin` without its path, `path` with its leading slash."""

    url: str
    origin: str
    host: str
    path: str

    @property
    def inserted(self) -> str:
        """Where RFC 9728 section 3.1 puts the document of this address."""
        return f"{self.origin}{PROTECTED_RESOURCE}{self.path.rstrip('/')}"

    @property
    def root(self) -> str:
        """Where clients look next."""
        return f"{self.origin}{PROTECTED_RESOURCE}"

    @property
    def is_local(self) -> bool:
        """Whether the host is one of this machine or network, as far as its text tells."""
        try:
            return not ipaddress.ip_address(self.host).is_global
        except ValueError:
            return self.host == "localhost" or self.host.endswith((".localhost", ".local", ".internal", ".lan"))

    @property
    def is_endpoint(self) -> bool:
        return self.path.rstrip("/").rsplit("/", 1)[-1] in ("mcp", "sse")

    @property
    def base(self) -> str:
        """The public URL of the gateway that this would be an endpoint of: without the package and what is behind."""
        segments = self.path.strip("/").split("/")
        above = segments[:-2] if self.is_endpoint else segments
        return self.origin + "".join(f"/{segment}" for segment in above if segment)


def parse_address(text: str) -> Address:
    """Raises UserError: it is no address that a client could be given."""
    fault = ""
    try:
        parts = urlsplit(text)
        if not parts.hostname or parts.port == 0:
            fault = "There is no host in it."
        elif "@" in parts.netloc:
            fault = "It holds a user name, or a password."
        elif not text.isascii() or not text.isprintable() or " " in text:
            fault = "It holds a character that does not belong in an address."
    except ValueError:
        fault = "It is not a valid address."
    if fault:
        raise UserError("That is no address of a gateway", why=fault, hint="Type it as a client would get it.")
    parts = urlsplit(text)
    host = parts.hostname or ""
    url = f"{parts.scheme.lower()}://{parts.netloc}{parts.path}"
    return Address(url=url, origin=f"{parts.scheme.lower()}://{parts.netloc}", host=host, path=parts.path or "/")


def split_address(text: str) -> SplitResult:
    """The parts of an address that somebody else wrote; no parts at all of one that is none."""
    try:
        parts = urlsplit(text)
        is_good = parts.port != 0
    except ValueError:
        is_good = False
    return urlsplit(text) if is_good else urlsplit("")


def join_address(base: str, text: str) -> str:
    """Where a link on a page leads; as it was written where it leads nowhere."""
    try:
        return urljoin(base, text)
    except ValueError:
        return text


def list_server_documents(issuer: str) -> tuple[str, ...]:
    """Where the document of an authorization server may stand, in the order of RFC 8414 and of MCP clients."""
    parts = split_address(issuer)
    origin, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    if not path:
        return (f"{origin}{AUTHORIZATION_SERVER}", f"{origin}{OPENID_CONFIGURATION}")
    return (
        f"{origin}{AUTHORIZATION_SERVER}{path}",
        f"{origin}{OPENID_CONFIGURATION}{path}",
        f"{origin}{path}{OPENID_CONFIGURATION}",
    )


def describe_difference(said: str, typed: str) -> str:
    """Which part of two addresses differs: `scheme`, `host`, `port` or `path`; "" where none does."""
    one, other = split_address(said), split_address(typed)
    if one.scheme != other.scheme:
        return "scheme"
    if (one.hostname or "") != (other.hostname or ""):
        return "host"
    if _port(one) != _port(other):
        return "port"
    return "" if one.path == other.path else "path"


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)
