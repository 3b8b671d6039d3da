"""Where an MCP client may have its answers sent. Pure module: no I/O, nothing is resolved.

https anywhere; plain http to this machine only; and private-use schemes (RFC 8252 section 7.1), without those that make
a browser or the system do something else than hand the address to a program. Compared as they are written (OAuth 2.1
section 4.1.1.3), but for the port of a program on this machine, which is another one at each start (RFC 8252 section
7.3).
"""

import re
from typing import Final, Literal
from urllib.parse import SplitResult, urlsplit

RedirectKind = Literal["https", "loopback", "private"]

MAX_REDIRECT_CHARACTERS: Final = 1024
LOOPBACK_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "::1"})

# No space, quote, bracket of markup, backslash or control character: parsers disagree about all of them.
_CHARACTERS: Final = re.compile(r"[!#$%&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~]+", re.ASCII)
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*", re.ASCII)
_HOST: Final = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*", re.ASCII
)
# What browsers run, show or open by themselves, what reaches other machines, and handlers of systems that run things.
_REFUSED_SCHEMES: Final = frozenset(
    """
    about acap addressbook adiumxtra afp android-app apt blob cid content data dav dict dns feed file filesystem finger
    ftp ftps geo git gopher help hcp imap intent irc ircs itms jar javascript ldap ldaps livescript magnet mailto market
    mid mocha news nfs nntp opaquelocktoken pop resource res rlogin rsync rtmp rtsp sftp sftp shell sip sips skype sms
    smb smsto snmp ssh steam svn tel telnet tftp vbscript vnc view-source webcal wais ws wss wyciwyg x-apple-helpbasic
    xmpp search search-ms microsoft-edge
    """.split()
)
_REFUSED_PREFIXES: Final = ("chrome", "edge", "moz-", "ms-", "safari-", "web+", "x-apple", "browser", "opera", "brave")


def check_redirect_uri(uri: str) -> str | None:
    """What is wrong with a redirect URI, without repeating it; None when it is fine."""
    if not uri:
        return "is empty"
    if len(uri) > MAX_REDIRECT_CHARACTERS:
        return f"is longer than {MAX_REDIRECT_CHARACTERS} characters"
    if not _CHARACTERS.fullmatch(uri):
        return "holds a character that does not belong in an address"
    if "#" in uri:
        return "must not have a fragment (#...)"
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        return "is not a valid address"
    scheme = uri.partition(":")[0]
    if not _SCHEME.fullmatch(scheme) or not parts.scheme:
        return "must begin with a scheme in lower case, such as https:"
    if "@" in parts.netloc or parts.netloc.endswith(":"):
        return "must not hold a user name, or a port that is none"
    if {".", ".."} & set(parts.path.lower().replace("%2e", ".").split("/")):
        return "must not have dot segments (/../)"
    if scheme not in ("https", "http"):
        return _check_private(scheme, uri)
    host = parts.hostname or ""
    if not uri.startswith(f"{scheme}://") or parts.netloc != parts.netloc.lower() or port == 0:
        return "must name a host, in lower case"
    if host not in LOOPBACK_HOSTS and not _HOST.fullmatch(host) and not _is_bracketed(parts):
        return "must name a host, in lower case"
    if scheme == "http" and host not in LOOPBACK_HOSTS:
        return "must begin with https://, because only this machine may be reached over plain http"
    return None


def redirect_kind(uri: str) -> RedirectKind:
    """Who receives what is sent to a good redirect URI: the owner of a host, or some program on a device."""
    if uri.startswith("https:"):
        return "https"
    return "loopback" if uri.startswith("http:") else "private"


def is_same_redirect(registered: str, presented: str) -> bool:
    """Whether the presented URI is the registered one; the port of a loopback address may be another one."""
    if registered == presented:
        return True
    if redirect_kind(registered) != "loopback" or check_redirect_uri(presented) is not None:
        return False
    return redirect_kind(presented) == "loopback" and _without_port(registered) == _without_port(presented)


def describe_redirect(uri: str) -> str:
    """Where a good redirect URI leads, for a person: a host with its port, or a scheme."""
    if redirect_kind(uri) == "private":
        return uri.partition(":")[0] + ":"
    return urlsplit(uri).netloc


def _check_private(scheme: str, uri: str) -> str | None:
    if scheme in _REFUSED_SCHEMES or scheme.startswith(_REFUSED_PREFIXES):
        return "begins with a scheme that does not lead to an MCP client"
    # `scheme:` alone, and what a shell or a browser could take for an option or a script, is no address.
    return None if len(uri) > len(scheme) + 1 else "must have something behind its scheme"


def _is_bracketed(parts: SplitResult) -> bool:
    return parts.netloc.startswith("[")


def _without_port(uri: str) -> str:
    parts = urlsplit(uri)
    host = parts.netloc.rpartition("]")[0] + "]" if parts.netloc.startswith("[") else parts.netloc.partition(":")[0]
    # The rest letter by letter: urlunsplit would drop an empty query.
    return f"{parts.scheme}://{host}{uri[len(parts.scheme) + 3 + len(parts.netloc) :]}"
