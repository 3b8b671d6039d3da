"""Texts that hold a person's credential: read with the file, filled in when a process of that person starts. Pure.

`${auth.access_token}` and its like stand where the README of a server puts the secret. Filters behind a name are
applied in their order: `json` makes a JSON string with its quotes, `url` escapes all that could mean something in an
address, `base64` encodes the UTF-8 bytes. A value is put in as it is and never looked at again: what looks like a
placeholder in it stays text.
"""

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias, cast
from urllib.parse import quote

_PERSONAL: Final = re.compile(r"(?:auth|person|keys)\.", re.ASCII)
_LOOKS_PERSONAL: Final = re.compile(r"(?<!\$)\$\{(?:auth|person|keys)\.", re.ASCII)
LOGIN_NAME: Final = re.compile(
    r"(?!(?:access_token|id_token|scope|expires_at|expires_at_ms|client_id|extra)\Z)[a-z][a-z0-9_-]{0,31}", re.ASCII
)
"""What a login is called, where a package has several."""
KEY_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}", re.ASCII)
"""What a key of a person is called."""
_AUTH: Final = re.compile(
    r"auth\.(?:(?!extra\.)(?P<login>[a-z][a-z0-9_-]*)\.)?"
    r"(?P<member>access_token|id_token|scope|expires_at|expires_at_ms|client_id|extra\.[A-Za-z0-9_-]{1,64})",
    re.ASCII,
)
_NEVER: Final = re.compile(r"auth\.(?:[^.|]+\.)*(?:refresh_token|client_secret)", re.ASCII)
_TWICE: Final = re.compile(r"auth\.(?:[^.|]+\.)?extra\.(access_token|id_token)", re.ASCII)
LINE_BREAKERS: Final = re.compile(r"[\0-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
"""What ends a line for some reader, or means something to a terminal; a tab does not."""
_MAX_FILTERS: Final = 4
"""Each `json` doubles the quotes that the one before it made."""


class ExpansionError(Exception):
    """What is wrong with a text, as the end of a sentence that begins with the field's name."""


class FillError(Exception):
    """Why a text cannot be filled in for a person, as the end of a sentence that begins with the field's name.

    It names the placeholder and never holds a value.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What is known of one person, by the names of placeholders."""

    values: Mapping[str, str] = field(repr=False)
    secret: frozenset[str] = frozenset()
    """The names whose values must not show in what a server writes."""


NOBODY: Final = Credentials(values={})

ACCESS_TOKEN: Final = "auth.access_token"
PERSON_SUB: Final = "person.sub"
PERSON_EMAIL: Final = "person.email"
_NUMBERS: Final = ("expires_at", "expires_at_ms")
_SHOWN_NAMES: Final = (
    *(ACCESS_TOKEN, "auth.scope", "auth.expires_at", "auth.expires_at_ms", "auth.client_id", "auth.id_token"),
    *("auth.extra.NAME", PERSON_SUB, PERSON_EMAIL, "keys.NAME", "auth.LOGIN.access_token"),
)


def encode_base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


_FILTERS: Final[Mapping[str, Callable[[str], str]]] = {
    "json": json.dumps,
    "url": lambda text: quote(text, safe=""),
    "base64": encode_base64,
}


@dataclass(frozen=True, slots=True)
class Placeholder:
    """What stands for a value of a person, and how the value is escaped."""

    name: str
    filters: tuple[str, ...] = ()

    @property
    def login(self) -> str | None:
        """The login that it is of: "" for the only one of a package; None: it is of none."""
        match = _AUTH.fullmatch(self.name)
        return None if match is None else match["login"] or ""

    @property
    def member(self) -> str:
        """What it is, without the name of a login."""
        match = _AUTH.fullmatch(self.name)
        return self.name if match is None else match["member"]

    def __str__(self) -> str:
        return f"${{{'|'.join((self.name, *self.filters))}}}"

    def fill(self, credentials: Credentials) -> str:
        """Raises FillError where the value is not known."""
        value = credentials.values.get(self.name)
        if value is None:
            raise FillError(f"needs {self}, which the provider did not tell")
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise FillError(f"needs {self}, whose value is no text that can be written") from error
        for name in self.filters:
            value = _FILTERS[name](value)
        return value


def looks_personal(text: str) -> bool:
    """Whether a text as it is written seems to hold a value of a person, well written or not."""
    return _LOOKS_PERSONAL.search(text) is not None


def parse_placeholder(inner: str) -> Placeholder | None:
    """What stands between the braces of `${...}`, where it is a value of a person; None where it is something else.

    Raises:
        ExpansionError: it is one that is unknown, or never handed out.
    """
    if not _PERSONAL.match(inner):
        return None
    name, *filters = inner.split("|")
    shown = f"${{{inner if len(inner) <= 60 else inner[:60] + '...'}}}"
    if _NEVER.fullmatch(name):
        raise ExpansionError(f"holds {shown}, which no server is ever given")
    if twice := _TWICE.fullmatch(name):
        raise ExpansionError(f"holds {shown}; write ${{{name.replace('extra.' + twice[1], twice[1])}}}")
    is_key = name.startswith("keys.") and KEY_NAME.fullmatch(name.removeprefix("keys."))
    if name.startswith("keys.") and not is_key:
        raise ExpansionError(f"holds {shown}, which names no key: a small letter, then small letters, digits or _")
    if not (is_key or name in (PERSON_SUB, PERSON_EMAIL) or _AUTH.fullmatch(name)):
        known = ", ".join(f"${{{known}}}" for known in _SHOWN_NAMES)
        raise ExpansionError(f"holds {shown}, which is not known here; known are {known}")
    unknown = next((name for name in filters if name not in _FILTERS), None)
    if unknown is not None:
        raise ExpansionError(f"holds {shown}, but the filters are {', '.join(_FILTERS)}")
    if len(filters) > _MAX_FILTERS:
        raise ExpansionError(f"holds {shown}, with more than {_MAX_FILTERS} filters")
    return Placeholder(name, tuple(filters))


@dataclass(frozen=True, slots=True)
class Template:
    """A text with placeholders for a person; all others are filled in already."""

    parts: tuple[str | Placeholder, ...]

    @property
    def is_personal(self) -> bool:
        return any(isinstance(part, Placeholder) for part in self.parts)

    @property
    def text(self) -> str:
        """The text of a template that is not personal."""
        return "".join(map(str, self.parts))

    def placeholders(self) -> Iterator[Placeholder]:
        return (part for part in self.parts if isinstance(part, Placeholder))

    def fill(self, credentials: Credentials, *, is_escaped: bool = False) -> str:
        """The text for one person. `is_escaped`: line breaks in a value do no harm, because it is escaped afterwards.

        Raises:
            FillError: a value is not known, or would break the line.
        """
        texts: list[str] = []
        for part in self.parts:
            text = part if isinstance(part, str) else part.fill(credentials)
            if not isinstance(part, str) and not is_escaped and LINE_BREAKERS.search(text):
                raise FillError(f"needs {part}, whose value holds a line break or another control character")
            texts.append(text)
        return "".join(texts)


def name_of(login: str, member: str) -> str:
    """The placeholder of what a login gave; `login` is "" for the only one of a package."""
    return f"auth.{login}.{member}" if login else f"auth.{member}"


def short_form(login: str) -> Template:
    """What `"env_var_name": "X"` of a login puts into X."""
    return Template((Placeholder(name_of(login, "access_token")),))


@dataclass(frozen=True, slots=True)
class Number:
    """`{"number": "${auth.expires_at_ms}"}`: a number in JSON, where a text would stand in quotes."""

    placeholder: Placeholder


Leaf: TypeAlias = "None | bool | int | float | Template | Number | list[Leaf] | dict[str, Leaf]"


def find_number(value: Mapping[str, object], template: Template) -> Number | None:
    """The number that an object means whose only member is `template` under "number"; None where it means none."""
    if tuple(value) != ("number",) or len(template.parts) != 1:
        return None
    part = template.parts[0]
    return Number(part) if isinstance(part, Placeholder) and part.member in _NUMBERS and not part.filters else None


@dataclass(frozen=True, slots=True)
class JsonText:
    """`{"json": ...}`: a JSON value whose strings are templates, serialised after they are filled in."""

    value: Leaf

    @property
    def is_personal(self) -> bool:
        return any(True for _ in self.placeholders())

    @property
    def text(self) -> str:
        """The JSON of a value that is not personal."""
        return self.fill(NOBODY)

    def placeholders(self) -> Iterator[Placeholder]:
        return _find_placeholders(self.value)

    def fill(self, credentials: Credentials) -> str:
        """The JSON for one person, in ASCII. Raises FillError where a value is not known."""
        return json.dumps(_fill_leaf(self.value, credentials), separators=(",", ":"))


Content: TypeAlias = Template | JsonText


def _find_placeholders(value: Leaf) -> Iterator[Placeholder]:
    match value:
        case Template():
            yield from value.placeholders()
        case Number():
            yield value.placeholder
        case list():
            for item in value:
                yield from _find_placeholders(item)
        case dict():
            for item in value.values():
                yield from _find_placeholders(item)
        case _:
            pass


def _fill_leaf(value: Leaf, credentials: Credentials) -> object:
    match value:
        case Template():
            return value.fill(credentials, is_escaped=True)
        case Number():
            return int(value.placeholder.fill(credentials))
        case list():
            return [_fill_leaf(item, credentials) for item in value]
        case dict():
            return {name: _fill_leaf(item, credentials) for name, item in value.items()}
        case _:
            return cast("object", value)


def list_secrets(contents: Iterable[Content], credentials: Credentials) -> set[str]:
    """The forms in which the contents hold secrets: what must not show in what a server writes."""
    secrets = [value for name, value in credentials.values.items() if name in credentials.secret]
    found = {form for value in secrets for form in (value, encode_base64(value))}
    for content in contents:
        found.update(part.fill(credentials) for part in content.placeholders() if part.name in credentials.secret)
    return found
