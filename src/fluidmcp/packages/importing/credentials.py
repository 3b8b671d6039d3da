"""What looks like somebody's secret in a text, by its name, its form or its disorder. Pure module: no I/O.

A false alarm costs one more variable to export; a secret that is overlooked stays in a file that people pass on.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from fluidmcp.config.variables import sounds_secret

_PLAIN_VALUES: Final = frozenset({"", "true", "false", "yes", "no", "on", "off", "none", "null", "0", "1"})

_PREFIXES: Final = (
    # GitHub, GitLab
    r"gh[pousr]_[A-Za-z0-9]{6,}|github_pat_\w{6,}|gl(?:pat|dt|rt|cbt|ptt|oas|soat)-[\w.-]{6,}"
    # Slack, Stripe, OpenAI, Anthropic and others that begin with sk-
    r"|xox[a-z]-[\w-]{6,}|xapp-[\w-]{6,}|[srp]k_(?:live|test)_\w{6,}|whsec_\w{6,}|sk-(?=[\w-]*\d)[\w-]{12,}"
    # AWS, Google, Azure DevOps
    r"|(?:AKIA|ASIA)[A-Z0-9]{12,}|AIza[\w-]{20,}|ya29\.[\w.-]{10,}|GOCSPX-[\w-]{6,}"
    # npm, PyPI, Docker, Hugging Face, Replicate, Groq, Perplexity, Tavily, xAI, NVIDIA, Firecrawl, Brave
    r"|npm_[A-Za-z0-9]{20,}|pypi-[\w-]{20,}|dckr_pat_[\w-]{10,}|hf_[A-Za-z0-9]{10,}|r8_\w{10,}|gsk_\w{10,}"
    r"|pplx-\w{10,}|tvly-[\w-]{10,}|xai-\w{10,}|nvapi-[\w-]{10,}|fc-[a-f0-9]{10,}|BSA[\w-]{20,}"
    # Notion, Linear, Figma, Airtable, Atlassian, Postman, Sentry, Grafana, Supabase, PostHog, DigitalOcean, Shopify
    r"|ntn_\w{10,}|secret_[A-Za-z0-9]{20,}|lin_(?:api|oauth)_\w{10,}|figd_[\w-]{10,}|pat[A-Za-z0-9]{14}\.\w{20,}"
    r"|ATATT[\w=-]{10,}|PMAK-[\w-]{10,}|sntry[su]_[\w=+/-]{10,}|glsa_\w{10,}|sbp_\w{10,}|ph[cx]_\w{10,}"
    r"|do[opr]_v1_\w{10,}|shp(?:at|ca|pa|ss)_\w{10,}|SG\.[\w-]{10,}\.[\w-]{10,}|AGE-SECRET-KEY-\w+|dapi[a-f0-9]{20,}"
)
_FORMS: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|(?<![A-Za-z0-9])eyJ[\w-]{8,}(?:\.[\w-]*)+"
    rf"|(?<![A-Za-z0-9])(?:{_PREFIXES})",
    re.ASCII | re.DOTALL,
)
_SCHEME: Final = re.compile(r"(?:Bearer|Basic|Token|ApiKey|Api-Key|Digest)\s+", re.IGNORECASE)
_BEARER: Final = re.compile(r"\b(?:Bearer\s+|Basic\s+(?=[\w+/]{8}))([^\s\"',;]+)", re.IGNORECASE)
_USER_INFO: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s/:@\"']*:(?!\d+(?:/|$))([^\s\"']+)@", re.ASCII)
_LONE_USER: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([^\s/:@\"']{20,})@", re.ASCII)
_SETTING: Final = re.compile(r"(?<![A-Za-z0-9])([A-Za-z_][\w.-]*)\s*=\s*(\"[^\"]*\"|'[^']*'|[^\s;,&#\"']+)", re.ASCII)
_MEMBER: Final = re.compile(r"\\?[\"']([\w.-]+)\\?[\"']\s*:\s*\\?\"((?:[^\"\\]|\\(?!\"))*)\\?\"", re.ASCII)
_QUOTED_MEMBER: Final = re.compile(r"'([\w.-]+)'\s*:\s*'([^'\\]*)'", re.ASCII)
_USER_OPTION: Final = re.compile(r"\A--?(?:u|user|userpwd|proxy-user|U)=(.*)\Z", re.ASCII | re.DOTALL)
_HOOK: Final = re.compile(
    r"https?://[^\s/\"']*hooks?[^\s/\"']*/(?:services/|hooks/catch/|workflows/)?([^\s\"'?#]+)"
    r"|https?://[^\s/\"']+/(?:[^\s\"'?#]*/)?(?:webhooks?|hooks?|mcp/s)/([^\s\"'?#]+)"
    r"|https?://api\.telegram\.org/bot([^\s/\"'?#]+)",
    re.ASCII | re.IGNORECASE,
)
"""Addresses whose path is a secret."""
_NAME_WORDS: Final = frozenset(
    "access account admin api app auth authorization basic bearer bot client cookie credential credentials database db"
    " dsn github google hook id jwt key license master openai otp pass passphrase password passwd pat pin private proxy"
    " pwd refresh secret service session signing slack string token uri url user webhook connection".split()
)
_HEADER: Final = re.compile(r"\A([A-Za-z][\w-]*):\s*(.+)\Z", re.ASCII | re.DOTALL)
_WHOLE_SETTING: Final = re.compile(r"\A-{0,2}([A-Za-z_][\w.-]*)=(.*)\Z", re.ASCII | re.DOTALL)
_RANDOM: Final = re.compile(r"[A-Za-z0-9+/_=-]{20,}", re.ASCII)
_DIGEST: Final = re.compile(r"(?:@|sha\d{1,3}[:-])\Z")
_MIN_CHANGES: Final = 0.25
"""How often the kind of character changes in random text, as a share of its length; in words it rarely does."""


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Where a secret stands in a text."""

    start: int
    end: int
    hint: str = "SECRET"
    """What it is, as a part of a variable's name."""


def is_plain(value: str) -> bool:
    """Whether a value is a switch and no secret, whatever its name is."""
    return value.strip().lower() in _PLAIN_VALUES


def find_secrets(text: str, *, may_guess: bool = True) -> tuple[Span, ...]:
    """The secrets in a text that has no name of its own, in its order and without overlaps.

    `may_guess`: whether disorder alone makes one; not in paths, which may hold digests.
    """
    return unite_spans(_find_all(text, may_guess=may_guess))


def unite_spans(found: Iterable[Span]) -> tuple[Span, ...]:
    """The same in their order and without overlaps."""
    spans: list[Span] = []
    for span in sorted(found, key=lambda span: (span.start, -span.end)):
        if span.start < span.end and (not spans or span.start >= spans[-1].end):
            spans.append(span)
        elif spans and span.end > spans[-1].end and span.start < spans[-1].end:
            spans[-1] = Span(spans[-1].start, span.end, spans[-1].hint)
    return tuple(spans)


def find_in_value(text: str) -> tuple[Span, ...]:
    """The secret in a value whose name sounds like one: all of it, but for the scheme of a header."""
    scheme = _SCHEME.match(text)
    start = scheme.end() if scheme is not None else 0
    return () if is_plain(text[start:]) else (Span(start, len(text)),)


def is_harmless_part(text: str) -> bool:
    """Whether a stretch of a secret value between placeholders says nothing: `Bearer `, `:`, `https://`."""
    return re.fullmatch(r"(?:[A-Za-z][A-Za-z0-9+.-]*://)?[^A-Za-z0-9]*", text) is not None or not find_in_value(text)


def _find_all(text: str, *, may_guess: bool) -> Iterator[Span]:
    for match in _FORMS.finditer(text):
        yield Span(*match.span(), "PRIVATE_KEY" if match[0].startswith("-----") else "TOKEN")
    for match in _USER_INFO.finditer(text):
        yield Span(*match.span(1), "PASSWORD")
    for match in _LONE_USER.finditer(text):
        yield Span(*match.span(1), "TOKEN")
    for match in _BEARER.finditer(text):
        yield Span(*match.span(1), "TOKEN")
    for match in _HOOK.finditer(text):
        yield Span(*match.span(match.lastindex or 0), "WEBHOOK")
    user = _USER_OPTION.match(text)
    if user is not None:
        yield from find_user_password(user[1], user.start(1))
    for pattern in (_WHOLE_SETTING, _HEADER, _SETTING, _MEMBER, _QUOTED_MEMBER):
        for match in pattern.finditer(text):
            yield from _find_named(match)
    if may_guess:
        for match in _RANDOM.finditer(text):
            if _is_random(match[0]) and not _DIGEST.search(text[: match.start()]):
                yield Span(*match.span())


def _find_named(match: re.Match[str]) -> Iterator[Span]:
    if not sounds_secret(match[1]):
        return
    start, end = match.span(2)
    value = match[2]
    if value[:1] in ("'", '"') and value[-1:] == value[:1] and len(value) > 1:
        start, end, value = start + 1, end - 1, value[1:-1]
    for span in find_in_value(value):
        yield Span(start + span.start, start + span.end, name_kind(match[1]))


def find_user_password(text: str, start: int = 0) -> Iterator[Span]:
    """The password in `me:password`, which begins at `start` of a longer text; not in `1000:1000` and `root:root`."""
    user, colon, password = text.partition(":")
    if colon and password and not (user.isdigit() and password.isdigit()) and user != password:
        yield Span(start + len(user) + 1, start + len(text), "PASSWORD")


def name_kind(name: str) -> str:
    """What a secret is, by the usual words of a name only: what looks like a name may be a secret itself."""
    words = [word.upper() for word in re.split(r"[^a-z]+", _split_humps(name)) if word in _NAME_WORDS]
    return "_".join(dict.fromkeys(words)) or "SECRET"


def _split_humps(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def _is_random(text: str) -> bool:
    """Whether nobody would have thought of it."""
    kinds = ["d" if char.isdigit() else "u" if char.isupper() else "l" if char.isalpha() else "" for char in text]
    letters = [kind for kind in kinds if kind]
    changes = sum(a != b for a, b in zip(letters, letters[1:], strict=False))
    is_path = text.startswith("/") or "//" in text or text.count("/") > len(text) / 12 + 1
    return not is_path and letters.count("d") >= 3 and changes >= _MIN_CHANGES * len(text)
