"""What a step of the walk saw, as values: an answer, or why there was none. Pure module."""

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, cast

import msgspec

FailureKind = Literal["name", "refused", "timeout", "tls", "not_tls", "broken", "not_allowed"]
"""`not_allowed`: a document of the gateway names an address that doctor does not call."""

MAX_QUOTED_CHARACTERS: Final = 200

_TITLE: Final = re.compile(r"<title[^>]*>(.*?)</title>", re.DOTALL | re.IGNORECASE)
_PARAMETER: Final = re.compile(r'([A-Za-z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What is wrong with a certificate. `verify_code` is that of OpenSSL (X509_V_ERR_...); times are ISO 8601."""

    verify_code: int
    names: tuple[str, ...] = ()
    issuer: str = ""
    not_before: str = ""
    not_after: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """No answer came from `url`."""

    url: str
    kind: FailureKind
    seconds: float = 0.0
    """The limit that was over, for `timeout`."""
    certificate: Certificate | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One HTTP answer; header names in lower case, the body cut off at a length.

    `asked_at` and `answered_at` are our clock around it, in seconds since the epoch.
    """

    url: str
    status: int
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    body: bytes = field(default=b"", repr=False)
    cookies: tuple[str, ...] = field(default=(), repr=False)
    """`name=value` of each Set-Cookie."""
    http_version: str = "HTTP/1.1"
    asked_at: float = 0.0
    answered_at: float = 0.0

    def header(self, name: str) -> str:
        return self.headers.get(name, "")

    @property
    def media_type(self) -> str:
        return self.header("content-type").partition(";")[0].strip().lower()

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    @property
    def title(self) -> str:
        """The title of a page, without that of the product behind it; "" for what is no page."""
        found = _TITLE.search(self.text)
        words = " ".join(html.unescape(found[1]).split()) if found else ""
        return words.partition(" · ")[0][:MAX_QUOTED_CHARACTERS]

    @property
    def document(self) -> Mapping[str, object] | None:
        """The JSON object in the body, also where it came as the one event of a stream; None for anything else."""
        text = self.body
        if self.media_type == "text/event-stream":
            text = b"".join(
                line[5:].strip() for line in self.body.splitlines() if line.startswith(b"data:") and line[5:].strip()
            )
        try:
            value = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return cast("Mapping[str, object]", value) if isinstance(value, dict) else None

    @property
    def is_ours(self) -> bool:
        """Whether a FluidMCP gateway made it, as far as that shows: its errors are JSON with a code and a message."""
        document = self.document or {}
        is_rpc = "jsonrpc" in document
        return is_rpc or (isinstance(document.get("error"), str) and isinstance(document.get("message"), str))


Seen = Answer | Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSeen:
    """An event stream that was opened and watched for a while."""

    answer: Answer
    has_event: bool
    """Whether the event came that the gateway sends at once."""
    ended_after_seconds: float | None = None
    """None where it was still open at the end of the watch."""


def read_challenge(value: str) -> Mapping[str, str]:
    """The parameters of a `Bearer` challenge (RFC 6750 section 3), names in lower case; empty for another scheme."""
    scheme, _, rest = value.strip().partition(" ")
    if scheme.lower() != "bearer":
        return {}
    return {match[1].lower(): match[2] or match[3] or "" for match in _PARAMETER.finditer(rest)}


def text_of(document: Mapping[str, object], name: str) -> str:
    """A member that is a string; "" for any other."""
    value = document.get(name)
    return value if isinstance(value, str) else ""


def texts_of(document: Mapping[str, object], name: str) -> tuple[str, ...]:
    """The strings of a member that is a list."""
    value = document.get(name)
    items: Sequence[object] = cast("Sequence[object]", value) if isinstance(value, list) else ()
    return tuple(item for item in items if isinstance(item, str))


def members_of(value: object) -> Mapping[str, object]:
    """The members of a JSON object; none of anything else."""
    return cast("Mapping[str, object]", value) if isinstance(value, dict) else {}
