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
_LOOKS_PERSONAL: Final = re.compile(r"\$\{(?:auth|person|keys)\.", re.ASCII)
_LATER: Final = re.compile(
    r"auth\.id_token|auth\.extra\.[^.|]+|person\.email|keys\.[^.|]+|auth\.[A-Za-z0-9_-]+\.[a-z_]+", re.ASCII
)
_NEVER: Final = re.compile(r"(?:auth\.(?:[^.|]+\.)?)(?:refresh_token|client_secret)", re.ASCII)
_LINE_BREAKERS: Final = re.compile(r"[\0\r\n]")
_WITHOUT_PERSON: Final = ("token:", "login:")
"""How a subject begins that stands for a token or a login, because the provider names nobody."""


class ExpansionError(Exception):
    """What is wrong with a text, as the end of a sentence that begins with the field's name."""


class FillError(Exception):
    """Why a text cannot be filled in for a person, as the end of a sentence that begins with the field's name.

    It names the placeholder and never holds a value.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What is known of one person's login. `expires_at` is in seconds since the epoch; None: nobody said."""

    access_token: str = field(repr=False)
    scope: str | None = None
    expires_at: float | None = None
    client_id: str | None = None
    subject: str | None = None

    def find(self, name: str) -> str | None:
        """The value of a placeholder by its name, as text; None where it is not known."""
        match name:
            case "auth.access_token":
                return self.access_token
            case "auth.scope":
                return self.scope or None
            case "auth.expires_at":
                return None if self.expires_at is None else str(int(self.expires_at))
            case "auth.expires_at_ms":
                return None if self.expires_at is None else str(int(self.expires_at * 1000))
            case "auth.client_id":
                return self.client_id or None
            case _:
                is_person = self.subject is not None and not self.subject.startswith(_WITHOUT_PERSON)
                return self.subject if is_person else None


ACCESS_TOKEN: Final = "auth.access_token"
_NUMBERS: Final = ("auth.expires_at", "auth.expires_at_ms")
_NAMES: Final = (ACCESS_TOKEN, "auth.scope", *_NUMBERS, "auth.client_id", "person.sub")


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

    def __str__(self) -> str:
        return f"${{{'|'.join((self.name, *self.filters))}}}"

    def fill(self, credentials: Credentials) -> str:
        """Raises FillError where the value is not known."""
        value = credentials.find(self.name)
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
        ExpansionError: it is one that is unknown, never handed out, or not there yet.
    """
    if not _PERSONAL.match(inner):
        return None
    name, *filters = inner.split("|")
    shown = f"${{{inner if len(inner) <= 60 else inner[:60] + '...'}}}"
    if _NEVER.fullmatch(name):
        raise ExpansionError(f"holds {shown}, which no server is ever given")
    if name not in _NAMES:
        if _LATER.fullmatch(name):
            raise ExpansionError(f"holds {shown}, which cannot be honoured yet")
        known = ", ".join(f"${{{known}}}" for known in _NAMES)
        raise ExpansionError(f"holds {shown}, which is not known here; known are {known}")
    unknown = next((name for name in filters if name not in _FILTERS), None)
    if unknown is not None:
        raise ExpansionError(f"holds {shown}, but the filters are {', '.join(_FILTERS)}")
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
            if not isinstance(part, str) and not is_escaped and _LINE_BREAKERS.search(text):
                raise FillError(f"needs {part}, whose value holds a line break or a NUL character")
            texts.append(text)
        return "".join(texts)


SHORT_FORM: Final = Template((Placeholder(ACCESS_TOKEN),))
"""What `"env_var_name": "X"` puts into X."""


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
    return Number(part) if isinstance(part, Placeholder) and part.name in _NUMBERS and not part.filters else None


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
        return self.fill(Credentials(access_token=""))

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
    """The forms in which the contents hold the token: what must not show in what a server writes."""
    found = {credentials.access_token, encode_base64(credentials.access_token)}
    for content in contents:
        found.update(part.fill(credentials) for part in content.placeholders() if part.name == ACCESS_TOKEN)
    return found
