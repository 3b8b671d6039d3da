"""Keys of a person (`"type": "keys"`): credentials that no OAuth gives, which each person types once. Pure module.

A pattern is the operator's, what it is tried on is a stranger's: what could take a regular expression more than an
instant is refused with the file.
"""

import re
from dataclasses import dataclass
from typing import Final, Literal, cast, get_args

from fluidmcp.config.filling.expand import Expander, ExpansionError
from fluidmcp.config.filling.templates import KEY_NAME, Template
from fluidmcp.config.reading import ObjectReader
from fluidmcp.config.urls import check_url
from fluidmcp.config.variables import sounds_secret

KeySource = Literal["page", "header"]
"""Where keys may come from: our own login page, or a header of each request."""

KEY_HEADER_PREFIX: Final = "x-fmcp-key-"
MAX_KEYS: Final = 8
MAX_KEYS_BYTES: Final = 2000
"""All keys of a person together: they travel sealed in an access token, which has 4 kB."""
MAX_PATTERN_VALUE_CHARACTERS: Final = 512
"""What a key with a pattern may have."""
MAX_TITLE_CHARACTERS: Final = 80
_MAX_PATTERN_CHARACTERS: Final = 256
_MAX_WAYS: Final = 25
_REPEAT_WAYS: Final = 8
"""How much an open repetition counts of that, beside 1 for `?` and `|`: each of these doubles the ways in which a key
may be read, a repetition may end anywhere in it."""

KEYS_KEYS: Final = frozenset({"type", "keys", "verify", "keys_from", "allow_any_user"})
KEY_KEYS: Final = frozenset({"title", "pattern", "help", "secret"})
VERIFY_KEYS: Final = frozenset({"url", "headers"})
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}", re.ASCII)
_HEADER_TEXT: Final = re.compile(r"[\t\x20-\x7e]*")
_OWN_HEADERS: Final = frozenset(
    "host content-length transfer-encoding connection upgrade te trailer expect cookie accept-encoding".split()
)
_PATTERN_PART: Final = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{[^}]*\}|.", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonKey:
    """One field of the login page."""

    name: str
    title: str = ""
    """What the page calls it; empty: by its name."""
    pattern: str | None = None
    """A regular expression for the whole key."""
    help: str | None = None
    """The page where people find it."""
    secret: bool = True
    """False: it is shown while it is typed, and may stand in what a server logs."""

    @property
    def label(self) -> str:
        return self.title or self.name.replace("_", " ").capitalize()

    @property
    def header(self) -> str:
        """The header that scripts send it in, in lower case. Proxies drop names with underscores."""
        return KEY_HEADER_PREFIX + self.name.replace("_", "-")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyCheck:
    """How to ask the API whether keys are good: a GET that it answers with 2xx if they are."""

    url: str
    headers: tuple[tuple[str, Template], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysBlock:
    """The `auth` object of an entry whose people type their keys."""

    keys: tuple[PersonKey, ...]
    verify: KeyCheck | None = None
    keys_from: tuple[KeySource, ...] = ("page",)
    allow_any_user: bool = False
    """Whoever comes may type keys, although nothing else guards a gateway that strangers can reach."""

    @property
    def names_who_is_allowed(self) -> bool:
        return self.allow_any_user

    @property
    def env_var_name(self) -> str:
        """No token, so no variable for one."""
        return ""

    @property
    def scopes(self) -> tuple[str, ...]:
        return ()


def parse_keys_block(reader: ObjectReader, expander: Expander) -> KeysBlock | None:
    """The block, or None when something is wrong with it; every fault stands in `reader.faults` then."""
    before = len(reader.faults)
    for key in reader.unknown(KEYS_KEYS):
        reader.fault(key, "is not a known key of an auth block of keys")
    keys = _read_keys(reader)
    block = KeysBlock(
        keys=keys,
        verify=_read_check(reader, expander, frozenset(key.name for key in keys)),
        keys_from=_read_sources(reader),
        allow_any_user=reader.flag("allow_any_user"),
    )
    return block if len(reader.faults) == before else None


def _read_keys(reader: ObjectReader) -> tuple[PersonKey, ...]:
    if reader.get("keys") is None:
        reader.fault("keys", 'is missing: name what people have to type, for example {"api_key": {"title": "API key"}}')
        return ()
    nested = reader.nested("keys")
    names = tuple(nested.keys())
    if nested.is_object and not 0 < len(names) <= MAX_KEYS:
        reader.fault("keys", f"must name 1 to {MAX_KEYS} keys")
    return tuple(_read_key(nested, name) for name in names)


def _read_key(keys: ObjectReader, name: str) -> PersonKey:
    if not KEY_NAME.fullmatch(name):
        keys.fault(name, "is not a usable name: a small letter, then small letters, digits or _ (at most 32)")
    reader = keys.nested(name)
    for key in reader.unknown(KEY_KEYS):
        reader.fault(key, 'is not known here; use "title", "pattern", "help" and "secret"')
    title = reader.text("title") or ""
    if not title.isprintable() or len(title) > MAX_TITLE_CHARACTERS:
        reader.fault("title", f"must be at most {MAX_TITLE_CHARACTERS} characters that can be printed")
    pattern = reader.text("pattern")
    fault = None if pattern is None else check_pattern(pattern)
    if fault is not None:
        reader.fault("pattern", fault)
    page = reader.text("help")
    fault = None if page is None else check_url(page, forbidden_parameters=frozenset(), allow_query=True)
    if fault is not None:
        reader.fault("help", fault)
    is_secret = reader.flag("secret", default=True)
    if not is_secret and sounds_secret(name):
        reader.fault("secret", "is false, although the name says that it is one; rename the key, or leave it out")
    return PersonKey(name=name, title=title, pattern=pattern, help=page, secret=is_secret)


def check_pattern(pattern: str) -> str | None:
    """What is wrong with a pattern, as the end of a sentence; None when it is fine.

    Groups that repeat, and many open repetitions or choices, are what makes a regular expression take for ever.
    """
    if len(pattern) > _MAX_PATTERN_CHARACTERS:
        return f"is longer than {_MAX_PATTERN_CHARACTERS} characters"
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        return f"is no regular expression ({error})"
    ways, previous = 0, ""
    for part in _PATTERN_PART.findall(pattern):
        if part in ("*", "+") or (part.startswith("{") and len(part) > 1):
            if previous == ")":
                return "repeats a group, which could take for ever; write it out, or repeat a class such as [a-z0-9]"
            ways += _REPEAT_WAYS if "," in part or part in ("*", "+") else 0
        elif part[:1] == "\\" and part[1:].isdigit() or (part == "?" and previous == "("):
            return "may hold neither back-references nor (?...)"
        ways += part in ("?", "|")
        previous = part
    if ways > _MAX_WAYS:
        return (
            f"has too many repetitions and choices, which could take for ever: each of *, + and {{m,n}} counts "
            f"{_REPEAT_WAYS}, each ? and | counts 1, and {_MAX_WAYS} are the most"
        )
    return None


def _read_check(reader: ObjectReader, expander: Expander, names: frozenset[str]) -> KeyCheck | None:
    if reader.get("verify") is None:
        return None
    nested = reader.nested("verify")
    for key in nested.unknown(VERIFY_KEYS):
        nested.fault(key, 'is not known here; use "url" and "headers"')
    url = nested.required_text("url") or ""
    fault = check_url(url, forbidden_parameters=frozenset(), allow_query=True) if url else None
    if fault is not None:
        nested.fault("url", fault)
    headers: list[tuple[str, Template]] = []
    if nested.get("headers") is not None:
        texts = nested.nested("headers")
        headers = [
            (name, template) for name in texts.keys() if (template := _read_header(texts, name, expander, names))
        ]
    if not any(template.is_personal for _, template in headers) and nested.is_object:
        nested.fault("headers", "hold no key, so that the answer would say nothing about them")
    return KeyCheck(url=url, headers=tuple(headers))


def _read_header(reader: ObjectReader, name: str, expander: Expander, names: frozenset[str]) -> Template | None:
    if not _HEADER_NAME.fullmatch(name) or name.lower() in _OWN_HEADERS:
        reader.fault(name, "is not a header that can be set here")
    text = reader.text(name)
    if text is None:
        return None
    try:
        template = expander.expand_template(text)
    except ExpansionError as error:
        reader.fault(name, str(error))
        return None
    for placeholder in template.placeholders():
        if placeholder.name.removeprefix("keys.") not in names:
            reader.fault(name, f"holds {placeholder}, which is none of the keys")
    if not all(_HEADER_TEXT.fullmatch(part) for part in template.parts if isinstance(part, str)):
        reader.fault(name, "holds a character that no header can carry: not ASCII, or a line break")
    return template


def _read_sources(reader: ObjectReader) -> tuple[KeySource, ...]:
    if reader.get("keys_from") is None:
        return ("page",)
    before = len(reader.faults)
    sources = reader.texts("keys_from")
    if len(reader.faults) > before:
        return ("page",)
    if not sources or set(sources) - set(get_args(KeySource)):
        reader.fault("keys_from", 'must be a list of "page" and "header"')
        return ("page",)
    return cast("tuple[KeySource, ...]", tuple(dict.fromkeys(sources)))
